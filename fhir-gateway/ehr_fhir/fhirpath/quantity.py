"""Quantity: a number with a UCUM unit or a calendar duration (FHIRPath N1 §4.1.8)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from ehr_fhir.fhirpath.ucum import Unit, parse_unit

__all__ = [
    "CALENDAR_UNITS",
    "SECONDS_PER_UNIT",
    "Quantity",
    "calendar_unit",
    "parse_quantity",
    "to_base_units",
    "to_common_unit",
]

# The words of calendar durations, in the singular.
CALENDAR_UNITS = ("year", "month", "week", "day", "hour", "minute", "second", "millisecond")

# Weeks and shorter have a fixed length, so that they convert to UCUM units. Years and months do
# not: UCUM's are means, so `1 year = 1 'a'` is unknown (N1 §6.1).
SECONDS_PER_UNIT = {
    "week": Fraction(604800),
    "day": Fraction(86400),
    "hour": Fraction(3600),
    "minute": Fraction(60),
    "second": Fraction(1),
    "millisecond": Fraction(1, 1000),
}
_MONTHS_PER_UNIT = {"year": Fraction(12), "month": Fraction(1)}
_QUANTITY = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*(?:'([^']+)'|([a-zA-Z]+))?")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number and its unit; `calendar` tells a word (`1 week`) from a UCUM code (`1 'wk'`).

    >>> str(Quantity(Decimal("1.50"), "mg"))
    "1.50 'mg'"
    """

    value: Decimal
    unit: str = "1"
    calendar: bool = False

    def __str__(self) -> str:
        return f"{self.value:f} {self.unit}" if self.calendar else f"{self.value:f} '{self.unit}'"


def calendar_unit(word: str) -> str | None:
    """Return a calendar duration's word in the singular, or None for any other word.

    >>> calendar_unit("days"), calendar_unit("wk")
    ('day', None)
    """
    singular = word.removesuffix("s")
    return singular if singular in CALENDAR_UNITS else None


def parse_quantity(text: str) -> Quantity | None:
    """Parse a quantity from a string (N1 §5.5), or return None.

    A UCUM code must be in quotation marks; only calendar durations are bare words.

    >>> parse_quantity("1 wk") is None
    True
    """
    match = _QUANTITY.fullmatch(text)
    if not match or (match[3] and not calendar_unit(match[3])):
        return None
    return Quantity(Decimal(match[1]), match[2] or match[3] or "1", bool(match[3]))


def to_base_units(quantity: Quantity, *, for_equivalence: bool = False) -> tuple[object, Fraction]:
    """Return a quantity's dimensions and its value in base units: the same for equal ones.

    A unit that is not in ucum.toml is a dimension of its own. With `for_equivalence` a calendar
    year or month converts to UCUM's mean year or month, as only `~` allows (N1 §6.1).

    >>> to_base_units(Quantity(Decimal(4), "g")) == to_base_units(Quantity(Decimal(4000), "mg"))
    True
    """
    unit = _resolve_unit(quantity, for_equivalence=for_equivalence)
    if unit is None:
        return (quantity.unit, quantity.calendar), Fraction(quantity.value)
    return unit.dimensions, Fraction(quantity.value) * unit.factor


def to_common_unit(
    left: Quantity, right: Quantity, *, for_equivalence: bool = False
) -> tuple[Fraction, Fraction] | None:
    """Return the values of two quantities in the same unit, or None if their units do not convert.

    >>> to_common_unit(Quantity(Decimal(1), "g"), Quantity(Decimal(5), "mg"))
    (Fraction(1, 1), Fraction(1, 200))
    >>> to_common_unit(Quantity(Decimal(1), "g"), Quantity(Decimal(1), "m")) is None
    True
    """
    left_dimensions, left_value = to_base_units(left, for_equivalence=for_equivalence)
    right_dimensions, right_value = to_base_units(right, for_equivalence=for_equivalence)
    return (left_value, right_value) if left_dimensions == right_dimensions else None


def _resolve_unit(quantity: Quantity, *, for_equivalence: bool) -> Unit | None:
    if not quantity.calendar:
        return parse_unit(quantity.unit)
    word = calendar_unit(quantity.unit) or ""
    if word in SECONDS_PER_UNIT:
        return Unit(SECONDS_PER_UNIT[word], (("s", 1),))
    if for_equivalence:
        return parse_unit("a" if word == "year" else "mo")
    return Unit(_MONTHS_PER_UNIT[word], (("month", 1),))
