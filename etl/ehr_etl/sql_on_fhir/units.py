"""Units of UCUM that views convert, and the canonical unit of each.

The codes are those of HL7's list of common units that the FHIRPath engine knows, and the units that
de-identification keeps (`ucum_codes.txt`). All units of one dimension have one canonical unit, so
that a column of numbers mixes none; very small masses and volumes, of a cell and not of a person,
have their own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from importlib.resources import files

from ehr_fhir.fhirpath import parse_unit

__all__ = ["TEMPERATURES", "UCUM", "Conversion", "list_canonical_units", "list_conversions"]

UCUM = "http://unitsofmeasure.org"
# Chosen as the units in which laboratories and wards report most. Of two of one dimension the
# second is for units below a thousand-millionth of the first: decimals have 12 places in SQL.
_CANONICAL = (
    "1", "/min", "10*9/L", "kg", "pg", "mg/L", "mmol/L", "U/L", "m[IU]/L", "L", "fL", "mL/min",
    "cm", "mm[Hg]", "s", "mg/d", "mm/h", "meq/L", "mosm/kg", "mg/mmol", "kg/m2", "m2", "mmol/d",
)  # fmt: skip
_LEAST_PART = Fraction(1, 10**9)
# What a factor may have above and below its line: SQL multiplies and divides by it exactly.
_LARGEST_TERM = 10**12
# UCUM's years and months are means; a calendar's have no fixed length (N1 §6.1).
_UNFIXED = frozenset({"a", "mo"})


@dataclass(frozen=True)
class Conversion:
    """A unit in another one: the number less `zero`, times `numerator`, over `denominator`."""

    code: str
    unit: str
    numerator: int = 1
    denominator: int = 1
    zero: str = "0"


# Temperatures have a zero of their own: they convert to a canonical value and compare only with
# their own unit, as in the FHIRPath engine.
TEMPERATURES = (
    Conversion("[degF]", "Cel", 5, 9, "32"),
    Conversion("K", "Cel", 1, 1, "273.15"),
)


@cache
def list_canonical_units() -> tuple[Conversion, ...]:
    """Return each unit with its canonical one, temperatures apart.

    >>> [found for found in list_canonical_units() if found.code == "mg/dL"]
    [Conversion(code='mg/dL', unit='mg/L', numerator=10, denominator=1, zero='0')]
    """
    by_dimensions: defaultdict[object, list[str]] = defaultdict(list)
    for code in _read_codes():
        unit = parse_unit(code)
        is_alone = unit is None or code in _UNFIXED
        by_dimensions[code if is_alone else unit.dimensions].append(code)  # type: ignore[union-attr]
    found = []
    for codes in by_dimensions.values():
        declared = [unit for unit in _CANONICAL if unit in codes]
        units = declared or [min(codes, key=len)]
        found += [made for code in codes if (made := _find_canonical(code, units)) is not None]
    temperatures = {conversion.code for conversion in TEMPERATURES}
    return tuple(conversion for conversion in found if conversion.code not in temperatures)


@lru_cache(512)
def list_conversions(unit: str) -> tuple[Conversion, ...]:
    """Return the other units that convert to a given one.

    >>> len(list_conversions("Cel")), [found.denominator for found in list_conversions("kg")][:1]
    (0, [1000])
    """
    wanted = parse_unit(unit)
    if wanted is None or unit in _UNFIXED:
        return ()
    same = [
        code
        for code in _read_codes()
        if code != unit
        and code not in _UNFIXED
        and (found := parse_unit(code)) is not None
        and found.dimensions == wanted.dimensions
    ]
    return tuple(made for code in same if (made := _convert(code, unit)) is not None)


def _find_canonical(code: str, units: Sequence[str]) -> Conversion | None:
    if code in units or parse_unit(code) is None:
        return Conversion(code, code)
    fitting = [unit for unit in units if _factor(code, unit) >= _LEAST_PART]
    return _convert(code, (fitting or units[-1:])[0])


def _convert(code: str, unit: str) -> Conversion | None:
    factor = _factor(code, unit)
    if max(factor.numerator, factor.denominator) > _LARGEST_TERM:
        return None
    return Conversion(code, unit, factor.numerator, factor.denominator)


def _factor(code: str, unit: str) -> Fraction:
    found, wanted = parse_unit(code), parse_unit(unit)
    if found is None or wanted is None:
        return Fraction(0)
    return found.factor / wanted.factor


@cache
def _read_codes() -> Mapping[str, None]:
    text = (files(__package__) / "ucum_codes.txt").read_text("utf-8")
    return dict.fromkeys(text.split())
