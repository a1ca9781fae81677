"""System values: conversion from FHIR elements, singleton evaluation, equality and order.

The System types are FHIRPath's own: Boolean, String, Integer, Decimal, Date, DateTime, Time and
Quantity (FHIRPath N1 §4.1). `subject` in these functions begins the message of an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

from ehr_fhir.errors import Invalid
from ehr_fhir.fhirpath import temporal
from ehr_fhir.fhirpath.element import Element
from ehr_fhir.fhirpath.quantity import Quantity, to_common_unit
from ehr_fhir.fhirpath.temporal import Temporal, Time

__all__ = [
    "DECIMAL_CONTEXT",
    "compare_items",
    "items_equal",
    "items_equivalent",
    "qualified_type_name",
    "to_boolean",
    "to_decimal",
    "to_integer",
    "to_singleton",
    "to_string",
    "to_system",
]

# FHIRPath's decimals have 28 digits (N1 §4.1.4). Nothing traps: an overflow gives an infinity, not
# an exception, and the callers turn that into an empty result.
DECIMAL_CONTEXT = Context(prec=28, Emax=9999, Emin=-9999, traps=[])
_UCUM = "http://unitsofmeasure.org"
_UCUM_TO_CALENDAR = {"a": "year", "mo": "month"}
# Chosen, as a power of ten: a resource may hold `1e999999`, and to compare that with a quantity
# would write it out as a fraction of a million digits.
_MAX_EXPONENT = 400


def to_system(item: object) -> Any:  # Any: a value of any System type, or a complex element itself
    """Convert a FHIR primitive or Quantity to its System value (R4 §2.9.1); return others as is.

    >>> to_system(Element("decimal", 1.5))
    Decimal('1.5')
    """
    if type(item) is not Element:
        return item
    value = item.value
    convert = _CONVERSIONS.get(item.type)
    if convert is not None and value is not None:
        return convert(item, value)
    return item if isinstance(value, dict) else value


def to_singleton(items: list[Any], subject: str) -> Any:
    """Return the single item of a collection, or None of an empty one (N1 §4.5).

    Raises Invalid for several items.

    >>> to_singleton([1, 2], "`+`")
    Traceback (most recent call last):
    ehr_fhir.errors.Invalid: `+` takes one item, but there are 2.
    """
    if not items:
        return None
    if len(items) > 1:
        raise Invalid(f"{subject} takes one item, but there are {len(items)}.")
    return items[0]


def to_boolean(items: list[Any], subject: str) -> bool | None:
    """Evaluate a collection as a Boolean (N1 §4.5); None if it is empty.

    A single item of any other type is true, so that `Patient.name.first() and true` holds.
    """
    if len(items) == 1 and type(items[0]) is bool:
        return items[0]
    item = to_system(to_singleton(items, subject))
    return item if isinstance(item, bool) or item is None else True


def to_string(items: list[Any], subject: str) -> str | None:
    """Return the single item as a string, None of an empty collection; else raise Invalid."""
    item = to_singleton(items, subject)
    if item is None or type(item) is str:
        return item
    # A date, an instant or a uri of FHIR is a string in JSON and may be searched as one.
    if isinstance(item, Element) and (isinstance(item.value, str) or item.value is None):
        return item.value
    raise Invalid(f"{subject} takes a string, not {qualified_type_name(item)}.")


def to_integer(items: list[Any], subject: str) -> int | None:
    """Return the single item as an integer, None of an empty collection; else raise Invalid."""
    item = to_system(to_singleton(items, subject))
    if item is None or (isinstance(item, int) and not isinstance(item, bool)):
        return item
    raise Invalid(f"{subject} takes an integer, not {qualified_type_name(item)}.")


def to_decimal(value: object) -> Decimal | None:
    """Convert an integer to a decimal (N1 §5.5); None for a value that is no number.

    >>> to_decimal(2), to_decimal(True)
    (Decimal('2'), None)
    """
    if isinstance(value, Decimal):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    return None


def qualified_type_name(item: object) -> str:
    """Return the namespace and name of an item's type, as type specifiers have them (N1 §6.3).

    >>> qualified_type_name(True), qualified_type_name("x")
    ('System.Boolean', 'System.String')
    """
    if isinstance(item, Element):
        return f"FHIR.{item.type}"
    names = {bool: "Boolean", int: "Integer", Decimal: "Decimal", str: "String"}
    return f"System.{names.get(type(item), type(item).__name__)}"


def items_equal(left: object, right: object) -> bool | None:
    """Return whether two items are equal (N1 §6.1); None where that is unknown.

    Unknown are dates of different precision, and quantities whose units do not convert.
    """
    left, right = to_system(left), to_system(right)
    if left is None or right is None:
        return False
    if isinstance(left, Element) and isinstance(right, Element):
        return bool(left.value == right.value)
    pair = _pair_quantities(left, right)
    if pair:
        values = to_common_unit(*pair)
        return None if values is None else values[0] == values[1]
    if isinstance(left, Temporal) and isinstance(right, Temporal):
        if isinstance(left, Time) != isinstance(right, Time):
            return False
        order = temporal.compare_temporals(left, right)
        return None if order is None else order == 0
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)


def items_equivalent(left: object, right: object) -> bool:
    """Return whether two items are equivalent (N1 §6.1): never unknown.

    Case and white space of strings, the order of lists, and digits beyond the less precise number
    are ignored.
    """
    left, right = to_system(left), to_system(right)
    if isinstance(left, Element) and isinstance(right, Element):
        return _json_equivalent(left.value, right.value)
    if isinstance(left, str) and isinstance(right, str):
        return _normalize_string(left) == _normalize_string(right)
    pair = _pair_quantities(left, right)
    if pair:
        values = to_common_unit(*pair, for_equivalence=True)
        return values is not None and _quantities_equivalent(*pair, *values)
    numbers = to_decimal(left), to_decimal(right)
    if numbers[0] is not None and numbers[1] is not None:
        decimal_places = min(_count_decimal_places(numbers[0]), _count_decimal_places(numbers[1]))
        return _round_decimal(numbers[0], decimal_places) == _round_decimal(
            numbers[1], decimal_places
        )
    return items_equal(left, right) is True


def compare_items(left: object, right: object, subject: str) -> int | None:
    """Return -1, 0 or 1 for the order of two items (N1 §6.2); None where that is unknown.

    Raises Invalid for types that have no order, or no common one.
    """
    left, right = to_system(left), to_system(right)
    numbers = to_decimal(left), to_decimal(right)
    if numbers[0] is not None and numbers[1] is not None:
        return (numbers[0] > numbers[1]) - (numbers[0] < numbers[1])
    if isinstance(left, str) and isinstance(right, str):
        return (left > right) - (left < right)
    pair = _pair_quantities(left, right)
    if pair:
        values = to_common_unit(*pair)
        return values and (values[0] > values[1]) - (values[0] < values[1])
    if isinstance(left, Temporal) and isinstance(right, Temporal):
        if isinstance(left, Time) == isinstance(right, Time):
            return temporal.compare_temporals(left, right)
    if left is None or right is None:
        return None
    types = f"{qualified_type_name(left)} with {qualified_type_name(right)}"
    raise Invalid(f"{subject} does not compare {types}.")


def _pair_quantities(left: object, right: object) -> tuple[Quantity, Quantity] | None:
    """Return both items as quantities if one is a quantity and the other that or a number."""
    if type(left) is not Quantity and type(right) is not Quantity:
        return None
    quantities = [
        item if isinstance(item, Quantity) else number is not None and Quantity(number)
        for item, number in ((left, to_decimal(left)), (right, to_decimal(right)))
    ]
    return (quantities[0], quantities[1]) if quantities[0] and quantities[1] else None


def _json_equivalent(left: object, right: object) -> bool:
    """Return whether two complex elements are equivalent, their lists in any order."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(
            _json_equivalent(left[key], right[key]) for key in left
        )
    if isinstance(left, list) and isinstance(right, list):
        unmatched = list(right)
        for item in left:
            match = next(
                (i for i, other in enumerate(unmatched) if _json_equivalent(item, other)), None
            )
            if match is None:
                return False
            del unmatched[match]
        return not unmatched
    return items_equivalent(left, right)


