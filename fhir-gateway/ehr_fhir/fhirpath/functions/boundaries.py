"""Boundaries and precision: `lowBoundary`, `highBoundary`, `precision`, `comparable` (trial use).

A boundary is the least or greatest value that the digits of a value leave possible: `1.587` may be
anything from 1.5865 to 1.5875. HL7's R4 test suite settles what the text leaves open. A number's
low boundary is truncated to the precision asked for and its high boundary rounded half up (of a
negative number the other way round), and an hour without minutes is taken as its first minute.
"""

from __future__ import annotations

import calendar
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from typing import Any

from ehr_fhir.errors import Invalid
from ehr_fhir.fhirpath.quantity import Quantity, to_common_unit
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
from ehr_fhir.fhirpath.temporal import Date, DateTime, Temporal, Time

__all__: list[str] = []

_DEFAULT_PRECISION = 8  # decimal places, as the specification has it
_MAX_PRECISION = 28  # decimal places; a FHIRPath decimal has 28 digits (N1 §4.1.4)
# Precision of a date or time as its count of digits, by how many of its parts are known: a year has
# 4, a month 6, and the last entry is the millisecond.
_DATETIME_PRECISIONS = (0, 4, 6, 8, 10, 12, 14, 17)
_DATE_PRECISIONS = _DATETIME_PRECISIONS[:4]
_TIME_PRECISIONS = (0, 2, 4, 6, 9)
_LAST_MILLISECOND = 999 * 10**6  # of a second, in nanoseconds
# The extreme time zones in minutes east of UTC. A date-time without a zone may stand in any of
# them: its earliest instant is in the easternmost, its latest in the westernmost.
_EASTERNMOST_ZONE, _WESTERNMOST_ZONE = 14 * 60, -12 * 60


@register_function("lowBoundary", 0, 1)
def _low_boundary(scope: Scope, items: list[Any], precision: list[Any] | None = None) -> list[Any]:
    return _find_boundary(items, precision, high=False)


@register_function("highBoundary", 0, 1)
def _high_boundary(scope: Scope, items: list[Any], precision: list[Any] | None = None) -> list[Any]:
    return _find_boundary(items, precision, high=True)


@register_function("precision")
def _precision(scope: Scope, items: list[Any]) -> list[Any]:
    value = to_system(to_singleton(items, "`precision()`"))
    if value is None:
        return []
    if isinstance(value, Temporal):
        precisions = _TIME_PRECISIONS if isinstance(value, Time) else _DATETIME_PRECISIONS
        return [precisions[len(value.parts)] + value.digits]
    number = to_decimal(value)
    if number is None:
        datatype = qualified_type_name(value)
        raise Invalid(f"`precision()` takes a number, a date or a time, not {datatype}.")
    return [_count_decimal_places(number)]


@register_function("comparable", 1)
def _comparable(scope: Scope, items: list[Any], other: list[Any]) -> list[Any]:
    left = to_system(to_singleton(items, "`comparable()`"))
    right = to_system(to_singleton(other, "`comparable()`"))
    if left is None or right is None:
        return []
    if not isinstance(left, Quantity) or not isinstance(right, Quantity):
        raise Invalid("`comparable()` takes two quantities.")
    return [to_common_unit(left, right) is not None]


def _find_boundary(items: list[Any], precision: list[Any] | None, *, high: bool) -> list[Any]:
    name = "`highBoundary()`" if high else "`lowBoundary()`"
    value, places = to_system(to_singleton(items, name)), to_integer(precision or [], name)
    if value is None:
        return []
    if isinstance(value, Temporal):
        return _find_temporal_boundary(value, places, high=high)
    number = value.value if isinstance(value, Quantity) else to_decimal(value)
    if number is None:
        raise Invalid(f"{name} takes a number, a quantity, a date or a time.")
    if places is None:
        places = _DEFAULT_PRECISION
    if not 0 <= places <= _MAX_PRECISION:
        return []
    boundary = _find_number_boundary(number, places, high=high)
    if not boundary.is_finite():
        return []
    if isinstance(value, Quantity):
        return [Quantity(boundary, value.unit, value.calendar)]
    return [boundary]


