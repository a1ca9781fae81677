"""Math (FHIRPath N1 §5.7): a result that is no number, such as `(-1).sqrt()`, is empty."""

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

# Chosen: it bounds the work, and to a greater power most numbers are out of range anyway.
_MAX_EXPONENT = 10_000


def _register_number_function(name: str, calculate: Callable[[Decimal], list[Any]]) -> None:
    """Register a function of the input number alone."""

    @register_function(name)
    def apply_to_number(scope: Scope, items: list[Any]) -> list[Any]:
        value = _to_number(items, name)
        return [] if value is None else calculate(value)


def _round_to_integer(rounding: str) -> Callable[[Decimal], list[Any]]:
    return lambda value: integer_or_empty(int(value.to_integral_value(rounding)))


_register_number_function("ceiling", _round_to_integer(ROUND_CEILING))
_register_number_function("floor", _round_to_integer(ROUND_FLOOR))
_register_number_function("truncate", _round_to_integer(ROUND_DOWN))
_register_number_function("exp", lambda value: number_or_empty(DECIMAL_CONTEXT.exp(value)))
_register_number_function("ln", lambda value: number_or_empty(DECIMAL_CONTEXT.ln(value)))
_register_number_function("sqrt", lambda value: number_or_empty(DECIMAL_CONTEXT.sqrt(value)))


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
    value, base_number = _to_number(items, "log"), _to_number(base, "log")
    if value is None or base_number is None or value <= 0 or base_number <= 0 or base_number == 1:
        return []
    result = DECIMAL_CONTEXT.divide(DECIMAL_CONTEXT.ln(value), DECIMAL_CONTEXT.ln(base_number))
    # A quotient of logarithms is exact to fewer digits than it shows: log 16 to base 2 is 4.
    return number_or_empty(_round_to_20_places(result))


@register_function("power", 1)
def _power(scope: Scope, items: list[Any], exponent: list[Any]) -> list[Any]:
    value, exponent_number = _to_number(items, "power"), _to_number(exponent, "power")
    if value is None or exponent_number is None or abs(exponent_number) > _MAX_EXPONENT:
        return []
    result = DECIMAL_CONTEXT.power(value, exponent_number)
    if not result.is_finite():
        return []
    of_integers = isinstance(to_system(items[0]), int) and isinstance(to_system(exponent[0]), int)
    if of_integers and exponent_number >= 0:
        # Beyond 32 bits before `int()`, which would write out a number of thousands of digits.
        return integer_or_empty(int(result)) if abs(result) < 2**32 else []
    return number_or_empty(result)


@register_function("round", 0, 1)
def _round(scope: Scope, items: list[Any], precision: list[Any] | None = None) -> list[Any]:
    value = _to_number(items, "round")
    digits = to_integer(precision or [], "`round()`") or 0
    if digits < 0:
        raise Invalid("`round()` takes a number of digits that is not negative.")
    if value is None:
        return []
    if digits >= 28:
        return [value]
    result = value.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP, DECIMAL_CONTEXT)
    return [result] if result.is_finite() else [value]


def _to_number(items: list[Any], name: str) -> Decimal | None:
    """Return the single item as a decimal; raise Invalid for what is no number."""
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
