"""NEWS2 on a page: titles, words and colours. `ehr_fhir.news2` works the score out."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ehr_fhir.news2 import (
    ALERT,
    CONSCIOUSNESS,
    HIGH,
    LOW,
    LOW_MEDIUM,
    MEDIUM,
    OXYGEN,
    PULSE,
    RESPIRATION,
    SATURATION,
    SYSTOLIC,
    TEMPERATURE,
    News2,
)
from ehr_portal.i18n import N_
from ehr_portal.record.interpretations import ATTENTION, CRITICAL, EXPECTED, NEUTRAL, STRONG

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
ACVPU_TEXTS: Mapping[str, str] = MappingProxyType(
    {
        ALERT: N_("Alert"),
        "C": N_("New confusion"),
        "V": N_("Responds to voice"),
        "P": N_("Responds to pain"),
        "U": N_("Unresponsive"),
    }
)
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


def find_level(score: News2) -> str:
    """Return how much a score asks for attention, as one of the levels of `interpretations`."""
    return RISK_LEVELS[score.risk] if score.risk else NEUTRAL