def _find_number_boundary(number: Decimal, places: int, *, high: bool) -> Decimal:
    """Return the boundary of a number, to so many decimal places.

    >>> _find_number_boundary(Decimal("1.587"), 8, high=True)
    Decimal('1.58750000')
    >>> _find_number_boundary(Decimal("1.587"), 2, high=False)
    Decimal('1.58')
    """
    half_step = Decimal(5).scaleb(-_count_decimal_places(number) - 1)
    away_from_zero = high != number.is_signed()
    if high:
        boundary = DECIMAL_CONTEXT.add(number, half_step)
    else:
        boundary = DECIMAL_CONTEXT.subtract(number, half_step)
    rounding = ROUND_HALF_UP if away_from_zero else ROUND_DOWN
    return boundary.quantize(Decimal(1).scaleb(-places), rounding, DECIMAL_CONTEXT)


def _count_decimal_places(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _find_temporal_boundary(value: Temporal, precision: int | None, *, high: bool) -> list[Any]:
    """Return the first or last date or time that a value may mean, to a precision in digits.

    The result is empty for a precision that the type does not have, such as 5 digits of a date.
    """
    if isinstance(value, Date):
        precisions: tuple[int, ...] = _DATE_PRECISIONS
    elif isinstance(value, Time):
        precisions = _TIME_PRECISIONS
    else:
        precisions = _DATETIME_PRECISIONS
    if precision is None:
        precision = precisions[-1]
    if precision not in precisions[1:]:
        return []
    part_count = precisions.index(precision)
    if isinstance(value, Time):
        parts = _complete_clock(value.parts, high=high)
    else:
        parts = _complete_datetime(value.parts, high=high)
    if part_count <= len(parts):
        return [_build_temporal(value, parts[:part_count], high=high)]
    # One more than all parts: the milliseconds are asked for too.
    nanoseconds = value.nanoseconds
    if high and not value.digits:
        nanoseconds = _LAST_MILLISECOND
    return [_build_temporal(value, parts, nanoseconds, digits=3, high=high)]


def _build_temporal(
    value: Temporal, parts: tuple[int, ...], nanoseconds: int = 0, digits: int = 0, *, high: bool
) -> Temporal:
    """Return a boundary of the value's own type; a date-time with an hour always gets a zone."""
    if isinstance(value, Date):
        return Date(parts)
    if isinstance(value, Time):
        return Time(parts, nanoseconds, digits)
    if len(parts) <= 3:
        return DateTime(parts, nanoseconds, digits)
    zone = value.zone
    if zone is None:
        zone = _WESTERNMOST_ZONE if high else _EASTERNMOST_ZONE
    return DateTime(parts, nanoseconds, digits, zone)


def _complete_datetime(parts: tuple[int, ...], *, high: bool) -> tuple[int, ...]:
    """Return all six parts of a date-time, the unknown ones at their least or greatest.

    >>> _complete_datetime((2014, 2), high=True)
    (2014, 2, 28, 23, 59, 59)
    """
    if len(parts) < 2:
        parts += (12 if high else 1,)
    if len(parts) < 3:
        parts += (calendar.monthrange(*parts)[1] if high else 1,)
    if len(parts) < 4:
        return (*parts, 23, 59, 59) if high else (*parts, 0, 0, 0)
    return parts[:3] + _complete_clock(parts[3:], high=high)


def _complete_clock(parts: tuple[int, ...], *, high: bool) -> tuple[int, ...]:
    """Return hour, minute and second; an unknown minute is 0 for both boundaries (R4's suite)."""
    if len(parts) < 2:
        parts += (0,)
    return parts if len(parts) == 3 else (*parts, 59 if high else 0)
