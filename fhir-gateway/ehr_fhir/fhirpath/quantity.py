"""Quantities: a number with a unit of UCUM or a calendar duration, and when two are comparable."""

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

CALENDAR_UNITS = ("year", "month", "week", "day", "hour", "minute", "second", "millisecond")

# Weeks and shorter are of fixed length, so they are also units of UCUM; years and months are not.
SECONDS_PER_UNIT = {
    "week": Fraction(604800),
    "day": Fraction(86400),
    "hour": Fraction(3600),
    "minute": Fraction(60),
    "second": Fraction(1),
    "millisecond": Fraction(1, 1000),
}
_MONTHS = {"year": Fraction(12), "month": Fraction(1)}
_TEXT = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*(?:'([^']+)'|([a-zA-Z]+))?")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number and its unit; `calendar` marks a word (`1 week`) rather than a code (`1 'wk'`).

    >>> str(Quantity(Decimal("1.50"), "mg"))
    "1.50 'mg'"
    """

    value: Decimal
    unit: str = "1"
    calendar: bool = False

    def __str__(self) -> str:
        return f"{self.value:f} {self.unit}" if self.calendar else f"{self.value:f} '{self.unit}'"


def calendar_unit(word: str) -> str | None:
    """Return the singular of a calendar duration, or nothing for any other word.

    >>> calendar_unit("days"), calendar_unit("wk")
    ('day', None)
    """
    singular = word.removesuffix("s")
    return singular if singular in CALENDAR_UNITS else None


def parse_quantity(text: str) -> Quantity | None:
    """Read a quantity as its text form, or nothing from what is not one.

    >>> parse_quantity("1 wk") is None
    True
    """
    match = _TEXT.fullmatch(text)
    if not match or (match[3] and not calendar_unit(match[3])):
        return None
    return Quantity(Decimal(match[1]), match[2] or match[3] or "1", bool(match[3]))


def to_base_units(quantity: Quantity, *, loose: bool = False) -> tuple[object, Fraction]:
    """Return the dimensions of a quantity, and its value in base units: equal ones are equal pairs.

    A unit that is not in the table is a dimension of its own. `loose` lets a calendar year stand
    for UCUM's mean year, as equivalence does.

    >>> to_base_units(Quantity(Decimal(4), "g")) == to_base_units(Quantity(Decimal(4000), "mg"))
    True
    """
    unit = _unit(quantity, loose)
    if unit is None:
        return (quantity.unit, quantity.calendar), Fraction(quantity.value)
    return unit.dimensions, Fraction(quantity.value) * unit.factor


def to_common_unit(
    left: Quantity, right: Quantity, *, loose: bool = False
) -> tuple[Fraction, Fraction] | None:
    """Return both values in one unit, or nothing if they have none in common."""
    left_dimensions, left_value = to_base_units(left, loose=loose)
    right_dimensions, right_value = to_base_units(right, loose=loose)
    return (left_value, right_value) if left_dimensions == right_dimensions else None


def _unit(quantity: Quantity, loose: bool) -> Unit | None:
    if not quantity.calendar:
        return parse_unit(quantity.unit)
    word = calendar_unit(quantity.unit) or ""
    if word in SECONDS_PER_UNIT:
        return Unit(SECONDS_PER_UNIT[word], (("s", 1),))
    if loose:
        return parse_unit("a" if word == "year" else "mo")
    return Unit(_MONTHS[word], (("month", 1),))
