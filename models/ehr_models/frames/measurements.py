"""Measured values as features: the latest that can be true, in one unit, and why none was taken.

A value is converted to the feature's unit and held against the limits of the lake's data quality
(`ehr_etl.data_quality.value_limits`). One that cannot be true, or is in a unit of another kind or
in none, is left out; where it is newer than what is taken, the row says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from ehr_etl.data_quality.quantities import list_limits
from ehr_fhir.units import convert
from ehr_models.task import Feature

__all__ = ["Measurement", "Scale", "explain_left_out", "find_scale"]

_IMPLAUSIBLE = "{title}: the latest value cannot be true and was left out"
_NO_UNIT = "{title}: the latest value is in no unit that could be converted and was left out"


@dataclass(frozen=True)
class Measurement:
    """The latest value of some LOINC codes in the days before the index date."""

    feature: Feature
    events: str
    codes: tuple[str, ...]
    code_column: str
    value_column: str
    unit_column: str
    days: int
    # In g/mol, of a substance that is measured by amount in one place and by mass in another.
    molar_mass: float | None = None


@dataclass(frozen=True)
class Scale:
    """How a value of a code in a unit becomes one of the feature's: times `factor`, plus `offset`.

    `low` and `high` are in the feature's unit.
    """

    factor: float
    offset: float
    low: float
    high: float

    def convert(self, value: float) -> float:
        """Return a value in the feature's unit."""
        return value * self.factor + self.offset

    def is_plausible(self, value: float) -> bool:
        """Say whether a converted value can be true."""
        return self.low <= value <= self.high


@cache
def find_scale(
    code: str, unit: str | None, target: str, molar_mass: float | None = None
) -> Scale | None:
    """Return how values of a LOINC code in a UCUM unit are read; None where they cannot be.

    >>> find_scale("718-7", "g/L", "g/dL").convert(120.0)
    12.0
    >>> find_scale("718-7", "mmol/L", "g/dL") is None
    True
    >>> round(find_scale("2160-0", "umol/L", "mg/dL", 113.12).convert(90.0), 3)
    1.018
    """
    if unit is None:
        return None
    zero, one = (convert(number, unit, target, molar_mass) for number in (0.0, 1.0))
    if zero is None or one is None:
        return None
    low, high = float("-inf"), float("inf")
    for limits in list_limits().get(code, ()):
        least = convert(limits.low, limits.unit, target, molar_mass)
        most = convert(limits.high, limits.unit, target, molar_mass)
        if least is not None and most is not None:
            low, high = least, most
    return Scale(one - zero, zero, low, high)


def explain_left_out(
    measurement: Measurement, *, is_implausible: bool, is_without_unit: bool
) -> Iterable[str]:
    """Yield why the latest value of a measurement was left out."""
    title = measurement.feature.title
    if is_implausible:
        yield _IMPLAUSIBLE.format(title=title)
    if is_without_unit:
        yield _NO_UNIT.format(title=title)
