"""Values of FHIRPath's own types: from elements, as one of a kind, equal, equivalent, in order."""

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
    "compare",
    "equal",
    "equivalent",
    "qualified_type_name",
    "to_boolean",
    "to_decimal",
    "to_integer",
    "to_singleton",
    "to_string",
    "to_system",
]

# FHIRPath's decimals have 28 digits (N1 §2.4); nothing traps, so an overflow ends as an infinity.
DECIMAL_CONTEXT = Context(prec=28, Emax=9999, Emin=-9999, traps=[])
_UCUM = "http://unitsofmeasure.org"
_CALENDAR_CODES = {"a": "year", "mo": "month"}
_MAX_EXPONENT = 400  # powers of ten


def to_system(item: object) -> Any:  # Any: a value of any System type, or a complex element itself
    """Return the System value that an element stands for (R4 §2.9.1.1); complex ones stay."""
    if type(item) is not Element:
        return item
    value = item.value
    convert = _CONVERSIONS.get(item.type)
    if convert is not None and value is not None:
        return convert(item, value)
    return item if isinstance(value, dict) else value


def to_singleton(items: list[Any], what: str) -> Any:
    """Return the only item, None of no items; refuse more."""
    if not items:
        return None
    if len(items) > 1:
        raise Invalid(f"{what} takes one item, but there are {len(items)}.")
    return items[0]


def to_boolean(items: list[Any], what: str) -> bool | None:
    """Return a collection as true, false or unknown; a single item of another type is true."""
    if len(items) == 1 and type(items[0]) is bool:
        return items[0]
    item = to_system(to_singleton(items, what))
    return item if isinstance(item, bool) or item is None else True


def to_string(items: list[Any], what: str) -> str | None:
    """Return the only item as a string, None of no items; refuse other types."""
    item = to_singleton(items, what)
    if item is None or type(item) is str:
        return item
    # A date, an instant or a uri of FHIR is a string in JSON and may be searched as one.
    if isinstance(item, Element) and (isinstance(item.value, str) or item.value is None):
        return item.value
    raise Invalid(f"{what} takes a string, not {qualified_type_name(item)}.")


def to_integer(items: list[Any], what: str) -> int | None:
    """Return the only item as an integer, None of no items; refuse other types."""
    item = to_system(to_singleton(items, what))
    if item is None or (isinstance(item, int) and not isinstance(item, bool)):
        return item
    raise Invalid(f"{what} takes an integer, not {qualified_type_name(item)}.")


