"""`lowBoundary`, `highBoundary`, `precision`, `comparable` (trial use).

Of a number, the low boundary is cut and the high one rounded to the digits asked for, and an hour
without minutes is its first minute: both as HL7's suite has it.
"""

from __future__ import annotations

import calendar
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from typing import Any

from ehr_fhir.errors import Invalid
from ehr_fhir.fhirpath.quantity import Quantity, commensurable
from ehr_fhir.fhirpath.registry import register_function
from ehr_fhir.fhirpath.scope import Scope
from ehr_fhir.fhirpath.system_values import (
    CONTEXT,
    single_item,
    to_decimal,
    to_integer,
    to_system,
    type_label,
)
from ehr_fhir.fhirpath.temporal import Date, DateTime, Temporal, Time

__all__: list[str] = []

_DEFAULT_DIGITS = 8
_MAX_DIGITS = 28
# How many digits a date or time shows when this many of its parts are known.
_DATE_DIGITS = (0, 4, 6, 8, 10, 12, 14, 17)
_TIME_DIGITS = (0, 2, 4, 6, 9)
# The zones of the world, which a time without one may stand in.
_FIRST_ZONE, _LAST_ZONE = 14 * 60, -12 * 60


@register_function("lowBoundary", 0, 1)
def _low_boundary(scope: Scope, items: list[Any], digits: list[Any] | None = None) -> list[Any]:
    return _boundary(items, digits, high=False)


@register_function("highBoundary", 0, 1)
def _high_boundary(scope: Scope, items: list[Any], digits: list[Any] | None = None) -> list[Any]:
    return _boundary(items, digits, high=True)


@register_function("precision")
def _precision(scope: Scope, items: list[Any]) -> list[Any]:
    value = to_system(single_item(items, "`precision()`"))
    if value is None:
        return []
    if isinstance(value, Temporal):
        table = _TIME_DIGITS if isinstance(value, Time) else _DATE_DIGITS
        return [table[len(value.parts)] + value.digits]
    number = to_decimal(value)
    if number is None:
        raise Invalid(f"`precision()` takes a number, a date or a time, not {type_label(value)}.")
    return [_places(number)]


@register_function("comparable", 1)
def _comparable(scope: Scope, items: list[Any], other: list[Any]) -> list[Any]:
    left, right = (
        to_system(single_item(items, "`comparable()`")),
        to_system(single_item(other, "`comparable()`")),
    )
    if left is None or right is None:
        return []
    if not isinstance(left, Quantity) or not isinstance(right, Quantity):
        raise Invalid("`comparable()` takes two quantities.")
    return [commensurable(left, right) is not None]


def _boundary(items: list[Any], digits: list[Any] | None, *, high: bool) -> list[Any]:
    name = "`highBoundary()`" if high else "`lowBoundary()`"
    value, wanted = to_system(single_item(items, name)), to_integer(digits or [], name)
    if value is None:
        return []
    if isinstance(value, Temporal):
        return _temporal_boundary(value, wanted, high)
    number = value.value if isinstance(value, Quantity) else to_decimal(value)
    if number is None:
        raise Invalid(f"{name} takes a number, a quantity, a date or a time.")
    if wanted is not None and not 0 <= wanted <= _MAX_DIGITS:
        return []
    found = _number_boundary(number, _DEFAULT_DIGITS if wanted is None else wanted, high)
    if not found.is_finite():
        return []
    return [Quantity(found, value.unit, value.calendar) if isinstance(value, Quantity) else found]


def _number_boundary(number: Decimal, digits: int, high: bool) -> Decimal:
    half = Decimal(5).scaleb(-_places(number) - 1)
    outward = high == (number >= 0 and not number.is_signed())
    edge = CONTEXT.add(number, half) if high else CONTEXT.subtract(number, half)
    rounding = ROUND_HALF_UP if outward else ROUND_DOWN
    return edge.quantize(Decimal(1).scaleb(-digits), rounding, CONTEXT)


def _places(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _temporal_boundary(value: Temporal, wanted: int | None, high: bool) -> list[Any]:
    table: tuple[int, ...] = _TIME_DIGITS if isinstance(value, Time) else _DATE_DIGITS
    if isinstance(value, Date):
        table = _DATE_DIGITS[:4]
    digits = table[-1] if wanted is None else wanted
    if digits not in table[1:]:
        return []
    count = table.index(digits)
    parts = _filled_time(value, high) if isinstance(value, Time) else _filled(value, high)
    top = 3 if isinstance(value, Time) else 6
    if count <= top:
        kept, nanos, shown = parts[:count], 0, 0
    else:
        last = 999 * 10**6 if high and not value.digits else value.nanos
        kept, nanos, shown = parts, last if len(value.parts) < top or value.digits else 0, 3
        if high and len(value.parts) == top and not value.digits:
            nanos = 999 * 10**6
    return [_made(value, kept, nanos, shown, high)]


def _made(value: Temporal, parts: tuple[int, ...], nanos: int, digits: int, high: bool) -> Temporal:
    if isinstance(value, Date):
        return Date(parts)
    if isinstance(value, Time):
        return Time(parts, nanos, digits)
    zone = value.zone
    if zone is None and len(parts) > 3:
        zone = _LAST_ZONE if high else _FIRST_ZONE
    return DateTime(parts, nanos, digits, zone if len(parts) > 3 else None)


def _filled(value: Temporal, high: bool) -> tuple[int, ...]:
    parts = value.parts
    if len(parts) < 2:
        parts += (12 if high else 1,)
    if len(parts) < 3:
        parts += (calendar.monthrange(*parts)[1] if high else 1,)
    if len(parts) < 4:
        return (*parts, 23, 59, 59) if high else (*parts, 0, 0, 0)
    return parts[:3] + _filled_clock(parts[3:], high)


def _filled_time(value: Temporal, high: bool) -> tuple[int, ...]:
    return _filled_clock(value.parts, high)


def _filled_clock(parts: tuple[int, ...], high: bool) -> tuple[int, ...]:
    if len(parts) < 2:
        parts += (0,)
    return parts if len(parts) == 3 else (*parts, 59 if high else 0)
