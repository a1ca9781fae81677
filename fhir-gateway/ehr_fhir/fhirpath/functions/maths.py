"""Numbers (N1 §5.7): an answer that is no number is no answer."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import Any

from ehr_fhir.errors import Invalid
from ehr_fhir.fhirpath.operators import integer_or_empty, number_or_empty
from ehr_fhir.fhirpath.quantity import Quantity
from ehr_fhir.fhirpath.registry import register_function
from ehr_fhir.fhirpath.scope import Scope
from ehr_fhir.fhirpath.system_values import (
    DECIMAL_CONTEXT,
    qualified_type_name,
    to_decimal,
    to_integer,
    to_singleton,
    to_system,
)

__all__: list[str] = []

_MAX_EXPONENT = 10_000


def _of_number(name: str, run: Callable[[Decimal], list[Any]]) -> None:
    """Register a function of a number alone."""

    @register_function(name)
    def call(scope: Scope, items: list[Any]) -> list[Any]:
        value = _number(items, name)
        return [] if value is None else run(value)


def _integer(rounding: str) -> Callable[[Decimal], list[Any]]:
    return lambda value: integer_or_empty(int(value.to_integral_value(rounding)))


_of_number("ceiling", _integer(ROUND_CEILING))
_of_number("floor", _integer(ROUND_FLOOR))
_of_number("truncate", _integer(ROUND_DOWN))
_of_number("exp", lambda value: number_or_empty(DECIMAL_CONTEXT.exp(value)))
_of_number("ln", lambda value: number_or_empty(DECIMAL_CONTEXT.ln(value)))
_of_number("sqrt", lambda value: number_or_empty(DECIMAL_CONTEXT.sqrt(value)))


@register_function("abs")
def _abs(scope: Scope, items: list[Any]) -> list[Any]:
    value = to_system(to_singleton(items, "`abs()`"))
    if isinstance(value, Quantity):
        return [Quantity(abs(value.value), value.unit, value.calendar)]
    if value is not None and to_decimal(value) is None:
        raise Invalid(f"`abs()` takes a number, not {qualified_type_name(value)}.")
    return [] if value is None else [abs(value)]


@register_function("log", 1)
def _log(scope: Scope, items: list[Any], base: list[Any]) -> list[Any]:
    value, root = _number(items, "log"), _number(base, "log")
    if value is None or root is None or value <= 0 or root <= 0 or root == 1:
        return []
    found = DECIMAL_CONTEXT.divide(DECIMAL_CONTEXT.ln(value), DECIMAL_CONTEXT.ln(root))
    # A quotient of logarithms is exact to fewer digits than it shows: log 16 to base 2 is 4.
    return number_or_empty(_round_to_20_places(found))


@register_function("power", 1)
def _power(scope: Scope, items: list[Any], exponent: list[Any]) -> list[Any]:
    base, power = (
        to_system(to_singleton(items, "`power()`")),
        to_system(to_singleton(exponent, "`power()`")),
    )
    value, by = _number(items, "power"), _number(exponent, "power")
    if value is None or by is None or abs(by) > _MAX_EXPONENT:
        return []
    found = DECIMAL_CONTEXT.power(value, by)
    if not found.is_finite():
        return []
    if isinstance(base, int) and isinstance(power, int) and power >= 0:
        return integer_or_empty(int(found)) if abs(found) < 2**32 else []
    return number_or_empty(found)


@register_function("round", 0, 1)
def _round(scope: Scope, items: list[Any], precision: list[Any] | None = None) -> list[Any]:
    value = _number(items, "round")
    digits = to_integer(precision or [], "`round()`") or 0
    if digits < 0:
        raise Invalid("`round()` takes a number of digits that is not negative.")
    if value is None:
        return []
    if digits >= 28:
        return [value]
    found = value.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP, DECIMAL_CONTEXT)
    return [found] if found.is_finite() else [value]


def _number(items: list[Any], name: str) -> Decimal | None:
    value = to_system(to_singleton(items, f"`{name}()`"))
    number = to_decimal(value)
    if value is not None and number is None:
        raise Invalid(f"`{name}()` takes a number, not {qualified_type_name(value)}.")
    return number


def _round_to_20_places(number: Decimal) -> Decimal:
    if not number:
        return number
    rounded = number.quantize(Decimal(1).scaleb(-20), context=DECIMAL_CONTEXT)
    return rounded.normalize(DECIMAL_CONTEXT)
