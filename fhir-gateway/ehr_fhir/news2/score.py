"""NEWS2 worked out from numbers: the bands of the chart, the points, the risk.

A missing parameter is never taken for normal: without all seven there is no total, only a lower
bound and what is missing. It is a display aid and no device: the person at the bedside decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from types import MappingProxyType

from ehr_fhir.score_points import ScorePoints

RESPIRATION, SATURATION, OXYGEN = "respiration", "saturation", "oxygen"
SYSTOLIC, PULSE, CONSCIOUSNESS, TEMPERATURE = "systolic", "pulse", "consciousness", "temperature"
# In the order of the chart.
PARAMETERS = (RESPIRATION, SATURATION, OXYGEN, SYSTOLIC, PULSE, CONSCIOUSNESS, TEMPERATURE)
# The score is for people of this age and more (RCP 2017).
MIN_AGE = 16
ALERT = "A"
# Alert, new Confusion, responds to Voice, to Pain, Unresponsive.
ACVPU = (ALERT, "C", "V", "P", "U")

LOW, LOW_MEDIUM, MEDIUM, HIGH = "low", "low-medium", "medium", "high"
# In rising order.
RISKS = (LOW, LOW_MEDIUM, MEDIUM, HIGH)

# Upper limit of each band, inclusive, with its points; what is above the last has the points
# behind it. Values are rounded to the chart's step first, so that no value lies between two bands.
_BANDS: Mapping[str, tuple[tuple[tuple[str, int], ...], int]] = MappingProxyType(
    {
        RESPIRATION: ((("8", 3), ("11", 1), ("20", 0), ("24", 2)), 3),
        SATURATION: ((("91", 3), ("93", 2), ("95", 1)), 0),
        SYSTOLIC: ((("90", 3), ("100", 2), ("110", 1), ("219", 0)), 3),
        PULSE: ((("40", 3), ("50", 1), ("90", 0), ("110", 1), ("130", 2)), 3),
        TEMPERATURE: ((("35.0", 3), ("36.0", 1), ("38.0", 0), ("39.0", 1)), 2),
    }
)
# Scale 2 of the saturation: on air everything from 88 % on is within the target.
_SCALE_2 = (("83", 3), ("85", 2), ("87", 1))
_SCALE_2_ON_OXYGEN = ((*_SCALE_2, ("92", 0), ("94", 1), ("96", 2)), 3)
_STEPS: Mapping[str, str] = MappingProxyType({TEMPERATURE: "0.1"})
_OXYGEN_POINTS = 2


@dataclass(frozen=True)
class Signs:
    """What was measured in one round; None is not measured, or not to be used."""

    respiration: float | None = None
    saturation: float | None = None
    # Whether extra oxygen is given.
    oxygen: bool | None = None
    systolic: float | None = None
    pulse: float | None = None
    # One letter of ACVPU.
    consciousness: str | None = None
    temperature: float | None = None
    # A clinician set the target of 88 to 92 %: never worked out from a diagnosis.
    uses_scale_2: bool = False


@dataclass(frozen=True)
class News2(ScorePoints):
    """The points of each parameter, and what they come to."""

    @property
    def has_single_3(self) -> bool:
        """Return whether one sign alone scores 3."""
        return 3 in self.points.values()

    @property
    def risk(self) -> str | None:
        """Return the clinical risk; of an incomplete set what it reaches already, else None."""
        if self.lower_bound >= 7:
            return HIGH
        if self.lower_bound >= 5:
            return MEDIUM
        if self.has_single_3:
            return LOW_MEDIUM
        return None if self.missing else LOW


def work_out(signs: Signs) -> News2:
    """Return the points of one round of observations.

    >>> work_out(Signs(22, 93, True, 105, 112, "A", 38.5)).total
    10
    >>> score = work_out(Signs(20, 95, True, 130, 95, "A", 36.5, uses_scale_2=True))
    >>> score.total, score.risk
    (5, 'medium')
    >>> score = work_out(Signs(16, None, False, 120, 80, "C", 37.0))
    >>> score.total, score.lower_bound, score.missing, score.risk
    (None, 3, ('saturation',), 'low-medium')
    """
    points = {
        RESPIRATION: find_points(RESPIRATION, signs.respiration),
        SATURATION: find_saturation_points(signs.saturation, signs.oxygen, signs.uses_scale_2),
        OXYGEN: find_points(OXYGEN, signs.oxygen),
        SYSTOLIC: find_points(SYSTOLIC, signs.systolic),
        PULSE: find_points(PULSE, signs.pulse),
        CONSCIOUSNESS: find_points(CONSCIOUSNESS, signs.consciousness),
        TEMPERATURE: find_points(TEMPERATURE, signs.temperature),
    }
    return News2(MappingProxyType(points))


def find_points(parameter: str, value: float | str | bool | None) -> int | None:
    """Return the points of one sign (of the saturation on scale 1); None of what is missing.

    >>> find_points("temperature", 38.05), find_points("consciousness", "C")
    (1, 3)
    """
    if value is None:
        return None
    if parameter == OXYGEN:
        return _OXYGEN_POINTS * bool(value)
    if parameter == CONSCIOUSNESS:
        return 0 if value == ALERT else 3
    bands, above = _BANDS[parameter]
    return _find_band(round_to_step(parameter, float(value)), bands, above)


def find_saturation_points(
    saturation: float | None, oxygen: bool | None, uses_scale_2: bool
) -> int | None:
    """Return the points of the saturation (%); None where it or what they depend on is missing.

    >>> find_saturation_points(95, True, True), find_saturation_points(95, None, True)
    (2, None)
    """
    if saturation is None or not uses_scale_2:
        return find_points(SATURATION, saturation)
    value = round_to_step(SATURATION, saturation)
    if value <= Decimal("92") or oxygen is False:
        return _find_band(value, _SCALE_2, 0)
    # Above the target the points depend on whether oxygen is given.
    return None if oxygen is None else _find_band(value, *_SCALE_2_ON_OXYGEN)


def round_to_step(parameter: str, value: float) -> Decimal:
    """Return a value at the chart's step, halves upward.

    >>> round_to_step("temperature", 38.04), round_to_step("temperature", 38.05)
    (Decimal('38.0'), Decimal('38.1'))
    """
    return Decimal(str(value)).quantize(Decimal(_STEPS.get(parameter, "1")), ROUND_HALF_UP)


def _find_band(value: Decimal, bands: tuple[tuple[str, int], ...], above: int) -> int:
    return next((points for limit, points in bands if value <= Decimal(limit)), above)
