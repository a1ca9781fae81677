"""Statistics of measured values, by the codes of R4's `observation-statistics`.

Quartiles, quintiles and percentiles are those of the values themselves, with linear interpolation
between two of them (type 7 of Hyndman and Fan, The American Statistician 1996); deviation and
variance are those of a sample, skew and kurtosis the moments of the values divided by their
standard deviation (a normal distribution has 0 and 3).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

from ehr_fhir.errors import Unprocessable
from ehr_fhir.units import canonical_unit

__all__ = ["SPELLINGS", "STATISTICS", "Measurements", "build_component", "collect_measurements"]

SYSTEM = "http://terminology.hl7.org/CodeSystem/observation-statistics"
_DATA_ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
# Digits that are shown of what is worked out; of what was measured all are.
_DIGITS = 9
# Larger ones are no integers of JSON's many readers (RFC 8259 §6), and not of ours.
_MOST_INTEGER = 2**53 - 1


@dataclass(frozen=True)
class Measurements:
    """The numbers that were measured of one code, in one unit, and how many had no number."""

    values: tuple[Fraction, ...]
    # Of the quantities: system, code and unit, as they are shown.
    unit: Mapping[str, str]
    without_number: int


def collect_measurements(quantities: Sequence[Mapping[str, Any] | None]) -> Measurements:
    """Return the values of quantities in the unit of the first; None stands for no number.

    A quantity with a comparator (`<5`) is no number. Raises Unprocessable where units do not
    convert into each other.

    >>> kilo = {"value": Decimal(1), "system": "http://unitsofmeasure.org", "code": "kg"}
    >>> measured = collect_measurements([{**kilo, "code": "g"}, kilo, None])
    >>> [int(value) for value in measured.values], measured.without_number
    ([1, 1000], 1)
    """
    numbers = [one for one in quantities if one and "value" in one and "comparator" not in one]
    first = numbers[0] if numbers else {}
    unit = {name: str(first[name]) for name in ("unit", "system", "code") if name in first}
    values = tuple(_convert(one, first) for one in numbers)
    return Measurements(values, unit, len(quantities) - len(numbers))


def build_component(measured: Measurements, name: str) -> dict[str, Any]:
    """Return one statistic as a component of an Observation; without a value if it has none."""
    component: dict[str, Any] = {"code": {"coding": [{"system": SYSTEM, "code": name}]}}
    statistic = STATISTICS[name]
    values = measured.values
    if name == "total-count":
        values = (*values, *[Fraction(0)] * measured.without_number)
    if len(values) < statistic.least:
        coding = {"system": _DATA_ABSENT, "code": "not-applicable"}
        return {**component, "dataAbsentReason": {"coding": [coding]}}
    quantity: dict[str, Any] = {"value": _format(statistic.compute(values))}
    if statistic.has_unit:
        quantity |= measured.unit
    return {**component, "valueQuantity": quantity}


def _convert(quantity: Mapping[str, Any], target: Mapping[str, Any]) -> Fraction:
    """Return the number of a quantity in the unit of another."""
    value = Fraction(quantity["value"])
    if all(quantity.get(name) == target.get(name) for name in ("system", "code")) and (
        "code" in quantity or quantity.get("unit") == target.get("unit")
    ):
        return value
    unit, other = (
        canonical_unit(str(one.get("system", "")), str(one.get("code", "")))
        for one in (quantity, target)
    )
    if unit is None or other is None or unit.unit != other.unit:
        raise Unprocessable(
            "The measurements are in units that do not convert into each other: name a code or a"
            " period in which they do.",
            issue_code="not-supported",
        )
    return value * unit.factor / other.factor


def _format(value: Fraction) -> Decimal | int:
    """Return a number as JSON shows it: exactly where it is short, else rounded.

    >>> _format(Fraction(10) ** 30 / 3)
    Decimal('333333333000000000000000000000')
    """
    exact = Fraction(value)
    if exact.denominator == 1 and abs(exact) <= _MOST_INTEGER:
        return int(exact)
    # A Decimal has room for powers of any value that JSON may hold; a float has not.
    rounded = _divide(exact, _DIGITS)
    return Decimal(f"{rounded.normalize():f}")


def _divide(value: Fraction, digits: int) -> Decimal:
    return Context(prec=digits).divide(Decimal(value.numerator), Decimal(value.denominator))


def _root(value: Fraction) -> Fraction:
    """Return the square root, to more digits than are shown."""
    return Fraction(Context(prec=3 * _DIGITS).sqrt(_divide(value, 3 * _DIGITS)))


def _percentile(percent: int) -> Callable[[Sequence[Fraction]], Fraction]:
    """Return the function that gives a percentile of at least one value."""

    def compute(values: Sequence[Fraction]) -> Fraction:
        ordered = sorted(values)
        place = Fraction(percent, 100) * (len(ordered) - 1)
        below = int(place)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (place - below) * (ordered[above] - ordered[below])

    return compute


def _quartile_deviation(values: Sequence[Fraction]) -> Fraction:
    return _percentile(75)(values) - _percentile(25)(values)


def _moment(power: int) -> Callable[[Sequence[Fraction]], Fraction]:
    """Return the function that gives a standardised moment; nothing differs in equal values."""

    def compute(values: Sequence[Fraction]) -> Fraction:
        mean = sum(values) / Fraction(len(values))
        spread = sum((value - mean) ** 2 for value in values) / len(values)
        if not spread:
            return Fraction(0)
        moment = sum((value - mean) ** power for value in values) / len(values)
        size = _root(Fraction(moment**2 / spread**power))
        return size if moment > 0 else -size

    return compute


@dataclass(frozen=True)
class _Statistic:
    compute: Callable[[Sequence[Fraction]], Fraction]
    # Values that it needs.
    least: int = 1
    has_unit: bool = True


def _count(values: Sequence[Fraction]) -> Fraction:
    return Fraction(len(values))


# `regression` is no single number and R4 does not say how it is written.
STATISTICS: Mapping[str, _Statistic] = {
    "average": _Statistic(lambda values: sum(values) / Fraction(len(values))),
    "maximum": _Statistic(max),
    "minimum": _Statistic(min),
    "count": _Statistic(_count, 0, has_unit=False),
    "total-count": _Statistic(_count, 0, has_unit=False),
    "median": _Statistic(_percentile(50)),
    "std-dev": _Statistic(lambda values: _root(Fraction(statistics.variance(values))), 2),
    "sum": _Statistic(lambda values: Fraction(sum(values))),
    "variance": _Statistic(lambda values: statistics.variance(values), 2, has_unit=False),
    "20-percent": _Statistic(_percentile(20)),
    "80-percent": _Statistic(_percentile(80)),
    "4-lower": _Statistic(_percentile(25)),
    "4-upper": _Statistic(_percentile(75)),
    "4-dev": _Statistic(_quartile_deviation),
    "5-1": _Statistic(_percentile(20)),
    "5-2": _Statistic(_percentile(40)),
    "5-3": _Statistic(_percentile(60)),
    "5-4": _Statistic(_percentile(80)),
    "skew": _Statistic(_moment(3), 2, has_unit=False),
    "kurtosis": _Statistic(_moment(4), 2, has_unit=False),
}
# How R4's own example of a call writes two of them.
SPELLINGS: Mapping[str, str] = {"max": "maximum", "min": "minimum"}
