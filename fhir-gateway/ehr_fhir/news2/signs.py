"""The seven signs of NEWS2 in FHIR: which LOINC code is which, and whether a value can be used.

A value in another unit of the same kind is converted (UCUM). One with a comparator, in a unit of
another kind, or beyond what can be true is not used, and the reason is told. `signs.toml` holds the
codes, units and limits.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from importlib.resources import files
from typing import Any

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_fhir.news2.score import ACVPU, CONSCIOUSNESS, OXYGEN
from ehr_fhir.units import convert

# All values of a score come from one round. Chosen: no rule of the RCP gives a figure.
ROUND_WINDOW = timedelta(minutes=30)
# A decision of a clinician to use scale 2 (target 88 to 92 %), or to go back to scale 1:
# docs/reference/clinical-display.md.
SCALE_SYSTEM = f"{JURISDICTION.fhir_base}/CodeSystem/clinical-decision"
SCALE_CODE = "spo2-scale"
CONSCIOUSNESS_SYSTEM = f"{JURISDICTION.fhir_base}/CodeSystem/consciousness"

# Why a value is not used.
NO_VALUE, COMPARATOR = "no value", "a bound, not a value"
WRONG_UNIT, IMPOSSIBLE, UNKNOWN_CODE = "wrong unit", "impossible value", "unknown code"


@dataclass(frozen=True)
class Reading:
    """One sign as it was read: its value, or why there is none that can be used."""

    # A number; of the consciousness one letter of ACVPU; of the oxygen whether it is given.
    value: float | str | bool | None
    reason: str = ""


@cache
def list_codes() -> Mapping[str, str]:
    """Return the parameter of each LOINC code.

    >>> list_codes()["9279-1"]
    'respiration'
    """
    return {code: name for name, row in _load_signs().items() for code in row["codes"]}


def read_quantity(
    parameter: str, value: float | None, unit: str | None, comparator: str | None = None
) -> Reading:
    """Return a measured number as the score takes it; `unit` is its UCUM code.

    >>> read_quantity("pulse", 72, "/min"), read_quantity("oxygen", 2, "L/min")
    (Reading(value=72.0, reason=''), Reading(value=True, reason=''))
    >>> read_quantity("temperature", 101.3, "[degF]")
    Reading(value=38.5, reason='')
    >>> read_quantity("pulse", 72, "kg").reason, read_quantity("pulse", 1120, "/min").reason
    ('wrong unit', 'impossible value')
    """
    if value is None:
        return Reading(None, NO_VALUE)
    if comparator:
        return Reading(None, COMPARATOR)
    row = _load_signs()[parameter]
    found = _convert(row, value, unit or "")
    if found is None:
        return Reading(None, WRONG_UNIT)
    number, listed = found
    low, high = row["units"][listed]
    if not low <= number <= high:
        return Reading(None, IMPOSSIBLE)
    # Of a flow anything, of a concentration more than air's 21 %.
    return Reading(number > row["air"][listed] if parameter == OXYGEN else number)


def read_consciousness(part: Mapping[str, Any]) -> Reading:
    """Return the letter of ACVPU that an Observation, or a component of one, tells.

    >>> read_consciousness({"valueString": "Alert"})
    Reading(value='A', reason='')
    """
    concept = part.get("valueCodeableConcept", {})
    written = [concept.get("text", ""), part.get("valueString", "")]
    for coding in concept.get("coding", ()):
        if coding.get("system") == CONSCIOUSNESS_SYSTEM and coding.get("code") in ACVPU:
            return Reading(str(coding["code"]))
        written.append(coding.get("display", ""))
    words: Mapping[str, str] = _load_signs()[CONSCIOUSNESS]["words"]
    found = {words[text.strip().lower()] for text in written if text.strip().lower() in words}
    return Reading(found.pop()) if len(found) == 1 else Reading(None, UNKNOWN_CODE)


def read_scale_decision(observation: Mapping[str, Any]) -> bool | None:
    """Return whether an Observation decides for scale 2 of the saturation; None if it decides none.

    Only a person decides, never a device, and never a diagnosis.
    """
    if observation.get("status") not in ("final", "amended", "corrected"):
        return None
    if (SCALE_SYSTEM, SCALE_CODE) not in _coding_pairs(observation.get("code", {})):
        return None
    if not any(_is_person(performer) for performer in observation.get("performer", ())):
        return None
    return (SCALE_SYSTEM, "2") in _coding_pairs(observation.get("valueCodeableConcept", {}))


def _convert(row: Mapping[str, Any], value: float, unit: str) -> tuple[float, str] | None:
    """Return a value in a unit of the list, and which one; None of a unit of another kind."""
    if unit in row.get("units", {}):
        return float(value), unit
    unit = row.get("same", {}).get(unit, unit)
    for listed in row.get("units", {}):
        number = convert(value, unit, listed)
        if number is not None:
            return number, listed
    return None


def _is_person(reference: Mapping[str, Any]) -> bool:
    target = str(reference.get("reference", "")) or str(reference.get("type", ""))
    return target.startswith(("Practitioner/", "PractitionerRole/")) or target in (
        "Practitioner",
        "PractitionerRole",
    )


def _coding_pairs(concept: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {(str(c.get("system", "")), str(c.get("code", ""))) for c in concept.get("coding", ())}


@cache
def _load_signs() -> dict[str, dict[str, Any]]:
    text = (files(__package__) / "signs.toml").read_text("utf-8")
    signs: dict[str, dict[str, Any]] = tomllib.loads(text)
    return signs
