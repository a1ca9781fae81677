"""What stands between two operands, one function for each operator (FHIRPath N1 §6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import ROUND_DOWN, Decimal
from typing import Any

from ehr_fhir.errors import Invalid
from ehr_fhir.fhirpath import calendar_arithmetic
from ehr_fhir.fhirpath.collection_equality import (
    Seen,
    collections_equal,
    collections_equivalent,
    distinct,
)
from ehr_fhir.fhirpath.quantity import Quantity, commensurable
from ehr_fhir.fhirpath.scope import Evaluation
from ehr_fhir.fhirpath.system_values import (
    CONTEXT,
    compare,
    single_item,
    to_boolean,
    to_decimal,
    to_system,
    type_label,
)
from ehr_fhir.fhirpath.temporal import Temporal
from ehr_fhir.fhirpath.ucum import combine_units

__all__ = ["OPERATORS", "integer_or_empty", "negative", "number_or_empty"]

Operator = Callable[[Evaluation, list[Any], list[Any]], list[Any]]
_MAX_UNIT_CHARACTERS = 100
_INTEGERS = range(-(2**31), 2**31)


def number_or_empty(value: Decimal) -> list[Any]:
    """Return a computed decimal, or nothing if there is no such number (N1 §6.6).

    >>> number_or_empty(Decimal("NaN"))
    []
    """
    return [value] if value.is_finite() and abs(value.adjusted()) < 400 else []


def integer_or_empty(value: int) -> list[Any]:
    """Return a computed integer, or nothing if it overflows 32 bits."""
    return [value] if value in _INTEGERS else []


def negative(items: list[Any]) -> list[Any]:
    """Turn the sign of a number or quantity."""
    value = to_system(single_item(items, "A sign"))
    if value is None:
        return []
    if isinstance(value, Quantity):
        return [Quantity(-value.value, value.unit, value.calendar)]
    if to_decimal(value) is None:
        raise Invalid(f"A sign stands before a number, not {type_label(value)}.")
    return [CONTEXT.minus(value) if isinstance(value, Decimal) else -value]


def _equal(_: Evaluation, left: list[Any], right: list[Any]) -> list[Any]:
    answer = collections_equal(left, right)
    return [] if answer is None else [answer]


def _unequal(_: Evaluation, left: list[Any], right: list[Any]) -> list[Any]:
    answer = collections_equal(left, right)
    return [] if answer is None else [not answer]


def _ordered(symbol: str, holds: Callable[[int], bool]) -> Operator:
    def run(_: Evaluation, left: list[Any], right: list[Any]) -> list[Any]:
        if not left or not right:
            return []
        ranked = compare(
            single_item(left, f"`{symbol}`"), single_item(right, f"`{symbol}`"), f"`{symbol}`"
        )
        return [] if ranked is None else [holds(ranked)]

    return run


def _logic(name: str, table: Callable[[bool | None, bool | None], bool | None]) -> Operator:
    def run(_: Evaluation, left: list[Any], right: list[Any]) -> list[Any]:
        answer = table(to_boolean(left, f"`{name}`"), to_boolean(right, f"`{name}`"))
        return [] if answer is None else [answer]

    return run


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
    return [single_item(left, "`in`") in Seen(right)] if left else []


def _contains(run: Evaluation, left: list[Any], right: list[Any]) -> list[Any]:
    return _in(run, right, left)


def _union(run: Evaluation, left: list[Any], right: list[Any]) -> list[Any]:
    run.count_steps(len(left) + len(right))
    return distinct([*left, *right])


def _join(run: Evaluation, left: list[Any], right: list[Any]) -> list[Any]:
    texts = [to_system(single_item(side, "`&`")) for side in (left, right)]
    for item in texts:
        if item is not None and not isinstance(item, str):
            raise Invalid(f"`&` joins strings, not {type_label(item)}.")
    return [run.checked_text((texts[0] or "") + (texts[1] or ""))]


def _arithmetic(symbol: str) -> Operator:
    def run(run: Evaluation, left: list[Any], right: list[Any]) -> list[Any]:
        first = to_system(single_item(left, f"`{symbol}`"))
        second = to_system(single_item(right, f"`{symbol}`"))
        if first is None or second is None:
            return []
        if isinstance(first, Temporal) and isinstance(second, Quantity) and symbol in "+-":
            return calendar_arithmetic.add(first, second, -1 if symbol == "-" else 1)
        if symbol == "+" and isinstance(first, str) and isinstance(second, str):
            return [run.checked_text(first + second)]
        if isinstance(first, Quantity) or isinstance(second, Quantity):
            found = _quantities(symbol, first, second)
        elif type(first) is int and type(second) is int and symbol in _WHOLE:
            found = _WHOLE[symbol](first, second)
        else:
            found = _decimals(symbol, first, second)
        if found is None:
            raise Invalid(f"`{symbol}` does not take {type_label(first)} and {type_label(second)}.")
        return found

    return run


_WHOLE: Mapping[str, Callable[[int, int], list[Any]]] = {
    "+": lambda a, b: integer_or_empty(a + b),
    "-": lambda a, b: integer_or_empty(a - b),
    "*": lambda a, b: integer_or_empty(a * b),
    # Truncated, not floored: the sign of the rest is that of the dividend.
    "div": lambda a, b: integer_or_empty(abs(a) // abs(b) * (-1 if a * b < 0 else 1)) if b else [],
    "mod": lambda a, b: integer_or_empty(abs(a) % abs(b) * (-1 if a < 0 else 1)) if b else [],
}


def _decimals(symbol: str, left: object, right: object) -> list[Any] | None:
    first, second = to_decimal(left), to_decimal(right)
    if first is None or second is None or symbol not in _DECIMAL:
        return None
    if symbol in ("/", "div", "mod") and second == 0:
        return []
    found = number_or_empty(_DECIMAL[symbol](first, second))
    if symbol == "div" and found:
        return integer_or_empty(int(found[0]))
    return found


_DECIMAL: Mapping[str, Callable[[Decimal, Decimal], Decimal]] = {
    "+": CONTEXT.add,
    "-": CONTEXT.subtract,
    "*": CONTEXT.multiply,
    "/": CONTEXT.divide,
    "div": lambda a, b: CONTEXT.divide(a, b).to_integral_value(ROUND_DOWN, CONTEXT),
    "mod": CONTEXT.remainder,
}


def _quantities(symbol: str, left: object, right: object) -> list[Any] | None:
    first, second = _quantity(left), _quantity(right)
    if first is None or second is None or symbol not in ("+", "-", "*", "/"):
        return None
    if symbol in "+-":
        if first.unit != second.unit or first.calendar != second.calendar:
            return _converted(symbol, first, second)
        return _made(_DECIMAL[symbol](first.value, second.value), first.unit, first.calendar)
    if symbol == "/" and second.value == 0:
        return []
    number = _DECIMAL[symbol](first.value, second.value)
    unit = combine_units(first.unit, second.unit, symbol == "/")
    calendar = (first.calendar or second.calendar) and unit in (first.unit, second.unit)
    return _made(number, unit, calendar)


def _converted(symbol: str, first: Quantity, second: Quantity) -> list[Any]:
    # The sum is in the first operand's unit.
    units = [Quantity(Decimal(1), side.unit, side.calendar) for side in (first, second)]
    values = commensurable(units[0], units[1])
    if values is None:
        return []
    ratio = values[1] / values[0]
    scaled = CONTEXT.multiply(second.value, Decimal(ratio.numerator))
    other = CONTEXT.divide(scaled, Decimal(ratio.denominator))
    return _made(_DECIMAL[symbol](first.value, other), first.unit, first.calendar)


def _made(number: Decimal, unit: str, calendar: bool) -> list[Any]:
    if len(unit) > _MAX_UNIT_CHARACTERS or not number_or_empty(number):
        return []
    return [Quantity(number, unit, calendar)]


def _quantity(value: object) -> Quantity | None:
    if isinstance(value, Quantity):
        return value
    number = to_decimal(value)
    return None if number is None else Quantity(number)


OPERATORS: Mapping[str, Operator] = {
    "=": _equal,
    "!=": _unequal,
    "~": lambda _, left, right: [collections_equivalent(left, right)],
    "!~": lambda _, left, right: [not collections_equivalent(left, right)],
    "<": _ordered("<", lambda ranked: ranked < 0),
    "<=": _ordered("<=", lambda ranked: ranked <= 0),
    ">": _ordered(">", lambda ranked: ranked > 0),
    ">=": _ordered(">=", lambda ranked: ranked >= 0),
    "and": _logic("and", _and),
    "or": _logic("or", _or),
    "xor": _logic("xor", _xor),
    "implies": _logic("implies", _implies),
    "in": _in,
    "contains": _contains,
    "|": _union,
    "&": _join,
    **{symbol: _arithmetic(symbol) for symbol in ("+", "-", "*", "/", "div", "mod")},
}
