"""Plausible limits of a quantity by LOINC code, compared in the unit of the limits (UCUM)."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from ehr_fhir.units import UCUM, convert

__all__ = ["Judgement", "ValueLimits", "judge_value", "list_limits", "unit_of"]

LOINC = "http://loinc.org"

Judgement = Literal["plausible", "implausible", "unusual", "other-unit", "no-unit"]

# What people write for a unit where no code is given.
_WRITTEN = {
    "°C": "Cel", "C": "Cel", "°F": "[degF]", "F": "[degF]", "mmHg": "mm[Hg]", "bpm": "/min",
    "beats/minute": "/min", "beats/min": "/min", "breaths/minute": "/min", "breaths/min": "/min",
    "lbs": "[lb_av]", "lb": "[lb_av]", "in": "[in_i]", "inches": "[in_i]", "IU/L": "U/L",
    "percent": "%", "mcg": "ug", "l": "L", "ml": "mL", "gm": "g", "grams": "g", "gram": "g",
    "milligram": "mg", "milligrams": "mg", "tablet": "{tbl}", "tablets": "{tbl}",
}  # fmt: skip


@dataclass(frozen=True)
class ValueLimits:
    """Beyond low and high a value cannot be true; beyond the usual ones it is worth a look."""

    codes: frozenset[str]
    unit: str
    low: float
    high: float
    usual_low: float | None = None
    usual_high: float | None = None


@cache
def list_limits() -> Mapping[str, tuple[ValueLimits, ...]]:
    """Return LOINC code -> limits; more than one where a code is used with units of two kinds."""
    content = tomllib.loads((files(__package__) / "value_limits.toml").read_text("utf-8"))
    limits: dict[str, tuple[ValueLimits, ...]] = {}
    for row in content["limits"]:
        made = ValueLimits(
            frozenset(row["codes"]), row["unit"], float(row["low"]), float(row["high"]),
            row.get("usual_low"), row.get("usual_high"),
        )  # fmt: skip
        for code in made.codes:
            limits[code] = (*limits.get(code, ()), made)
    return limits


def judge_value(codes: Iterator[str], quantity: Mapping[str, Any]) -> Judgement:
    """Judge a quantity of some LOINC codes; what has no limits is plausible.

    >>> heart_rate = {"value": 1800, "code": "/min", "system": UCUM}
    >>> judge_value(iter(["8867-4"]), heart_rate)
    'implausible'
    >>> judge_value(iter(["8310-5"]), {"value": 98.6, "code": "[degF]", "system": UCUM})
    'plausible'
    >>> judge_value(iter(["8310-5"]), {"value": 98.6, "code": "Cel", "system": UCUM})
    'implausible'
    """
    known = list_limits()
    limits = [one for code in codes for one in known.get(code, ())]
    value = quantity.get("value")
    if not limits or isinstance(value, bool) or not isinstance(value, int | float):
        return "plausible"
    unit = unit_of(quantity)
    if unit is None:
        return "no-unit"
    for one in limits:
        number = convert(float(value), unit, one.unit)
        if number is None:
            continue
        if not one.low <= number <= one.high:
            return "implausible"
        is_low = one.usual_low is not None and number < one.usual_low
        is_high = one.usual_high is not None and number > one.usual_high
        return "unusual" if is_low or is_high else "plausible"
    return "other-unit"


def unit_of(quantity: Mapping[str, Any]) -> str | None:
    """Return the UCUM unit of a quantity: its code, or the text of its unit where that is one."""
    code, text = quantity.get("code"), quantity.get("unit")
    if isinstance(code, str) and code and quantity.get("system", UCUM) == UCUM:
        return code
    if not isinstance(text, str) or not text:
        return None
    return _WRITTEN.get(text, text)