def to_decimal(value: object) -> Decimal | None:
    """Return a number as a decimal, or nothing for what is not a number."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    return None


def qualified_type_name(item: object) -> str:
    """Return the type of an item for a message.

    >>> qualified_type_name(True), qualified_type_name("x")
    ('System.Boolean', 'System.String')
    """
    if isinstance(item, Element):
        return f"FHIR.{item.type}"
    names = {bool: "Boolean", int: "Integer", Decimal: "Decimal", str: "String"}
    return f"System.{names.get(type(item), type(item).__name__)}"


def equal(left: object, right: object) -> bool | None:
    """Return whether two items are equal, None where precision or unit leave it open."""
    left, right = to_system(left), to_system(right)
    if left is None or right is None:
        return False
    if isinstance(left, Element) and isinstance(right, Element):
        return bool(left.value == right.value)
    pair = _quantities(left, right)
    if pair:
        values = to_common_unit(*pair)
        return None if values is None else values[0] == values[1]
    if isinstance(left, Temporal) and isinstance(right, Temporal):
        if isinstance(left, Time) != isinstance(right, Time):
            return False
        ranked = temporal.compare_temporals(left, right)
        return None if ranked is None else ranked == 0
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)


def equivalent(left: object, right: object) -> bool:
    """Return whether two items mean the same: case, spaces, digits and order put aside."""
    left, right = to_system(left), to_system(right)
    if isinstance(left, Element) and isinstance(right, Element):
        return _alike(left.value, right.value)
    if isinstance(left, str) and isinstance(right, str):
        return _folded(left) == _folded(right)
    pair = _quantities(left, right)
    if pair:
        values = to_common_unit(*pair, loose=True)
        return values is not None and _close_quantities(*pair, *values)
    numbers = to_decimal(left), to_decimal(right)
    if numbers[0] is not None and numbers[1] is not None:
        digits = min(_digits(numbers[0]), _digits(numbers[1]))
        return _rounded(numbers[0], digits) == _rounded(numbers[1], digits)
    return equal(left, right) is True


def compare(left: object, right: object, what: str) -> int | None:
    """Return -1, 0 or 1, None where the order is open; refuse types that have none."""
    left, right = to_system(left), to_system(right)
    numbers = to_decimal(left), to_decimal(right)
    if numbers[0] is not None and numbers[1] is not None:
        return (numbers[0] > numbers[1]) - (numbers[0] < numbers[1])
    if isinstance(left, str) and isinstance(right, str):
        return (left > right) - (left < right)
    pair = _quantities(left, right)
    if pair:
        values = to_common_unit(*pair)
        return values and (values[0] > values[1]) - (values[0] < values[1])
    if isinstance(left, Temporal) and isinstance(right, Temporal):
        if isinstance(left, Time) == isinstance(right, Time):
            return temporal.compare_temporals(left, right)
    if left is None or right is None:
        return None
    raise Invalid(
        f"{what} does not compare {qualified_type_name(left)} with {qualified_type_name(right)}."
    )


def _quantities(left: object, right: object) -> tuple[Quantity, Quantity] | None:
    if type(left) is not Quantity and type(right) is not Quantity:
        return None
    both = [
        item if isinstance(item, Quantity) else number is not None and Quantity(number)
        for item, number in ((left, to_decimal(left)), (right, to_decimal(right)))
    ]
    return (both[0], both[1]) if both[0] and both[1] else None


def _alike(left: object, right: object) -> bool:
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(_alike(left[k], right[k]) for k in left)
    if isinstance(left, list) and isinstance(right, list):
        rest = list(right)
        for item in left:
            match = next((i for i, other in enumerate(rest) if _alike(item, other)), None)
            if match is None:
                return False
            del rest[match]
        return not rest
    return equivalent(left, right)


def _folded(value: str) -> str:
    return re.sub(r"\s+", " ", value.casefold()).strip()


def _digits(number: Decimal) -> int:
    """Count the decimal places that mean something: 1.10 has one."""
    exponent = number.normalize(DECIMAL_CONTEXT).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _rounded(number: Decimal, digits: int) -> Decimal:
    return number.quantize(Decimal(1).scaleb(-digits), context=DECIMAL_CONTEXT)


def _close_quantities(
    left: Quantity, right: Quantity, one_value: Fraction, other: Fraction
) -> bool:
    """Compare at the step of the coarser of the two, as 4 'g' is taken to be 4040 'mg'."""
    steps = [
        abs(value / Fraction(quantity.value)) / 10 ** _digits(quantity.value)
        for quantity, value in ((left, one_value), (right, other))
        if quantity.value
    ]
    if not steps:
        return True
    return bool(abs(one_value - other) * 2 <= max(steps))


def _number(_: Element, value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return value
    number = value if isinstance(value, Decimal) else Decimal(str(value))
    if not number.is_finite() or abs(number.adjusted()) > _MAX_EXPONENT:
        raise Invalid("A number of the resource is out of FHIRPath's range.")
    return number


def _temporal(parse: Callable[[str], object]) -> Callable[[Element, object], object]:
    # What does not parse stays the text it is.
    return lambda _, value: (isinstance(value, str) and parse(value)) or value


def _quantity(item: Element, value: object) -> object:
    if not isinstance(value, dict) or "comparator" in value:
        return item
    number = to_decimal(_number(item, value.get("value")))
    code, unit = value.get("code"), value.get("unit")
    if number is None:
        return item
    if value.get("system") == _UCUM and isinstance(code, str):
        word = _CALENDAR_CODES.get(code)
        return Quantity(number, word, True) if word else Quantity(number, code)
    found = unit or code or "1"
    return Quantity(number, found) if isinstance(found, str) else item


_CONVERSIONS: Mapping[str, Callable[[Element, Any], object]] = {
    "decimal": _number,
    "date": _temporal(temporal.parse_date),
    "dateTime": _temporal(temporal.parse_datetime),
    "instant": _temporal(temporal.parse_datetime),
    "time": _temporal(temporal.parse_time),
    **dict.fromkeys(("Quantity", "Age", "Count", "Distance", "Duration"), _quantity),
}
