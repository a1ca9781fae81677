"""The LACE index at discharge, 0 to 19 (van Walraven et al., CMAJ 2010;182:551-557).

L length of stay, A acute admission, C comorbidity (Charlson in LACE's weighting), E visits to the
emergency department in the six months before, without the one that led to this admission.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

from ehr_fhir.errors import Unprocessable
from ehr_fhir.score_points import ScorePoints
from ehr_models.scores.charlson import LACE_BMJ_OPEN
from ehr_models.scores.classes import Classes

LENGTH, ACUTE, COMORBIDITY, EMERGENCY = "length of stay", "acute", "comorbidity", "emergency visits"
PARTS = (LENGTH, ACUTE, COMORBIDITY, EMERGENCY)
# The usual line of a high risk. Lower lines fit the young, higher ones the very old (Bristol
# age-threshold study, Intern Emerg Med 2020).
HIGH_FROM = 10

# Whether the day of admission and the day of discharge both count: sources differ.
NIGHTS, BOTH_DAYS = "nights", "both-days"
# The points of the longest stays: 7 as first published, 6 in a modified LACE.
CMAJ, MODIFIED = "cmaj-2010", "modified-bmj-open-2017"

_DAY_BOUNDS = (1, 2, 3, 4, 7, 14)
LENGTH_CLASSES: Mapping[str, Classes] = MappingProxyType(
    {
        CMAJ: Classes(_DAY_BOUNDS, (0, 1, 2, 3, 4, 5, 7)),
        MODIFIED: Classes(_DAY_BOUNDS, (0, 1, 2, 3, 4, 5, 6)),
    }
)
COMORBIDITY_CLASSES = Classes((1, 2, 3, 4), (0, 1, 2, 3, 5))
VISIT_CLASSES = Classes((1, 2, 3, 4), (0, 1, 2, 3, 4))
ACUTE_POINTS = 3


@dataclass(frozen=True)
class LaceSettings:
    """What published sources do not settle, by name."""

    days: str = NIGHTS
    points: str = CMAJ
    # A weighting of `charlson.toml`; whoever works out the comorbidity takes it from here.
    comorbidity: str = LACE_BMJ_OPEN

    def __post_init__(self) -> None:
        """Refuse names that are none."""
        if self.days not in (NIGHTS, BOTH_DAYS):
            raise Unprocessable(f"LACE counts days by {NIGHTS!r} or {BOTH_DAYS!r}.")
        if self.points not in LENGTH_CLASSES:
            raise Unprocessable(f"LACE has the points {CMAJ!r} or {MODIFIED!r}.")


DEFAULTS = LaceSettings()


@dataclass(frozen=True)
class Lace(ScorePoints):
    """The points of L, A, C and E."""

    @property
    def is_high(self) -> bool:
        """Return whether what is known reaches the line of a high risk."""
        return self.lower_bound >= HIGH_FROM


def count_days(admitted: date, discharged: date, settings: LaceSettings = DEFAULTS) -> int:
    """Return the length of a stay in days; of a stay within one day by nights 0.

    >>> count_days(date(2026, 1, 1), date(2026, 1, 6))
    5
    >>> count_days(date(2026, 1, 1), date(2026, 1, 6), LaceSettings(days=BOTH_DAYS))
    6
    """
    nights = (discharged - admitted).days
    return nights + (settings.days == BOTH_DAYS)


def score_lace(
    days: float | None,
    acute: bool | None,
    comorbidity: float | None,
    visits: float | None,
    settings: LaceSettings = DEFAULTS,
) -> Lace:
    """Return the points of one stay; None is not known, and so is a number below 0.

    >>> score_lace(5, True, 5, 2).total
    14
    >>> partial = score_lace(5, True, None, 2)
    >>> partial.total, partial.lower_bound, partial.missing
    (None, 9, ('comorbidity',))
    """
    return Lace(
        MappingProxyType(
            {
                LENGTH: LENGTH_CLASSES[settings.points].find(days),
                ACUTE: None if acute is None else ACUTE_POINTS * acute,
                COMORBIDITY: COMORBIDITY_CLASSES.find(comorbidity),
                EMERGENCY: VISIT_CLASSES.find(visits),
            }
        )
    )
