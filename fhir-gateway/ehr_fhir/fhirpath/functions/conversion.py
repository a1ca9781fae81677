"""Conversion (N1 §5.5): `toX()` gives nothing for what cannot be an X, `convertsToX()` says so."""

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

_INTEGER = re.compile(r"[+-]?\d{1,10}")
_DECIMAL = re.compile(r"[+-]?\d{1,28}(\.\d{1,28})?")
_TRUE = frozenset({"true", "t", "yes", "y", "1", "1.0"})
_FALSE = frozenset({"false", "f", "no", "n", "0", "0.0"})
_LARGEST = 2**31


def _boolean(value: object) -> object | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | Decimal):
        return bool(value) if value in (0, 1) else None
    if isinstance(value, str):
        lower = value.lower()
        return True if lower in _TRUE else False if lower in _FALSE else None
    return None


def _integer(value: object) -> object | None:
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        found = int(value)
        return found if -_LARGEST <= found < _LARGEST else None
    return None


def _decimal(value: object) -> object | None:
    if isinstance(value, bool):
        return Decimal(value)
    if isinstance(value, str):
        return Decimal(value) if _DECIMAL.fullmatch(value) else None
    return to_decimal(value)


def _string(value: object) -> object | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value) if isinstance(value, str | int | Temporal | Quantity) else None


def _quantity(value: object) -> object | None:
    if isinstance(value, Quantity):
        return value
    if isinstance(value, str):
        return parse_quantity(value)
    number = _decimal(value)
    return Quantity(number) if isinstance(number, Decimal) else None


def _date(value: object) -> object | None:
    if isinstance(value, DateTime):
        return Date(value.parts[:3])
    if isinstance(value, str):
        return temporal.parse_date(value)
    return value if isinstance(value, Date) else None


def _datetime(value: object) -> object | None:
    if isinstance(value, Date):
        return DateTime(value.parts)
    if isinstance(value, str):
        return temporal.parse_datetime(value)
    return value if isinstance(value, DateTime) else None


def _time(value: object) -> object | None:
    if isinstance(value, str):
        return temporal.parse_time(value)
    return value if isinstance(value, Time) else None


def _register(name: str, convert: Callable[[object], object | None]) -> None:
    @register_function(f"to{name}")
    def to(scope: Scope, items: list[Any]) -> list[Any]:
        found = convert(to_system(to_singleton(items, f"`to{name}()`")))
        return [] if found is None else [found]

    @register_function(f"convertsTo{name}")
    def converts_to(scope: Scope, items: list[Any]) -> list[Any]:
        item = to_singleton(items, f"`convertsTo{name}()`")
        return [] if item is None else [convert(to_system(item)) is not None]


_register("Boolean", _boolean)
_register("Integer", _integer)
_register("Decimal", _decimal)
_register("String", _string)
_register("Date", _date)
_register("DateTime", _datetime)
_register("Time", _time)


@register_function("toQuantity", 0, 1)
def _to_quantity(scope: Scope, items: list[Any], unit: list[Any] | None = None) -> list[Any]:
    found = _quantity(to_system(to_singleton(items, "`toQuantity()`")))
    wanted = to_string(unit or [], "`toQuantity()`")
    if not isinstance(found, Quantity):
        return []
    if wanted is None:
        return [found]
    target = Quantity(Decimal(1), wanted, calendar_unit(wanted) in CALENDAR_UNITS)
    pair = to_common_unit(Quantity(Decimal(1), found.unit, found.calendar), target)
    if pair is None:
        return []
    ratio = pair[0] / pair[1]
    number = DECIMAL_CONTEXT.multiply(found.value, Decimal(ratio.numerator))
    number = DECIMAL_CONTEXT.divide(number, Decimal(ratio.denominator))
    return [Quantity(number, wanted, target.calendar)]


@register_function("convertsToQuantity", 0, 1)
def _converts_to_quantity(
    scope: Scope, items: list[Any], unit: list[Any] | None = None
) -> list[Any]:
    return [bool(_to_quantity(scope, items, unit))] if items else []