def _normalize_string(value: str) -> str:
    return re.sub(r"\s+", " ", value.casefold()).strip()


def _count_decimal_places(number: Decimal) -> int:
    """Count decimal places without trailing zeros, which equivalence ignores: 1.10 has one."""
    exponent = number.normalize(DECIMAL_CONTEXT).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _round_decimal(number: Decimal, decimal_places: int) -> Decimal:
    return number.quantize(Decimal(1).scaleb(-decimal_places), context=DECIMAL_CONTEXT)


def _quantities_equivalent(
    left: Quantity, right: Quantity, left_value: Fraction, right_value: Fraction
) -> bool:
    """Compare two values in one unit at the precision of the less precise quantity.

    So 4 'g' is equivalent to 4040 'mg': 4 'g' is precise to a gram, and they differ by less than
    half of it.
    """
    steps = [
        abs(value / Fraction(quantity.value)) / 10 ** _count_decimal_places(quantity.value)
        for quantity, value in ((left, left_value), (right, right_value))
        if quantity.value
    ]
    if not steps:
        return True
    return bool(abs(left_value - right_value) * 2 <= max(steps))


def _convert_number(_: Element, value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return value
    # By way of text, because the decimal of the float 0.1 itself has 55 digits.
    number = value if isinstance(value, Decimal) else Decimal(str(value))
    if not number.is_finite() or abs(number.adjusted()) > _MAX_EXPONENT:
        raise Invalid("A number of the resource is out of FHIRPath's range.")
    return number


def _build_temporal_conversion(
    parse: Callable[[str], object],
) -> Callable[[Element, object], object]:
    # Text that is no date stays a string, so that a faulty record can still be searched.
    return lambda _, value: (isinstance(value, str) and parse(value)) or value


def _convert_quantity(item: Element, value: object) -> object:
    # `<5 mg` is no single value, so that it stays an element and takes no part in arithmetic.
    if not isinstance(value, dict) or "comparator" in value:
        return item
    number = to_decimal(_convert_number(item, value.get("value")))
    system, code, unit = (value.get(name) for name in ("system", "code", "unit"))
    if number is None:
        return item
    if system == _UCUM and isinstance(code, str):
        calendar_word = _UCUM_TO_CALENDAR.get(code)
        return Quantity(number, calendar_word, True) if calendar_word else Quantity(number, code)
    if system and system != _UCUM:
        # A code of another system is none of UCUM, whatever it looks like.
        return Quantity(number, f"{system}|{code or unit or '1'}")
    # Without a UCUM code the unit is known by its text alone, and compares only with the same text.
    label = unit or code or "1"
    return Quantity(number, label) if isinstance(label, str) else item


_CONVERSIONS: Mapping[str, Callable[[Element, Any], object]] = {
    "decimal": _convert_number,
    "date": _build_temporal_conversion(temporal.parse_date),
    "dateTime": _build_temporal_conversion(temporal.parse_datetime),
    "instant": _build_temporal_conversion(temporal.parse_datetime),
    "time": _build_temporal_conversion(temporal.parse_time),
    **dict.fromkeys(("Quantity", "Age", "Count", "Distance", "Duration"), _convert_quantity),
}
