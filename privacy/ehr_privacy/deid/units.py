"""Units of measure by UCUM's grammar, also where they are written as text.

A unit passes whole: any prefix, any atom, products, quotients, powers. An annotation in braces is
free text, so only those of a closed list stay; a number is a factor and small, so that none of a
person can be hidden in a unit.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

from ehr_fhir.fhirpath import parse_unit
from ehr_fhir.units import UCUM

__all__ = ["UCUM", "count_per_year", "normalize_ucum", "read_unit"]

# Units of time in which an age is given, and how many of them are a year.
_PER_YEAR = {"a": 1.0, "mo": 12.0, "wk": 52.1775, "d": 365.25, "h": 8766.0, "min": 525_960.0}
# Chosen: no unit in use comes near it.
_LONGEST = 40
_EXPONENT = re.compile(r"[+-]?\d{1,2}", re.ASCII)
_FACTOR = re.compile(r"\d+", re.ASCII)
# The longest run that can be an atom: letters, or brackets with what is in them.
_ATOM = re.compile(r"10[*^]|(?:\[[^\]\s]*\]|[A-Za-z%'\"_])+", re.ASCII)
_ANNOTATION = re.compile(r"\{([^{}]*)\}")
# Factors of hours, areas and powers of ten; a longer number may be somebody's.
_LARGEST_FACTOR = 100
_POWERS_OF_TEN = frozenset(str(10**power) for power in range(3, 10))


@dataclass(frozen=True)
class _Units:
    """The atoms that parse_unit has no ratio for, and what people write for a unit."""

    metric: frozenset[str]
    plain: frozenset[str]
    prefixes: frozenset[str]
    annotations: frozenset[str]
    written: dict[str, str]


@cache
def _units() -> _Units:
    text = files("ehr_privacy").joinpath("rules/units.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    return _Units(
        frozenset(data["metric"]),
        frozenset(data["plain"]),
        frozenset(data["prefixes"]),
        frozenset(data["annotations"]),
        {name.casefold(): code for name, code in data["written"].items()},
    )


@lru_cache(4096)
def normalize_ucum(code: str) -> str | None:
    """Return a UCUM code without annotations that are not listed; None for what is no unit.

    >>> normalize_ucum("mL/min/{1.73_m2}"), normalize_ucum("{Chan Tai Man}"), normalize_ucum("MCG")
    ('mL/min/{1.73_m2}', '1', None)
    """
    if not code or len(code) > _LONGEST:
        return None
    listed = _units().annotations
    kept = _ANNOTATION.sub(lambda match: match[0] if match[1] in listed else "", code)
    # A bare annotation stands for the unit 1.
    kept = re.sub(r"/(?=$|[./)])", "", kept) or "1"
    end = _read_term(kept, 0)
    return kept if end == len(kept) else None


@lru_cache(4096)
def read_unit(system: object, code: object, unit: object) -> str | None:
    """Return the UCUM code of a quantity: its code, or else its text where that is a unit.

    >>> read_unit(UCUM, "mg/dL", None), read_unit(None, None, "mmHg"), read_unit(None, None, "°F")
    ('mg/dL', 'mm[Hg]', '[degF]')
    >>> read_unit("https://hospital.example/units", "mg", "tablets of Chan") is None
    True
    """
    if isinstance(code, str) and (system == UCUM or system is None):
        found = normalize_ucum(code) or _units().written.get(code.strip().casefold())
        if found is not None:
            return found
    # A code that UCUM does not have is an error of its author's: the text may be right.
    return _read_text(unit)


def _read_text(unit: object) -> str | None:
    if not isinstance(unit, str) or len(unit) > _LONGEST:
        return None
    text = unit.strip()
    return _units().written.get(text.casefold()) or normalize_ucum(text)


def count_per_year(unit: str) -> float | None:
    """Return how many of a unit of time are a year; None for any other unit."""
    return _PER_YEAR.get(unit)


def _read_term(text: str, start: int) -> int | None:
    """Return where a term ends that begins at `start`; None where there is none."""
    position = start + 1 if text[start : start + 1] == "/" else start
    while True:
        end = _read_component(text, position)
        if end is None:
            return None
        position = end
        if text[position : position + 1] not in (".", "/"):
            return position
        position += 1


def _read_component(text: str, start: int) -> int | None:
    if text[start : start + 1] == "(":
        end = _read_term(text, start + 1)
        return None if end is None or text[end : end + 1] != ")" else _read_power(text, end + 1)
    if annotation := _ANNOTATION.match(text, start):
        return annotation.end()
    if (atom := _ATOM.match(text, start)) and _is_atom(atom[0]):
        end = _read_power(text, atom.end())
    elif factor := _FACTOR.match(text, start):
        if int(factor[0]) > _LARGEST_FACTOR and factor[0] not in _POWERS_OF_TEN:
            return None
        end = factor.end()
    else:
        return None
    annotation = _ANNOTATION.match(text, end)
    return annotation.end() if annotation else end


def _read_power(text: str, start: int) -> int:
    match = _EXPONENT.match(text, start)
    return match.end() if match else start


@lru_cache(4096)
def _is_atom(name: str) -> bool:
    if name in ("10*", "10^"):
        return True
    units = _units()
    if parse_unit(name) is not None or name in units.plain or name in units.metric:
        return True
    return any(
        name[:length] in units.prefixes and name[length:] in units.metric for length in (1, 2)
    )
