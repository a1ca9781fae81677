"""Conversion (FHIRPath N1 §5.5): `toX()` is empty where `convertsToX()` is false.

Each `_convert_to_…` takes a System value and returns None where there is no conversion.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from ehr_fhir.fhirpath import temporal
from ehr_fhir.fhirpath.quantity import (
    CALENDAR_UNITS,
    Quantity,
    calendar_unit,
    parse_quantity,
    to_common_unit,
)
from ehr_fhir.fhirpath.registry import register_function
from ehr_fhir.fhirpath.scope import Scope
from ehr_fhir.fhirpath.system_values import (
    DECIMAL_CONTEXT,
    to_decimal,
    to_singleton,
    to_string,
    to_system,
)
from ehr_fhir.fhirpath.temporal import Date, DateTime, Temporal, Time

__all__: list[str] = []

# Digits are bounded to those that an Integer or a Decimal can have (N1 §4.1).
_INTEGER = re.compile(r"[+-]?\d{1,10}")
_DECIMAL = re.compile(r"[+-]?\d{1,28}(\.\d{1,28})?")
_TRUE_STRINGS = frozenset({"true", "t", "yes", "y", "1", "1.0"})
_FALSE_STRINGS = frozenset({"false", "f", "no", "n", "0", "0.0"})
_INTEGER_LIMIT = 2**31


def _convert_to_boolean(value: object) -> object | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | Decimal):
        return bool(value) if value in (0, 1) else None
    if isinstance(value, str):
        lower = value.lower()
        return True if lower in _TRUE_STRINGS else False if lower in _FALSE_STRINGS else None
    return None


def _convert_to_integer(value: object) -> object | None:
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        converted = int(value)
        return converted if -_INTEGER_LIMIT <= converted < _INTEGER_LIMIT else None
    return None


def _convert_to_decimal(value: object) -> object | None:
    if isinstance(value, bool):
        return Decimal(value)
    if isinstance(value, str):
        return Decimal(value) if _DECIMAL.fullmatch(value) else None
    return to_decimal(value)


def _convert_to_string(value: object) -> object | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value) if isinstance(value, str | int | Temporal | Quantity) else None


def _convert_to_quantity(value: object) -> object | None:
    if isinstance(value, Quantity):
        return value
    if isinstance(value, str):
        return parse_quantity(value)
    number = _convert_to_decimal(value)
    return Quantity(number) if isinstance(number, Decimal) else None


def _convert_to_date(value: object) -> object | None:
    if isinstance(value, DateTime):
        return Date(value.parts[:3])
    if isinstance(value, str):
        return temporal.parse_date(value)
    return value if isinstance(value, Date) else None


def _convert_to_datetime(value: object) -> object | None:
    if isinstance(value, Date):
        return DateTime(value.parts)
    if isinstance(value, str):
        return temporal.parse_datetime(value)
    return value if isinstance(value, DateTime) else None


def _convert_to_time(value: object) -> object | None:
    if isinstance(value, str):
        return temporal.parse_time(value)
    return value if isinstance(value, Time) else None


def _register_conversion(name: str, convert: Callable[[object], object | None]) -> None:
    """Register `toX()` and `convertsToX()`, which are both empty for an empty collection."""

    @register_function(f"to{name}")
    def to(scope: Scope, items: list[Any]) -> list[Any]:
        converted = convert(to_system(to_singleton(items, f"`to{name}()`")))
        return [] if converted is None else [converted]

    @register_function(f"convertsTo{name}")
    def converts_to(scope: Scope, items: list[Any]) -> list[Any]:
        item = to_singleton(items, f"`convertsTo{name}()`")
        return [] if item is None else [convert(to_system(item)) is not None]


_register_conversion("Boolean", _convert_to_boolean)
_register_conversion("Integer", _convert_to_integer)
_register_conversion("Decimal", _convert_to_decimal)
_register_conversion("String", _convert_to_string)
_register_conversion("Date", _convert_to_date)
_register_conversion("DateTime", _convert_to_datetime)
_register_conversion("Time", _convert_to_time)


@register_function("toQuantity", 0, 1)
def _to_quantity(scope: Scope, items: list[Any], unit: list[Any] | None = None) -> list[Any]:
    converted = _convert_to_quantity(to_system(to_singleton(items, "`toQuantity()`")))
    unit_code = to_string(unit or [], "`toQuantity()`")
    if not isinstance(converted, Quantity):
        return []
    if unit_code is None:
        return [converted]
    # One of each unit, because the number may have more digits than a fraction should hold.
    target = Quantity(Decimal(1), unit_code, calendar_unit(unit_code) in CALENDAR_UNITS)
    factors = to_common_unit(Quantity(Decimal(1), converted.unit, converted.calendar), target)
    if factors is None:
        return []
    ratio = factors[0] / factors[1]
    number = DECIMAL_CONTEXT.multiply(converted.value, Decimal(ratio.numerator))
    number = DECIMAL_CONTEXT.divide(number, Decimal(ratio.denominator))
    return [Quantity(number, unit_code, target.calendar)]


@register_function("convertsToQuantity", 0, 1)
def _converts_to_quantity(
    scope: Scope, items: list[Any], unit: list[Any] | None = None
) -> list[Any]:
    return [bool(_to_quantity(scope, items, unit))] if items else []
