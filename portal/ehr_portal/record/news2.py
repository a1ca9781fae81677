"""NEWS2, the National Early Warning Score 2 (Royal College of Physicians, London 2017), worked out.

Pure numbers: `news2_observations` finds them in a record. A missing parameter is never taken for
normal: without all seven there is no total, only a lower bound and what is missing. It is a display
aid and no device: the person at the bedside decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from types import MappingProxyType

from ehr_portal.i18n import N_
from ehr_portal.record.interpretations import ATTENTION, CRITICAL, EXPECTED, NEUTRAL, STRONG

RESPIRATION, SATURATION, OXYGEN = "respiration", "saturation", "oxygen"
SYSTOLIC, PULSE, CONSCIOUSNESS, TEMPERATURE = "systolic", "pulse", "consciousness", "temperature"
# In the order of the chart.
PARAMETERS = (RESPIRATION, SATURATION, OXYGEN, SYSTOLIC, PULSE, CONSCIOUSNESS, TEMPERATURE)
PARAMETER_TITLES: Mapping[str, str] = MappingProxyType(
    {
        RESPIRATION: N_("Breathing rate"),
        SATURATION: N_("Oxygen saturation"),
        OXYGEN: N_("Air or oxygen"),
        SYSTOLIC: N_("Systolic blood pressure"),
        PULSE: N_("Pulse"),
        CONSCIOUSNESS: N_("Consciousness"),
        TEMPERATURE: N_("Temperature"),
    }
)
# The score is for people of this age and more (RCP 2017).
MIN_AGE = 16
ALERT = "A"
ACVPU_TEXTS: Mapping[str, str] = MappingProxyType(
    {
        ALERT: N_("Alert"),
        "C": N_("New confusion"),
        "V": N_("Responds to voice"),
        "P": N_("Responds to pain"),
        "U": N_("Unresponsive"),
    }
)
ACVPU = tuple(ACVPU_TEXTS)

LOW, LOW_MEDIUM, MEDIUM, HIGH = "low", "low-medium", "medium", "high"
RISK_TEXTS: Mapping[str, str] = MappingProxyType(
    {
        LOW: N_("Low risk"),
        LOW_MEDIUM: N_("Low to medium risk: one sign alone scores 3"),
        MEDIUM: N_("Medium risk: urgent assessment"),
        HIGH: N_("High risk: emergency assessment"),
    }
)
# The chart's colours: white or green, yellow, orange, red.
RISK_LEVELS: Mapping[str, str] = MappingProxyType(
    {LOW: EXPECTED, LOW_MEDIUM: ATTENTION, MEDIUM: STRONG, HIGH: CRITICAL}
)

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
class News2:
    """The points of each parameter, and what they come to."""

    # By parameter; None where it is missing.
    points: Mapping[str, int | None]

    @property
    def missing(self) -> tuple[str, ...]:
        """Return the parameters without which there is no total."""
        return tuple(name for name in PARAMETERS if self.points[name] is None)

    @property
    def lower_bound(self) -> int:
        """Return the sum of what was measured: the score is at least that."""
        return sum(points or 0 for points in self.points.values())

    @property
    def total(self) -> int | None:
        """Return the score; None where a parameter is missing."""
        return None if self.missing else self.lower_bound

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

    @property
    def level(self) -> str:
        """Return how much it asks for attention, as one of the levels of `interpretations`."""
        return RISK_LEVELS[self.risk] if self.risk else NEUTRAL


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
        RESPIRATION: _band_points(RESPIRATION, signs.respiration),
        SATURATION: _saturation_points(signs),
        OXYGEN: None if signs.oxygen is None else _OXYGEN_POINTS * signs.oxygen,
        SYSTOLIC: _band_points(SYSTOLIC, signs.systolic),
        PULSE: _band_points(PULSE, signs.pulse),
        CONSCIOUSNESS: _consciousness_points(signs.consciousness),
        TEMPERATURE: _band_points(TEMPERATURE, signs.temperature),
    }
    return News2(MappingProxyType(points))


def round_to_step(parameter: str, value: float) -> Decimal:
    """Return a value at the chart's step, halves upward.

    >>> round_to_step("temperature", 38.04), round_to_step("temperature", 38.05)
    (Decimal('38.0'), Decimal('38.1'))
    """
    return Decimal(str(value)).quantize(Decimal(_STEPS.get(parameter, "1")), ROUND_HALF_UP)


def _band_points(parameter: str, value: float | None) -> int | None:
    if value is None:
        return None
    bands, above = _BANDS[parameter]
    return _find_points(round_to_step(parameter, value), bands, above)


def _saturation_points(signs: Signs) -> int | None:
    if signs.saturation is None or not signs.uses_scale_2:
        return _band_points(SATURATION, signs.saturation)
    value = round_to_step(SATURATION, signs.saturation)
    if value <= Decimal("92") or signs.oxygen is False:
        return _find_points(value, _SCALE_2, 0)
    # Above the target the points depend on whether oxygen is given.
    return None if signs.oxygen is None else _find_points(value, *_SCALE_2_ON_OXYGEN)


def _find_points(value: Decimal, bands: tuple[tuple[str, int], ...], above: int) -> int:
    return next((points for limit, points in bands if value <= Decimal(limit)), above)


def _consciousness_points(level: str | None) -> int | None:
    if level is None:
        return None
    return 0 if level == ALERT else 3
