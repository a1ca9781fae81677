"""Operators: a function from two operands, as collections, to a collection (FHIRPath N1 §6).

Each operand is evaluated before its operator is called, but for the short-circuit of `and`, `or`
and `implies` in the compiler. `is` and `as` take a type specifier and are in `typing_rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import ROUND_DOWN, Decimal
from typing import Any

from ehr_fhir.errors import Invalid
from ehr_fhir.fhirpath.calendar_arithmetic import add_duration
from ehr_fhir.fhirpath.collection_equality import (
    ItemSet,
    collections_equal,
    collections_equivalent,
    distinct,
)
from ehr_fhir.fhirpath.quantity import Quantity, to_common_unit
from ehr_fhir.fhirpath.scope import Evaluation
from ehr_fhir.fhirpath.system_values import (
    DECIMAL_CONTEXT,
    compare_items,
    qualified_type_name,
    to_boolean,
    to_decimal,
    to_singleton,
    to_system,
)
from ehr_fhir.fhirpath.temporal import Temporal
from ehr_fhir.fhirpath.ucum import combine_units

__all__ = ["OPERATORS", "integer_or_empty", "negate", "number_or_empty"]

# Called with the evaluation, whose steps it counts, and the left and right operand.
Operator = Callable[[Evaluation, list[Any], list[Any]], list[Any]]

# Chosen: units in use are far shorter, but `*` in `aggregate()` would lengthen one without end.
_MAX_UNIT_LENGTH = 100
# Chosen: no magnitude in use is near it, and written out it stays a short text.
_MAX_DECIMAL_EXPONENT = 400
_INTEGER_RANGE = range(-(2**31), 2**31)  # N1 §4.1.3


def number_or_empty(value: Decimal) -> list[Any]:
    """Return a computed decimal, or empty if it is no number or out of range (N1 §6.6).

    >>> number_or_empty(Decimal("NaN"))
    []
    """
    in_range = value.is_finite() and abs(value.adjusted()) < _MAX_DECIMAL_EXPONENT
    return [value] if in_range else []


def integer_or_empty(value: int) -> list[Any]:
    """Return a computed integer, or empty if it overflows 32 bits (N1 §6.6).

    >>> integer_or_empty(2**31 - 1), integer_or_empty(2**31)
    ([2147483647], [])
    """
    return [value] if value in _INTEGER_RANGE else []


def negate(items: list[Any]) -> list[Any]:
    """Negate a single number or quantity, as the unary minus does."""
    value = to_system(to_singleton(items, "A sign"))
    if value is None:
        return []
    if isinstance(value, Quantity):
        return [Quantity(-value.value, value.unit, value.calendar)]
    if to_decimal(value) is None:
        raise Invalid(f"A sign stands before a number, not {qualified_type_name(value)}.")
    return [DECIMAL_CONTEXT.minus(value) if isinstance(value, Decimal) else -value]


def _equals(_: Evaluation, left: list[Any], right: list[Any]) -> list[Any]:
    is_equal = collections_equal(left, right)
    return [] if is_equal is None else [is_equal]


def _not_equals(_: Evaluation, left: list[Any], right: list[Any]) -> list[Any]:
    is_equal = collections_equal(left, right)
    return [] if is_equal is None else [not is_equal]


def _build_comparison(symbol: str, holds: Callable[[int], bool]) -> Operator:
    """Return a comparison (N1 §6.2) that is true where `holds` is, of -1, 0 or 1."""
    subject = f"`{symbol}`"

    def compare_operands(_: Evaluation, left: list[Any], right: list[Any]) -> list[Any]:
        if not left or not right:
            return []
        order = compare_items(to_singleton(left, subject), to_singleton(right, subject), subject)
        return [] if order is None else [holds(order)]

    return compare_operands


def _build_logic(
    name: str, truth_table: Callable[[bool | None, bool | None], bool | None]
) -> Operator:
    """Return a Boolean operator over three values, of which None is empty (N1 §6.5)."""
    subject = f"`{name}`"

    def combine_booleans(_: Evaluation, left: list[Any], right: list[Any]) -> list[Any]:
        truth = truth_table(to_boolean(left, subject), to_boolean(right, subject))
        return [] if truth is None else [truth]

    return combine_booleans


def _and(left: bool | None, right: bool | None) -> bool | None:
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


def _or(left: bool | None, right: bool | None) -> bool | None:
    if left or right:
        return True
    return None if left is None or right is None else False


def _xor(left: bool | None, right: bool | None) -> bool | None:
    return None if left is None or right is None else left is not right


def _implies(left: bool | None, right: bool | None) -> bool | None:
    return _or(None if left is None else not left, right)


def _in(_: Evaluation, left: list[Any], right: list[Any]) -> list[Any]:
    return [to_singleton(left, "`in`") in ItemSet(right)] if left else []


def _contains(evaluation: Evaluation, left: list[Any], right: list[Any]) -> list[Any]:
    return _in(evaluation, right, left)


def _union(evaluation: Evaluation, left: list[Any], right: list[Any]) -> list[Any]:
    evaluation.count_steps(len(left) + len(right))
    return distinct([*left, *right])


def _concatenate(evaluation: Evaluation, left: list[Any], right: list[Any]) -> list[Any]:
    """Join two strings with `&`, for which an empty operand is an empty string (N1 §6.6)."""
    strings = [to_system(to_singleton(operand, "`&`")) for operand in (left, right)]
    for value in strings:
        if value is not None and not isinstance(value, str):
            raise Invalid(f"`&` joins strings, not {qualified_type_name(value)}.")
    return [evaluation.check_string((strings[0] or "") + (strings[1] or ""))]


def _build_arithmetic(symbol: str) -> Operator:
    """Return an arithmetic operator (N1 §6.6); its operands decide which arithmetic applies."""
    subject = f"`{symbol}`"

    def calculate(evaluation: Evaluation, left: list[Any], right: list[Any]) -> list[Any]:
        first = to_system(to_singleton(left, subject))
        second = to_system(to_singleton(right, subject))
        if first is None or second is None:
            return []
        if isinstance(first, Temporal) and isinstance(second, Quantity) and symbol in "+-":
            return add_duration(first, second, -1 if symbol == "-" else 1)
        if symbol == "+" and isinstance(first, str) and isinstance(second, str):
            return [evaluation.check_string(first + second)]
        if isinstance(first, Quantity) or isinstance(second, Quantity):
            result = _calculate_quantity(symbol, first, second)
        # Not isinstance: a boolean is an int in Python, but no number in FHIRPath.
        elif type(first) is int and type(second) is int and symbol in _INTEGER_OPERATIONS:
            result = _INTEGER_OPERATIONS[symbol](first, second)
        else:
            result = _calculate_decimal(symbol, first, second)
        if result is None:
            types = f"{qualified_type_name(first)} and {qualified_type_name(second)}"
            raise Invalid(f"`{symbol}` does not take {types}.")
        return result

    return calculate


_INTEGER_OPERATIONS: Mapping[str, Callable[[int, int], list[Any]]] = {
    "+": lambda a, b: integer_or_empty(a + b),
    "-": lambda a, b: integer_or_empty(a - b),
    "*": lambda a, b: integer_or_empty(a * b),
    # Truncated, not floored as in Python: the remainder has the sign of the dividend.
    "div": lambda a, b: integer_or_empty(abs(a) // abs(b) * (-1 if a * b < 0 else 1)) if b else [],
    "mod": lambda a, b: integer_or_empty(abs(a) % abs(b) * (-1 if a < 0 else 1)) if b else [],
}


def _calculate_decimal(symbol: str, left: object, right: object) -> list[Any] | None:
    """Calculate with two numbers as decimals; None if either is no number."""
    first, second = to_decimal(left), to_decimal(right)
    if first is None or second is None or symbol not in _DECIMAL_OPERATIONS:
        return None
    if symbol in ("/", "div", "mod") and second == 0:
        return []
    result = number_or_empty(_DECIMAL_OPERATIONS[symbol](first, second))
    if symbol == "div" and result:
        return integer_or_empty(int(result[0]))
    return result


_DECIMAL_OPERATIONS: Mapping[str, Callable[[Decimal, Decimal], Decimal]] = {
    "+": DECIMAL_CONTEXT.add,
    "-": DECIMAL_CONTEXT.subtract,
    "*": DECIMAL_CONTEXT.multiply,
    "/": DECIMAL_CONTEXT.divide,
    "div": lambda a, b: DECIMAL_CONTEXT.divide(a, b).to_integral_value(ROUND_DOWN, DECIMAL_CONTEXT),
    "mod": DECIMAL_CONTEXT.remainder,
}


def _calculate_quantity(symbol: str, left: object, right: object) -> list[Any] | None:
    """Calculate with two quantities, or a quantity and a number; None for other operands."""
    first, second = _to_quantity(left), _to_quantity(right)
    if first is None or second is None or symbol not in ("+", "-", "*", "/"):
        return None
    if symbol in "+-":
        return _add_quantities(symbol, first, second)
    if symbol == "/" and second.value == 0:
        return []
    number = _DECIMAL_OPERATIONS[symbol](first.value, second.value)
    unit = combine_units(first.unit, second.unit, symbol == "/")
    # `2 * 1 week` is still in weeks, but `1 week / 1 day` is in no calendar unit.
    calendar = (first.calendar or second.calendar) and unit in (first.unit, second.unit)
    return _quantity_or_empty(number, unit, calendar)


def _add_quantities(symbol: str, first: Quantity, second: Quantity) -> list[Any]:
    """Add or subtract in the unit of the first operand; empty if the units do not convert."""
    addend = second.value
    if first.unit != second.unit or first.calendar != second.calendar:
        units = [
            Quantity(Decimal(1), operand.unit, operand.calendar) for operand in (first, second)
        ]
        factors = to_common_unit(units[0], units[1])
        if factors is None:
            return []
        ratio = factors[1] / factors[0]
        # A ratio such as 1/3 is no decimal, so that multiplying first loses fewer digits.
        numerator = DECIMAL_CONTEXT.multiply(addend, Decimal(ratio.numerator))
        addend = DECIMAL_CONTEXT.divide(numerator, Decimal(ratio.denominator))
    total = _DECIMAL_OPERATIONS[symbol](first.value, addend)
    return _quantity_or_empty(total, first.unit, first.calendar)


def _quantity_or_empty(number: Decimal, unit: str, calendar: bool) -> list[Any]:
    """Return a computed quantity, or empty if its number or unit is out of range."""
    if len(unit) > _MAX_UNIT_LENGTH or not number_or_empty(number):
        return []
    return [Quantity(number, unit, calendar)]


def _to_quantity(value: object) -> Quantity | None:
    """Return a quantity itself, a number as a quantity of unit `1` (N1 §5.5), None of the rest."""
    if isinstance(value, Quantity):
        return value
    number = to_decimal(value)
    return None if number is None else Quantity(number)


OPERATORS: Mapping[str, Operator] = {
    "=": _equals,
    "!=": _not_equals,
    "~": lambda _, left, right: [collections_equivalent(left, right)],
    "!~": lambda _, left, right: [not collections_equivalent(left, right)],
    "<": _build_comparison("<", lambda order: order < 0),
    "<=": _build_comparison("<=", lambda order: order <= 0),
    ">": _build_comparison(">", lambda order: order > 0),
    ">=": _build_comparison(">=", lambda order: order >= 0),
    "and": _build_logic("and", _and),
    "or": _build_logic("or", _or),
    "xor": _build_logic("xor", _xor),
    "implies": _build_logic("implies", _implies),
    "in": _in,
    "contains": _contains,
    "|": _union,
    "&": _concatenate,
    **{symbol: _build_arithmetic(symbol) for symbol in ("+", "-", "*", "/", "div", "mod")},
}
