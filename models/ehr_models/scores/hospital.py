"""The HOSPITAL score at discharge, 0 to 13 (Donzé et al., JAMA Intern Med 2013;173:632-638).

Haemoglobin, discharge from an oncology service, sodium, a procedure, the type of the admission,
admissions in the year before, length of stay. Validated in JAMA Intern Med 2016;176:496-502.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ehr_fhir.errors import Unprocessable
from ehr_fhir.score_points import ScorePoints
from ehr_models.scores.classes import Classes

HAEMOGLOBIN, ONCOLOGY, SODIUM, PROCEDURE = "haemoglobin", "oncology", "sodium", "procedure"
TYPE, ADMISSIONS, LENGTH = "type of admission", "admissions", "length of stay"
PARTS = (HAEMOGLOBIN, ONCOLOGY, SODIUM, PROCEDURE, TYPE, ADMISSIONS, LENGTH)

LOW, INTERMEDIATE, HIGH = "low", "intermediate", "high"
INTERMEDIATE_FROM, HIGH_FROM = 5, 7

# Two bands for earlier admissions are in circulation: none, 1 to 5, more; or up to 1, 2 to 5, more.
VERSION_1, VERSION_2 = "1", "2"
# The simplified form of 2017 leaves the procedure out and takes a diagnosis of cancer in place of
# the discharge from an oncology service.
FULL, SIMPLIFIED = "full", "simplified-2017"

ADMISSION_CLASSES: Mapping[str, Classes] = MappingProxyType(
    {VERSION_1: Classes((1, 6), (0, 2, 5)), VERSION_2: Classes((2, 6), (0, 2, 5))}
)
LENGTH_CLASSES = Classes((5,), (0, 2))
# g/dL and mmol/L below which there is a point; what lies beyond the limits cannot be true of a
# living person (those of the data quality rules) and counts as not known.
HAEMOGLOBIN_BELOW, HAEMOGLOBIN_LIMITS = 12, (0.7, 30)
SODIUM_BELOW, SODIUM_LIMITS = 135, (80, 220)
ONCOLOGY_POINTS = 2


@dataclass(frozen=True)
class HospitalSettings:
    """What published sources do not settle, by name."""

    version: str = VERSION_2
    form: str = FULL

    def __post_init__(self) -> None:
        """Refuse names that are none."""
        if self.version not in ADMISSION_CLASSES:
            raise Unprocessable(f"HOSPITAL has the versions {VERSION_1!r} and {VERSION_2!r}.")
        if self.form not in (FULL, SIMPLIFIED):
            raise Unprocessable(f"HOSPITAL has the forms {FULL!r} and {SIMPLIFIED!r}.")

    @property
    def parts(self) -> tuple[str, ...]:
        """Return the items of the form."""
        return tuple(part for part in PARTS if part != PROCEDURE or self.form == FULL)


DEFAULTS = HospitalSettings()


@dataclass(frozen=True)
class Hospital(ScorePoints):
    """The points of each item."""

    @property
    def risk(self) -> str | None:
        """Return the class; of an incomplete score the one it reaches already, else None."""
        if self.lower_bound >= HIGH_FROM:
            return HIGH
        if self.lower_bound >= INTERMEDIATE_FROM:
            return INTERMEDIATE
        return None if self.missing else LOW


def score_hospital(
    *,
    haemoglobin: float | None = None,
    oncology: bool | None = None,
    sodium: float | None = None,
    procedure: bool | None = None,
    urgent: bool | None = None,
    admissions: float | None = None,
    days: float | None = None,
    settings: HospitalSettings = DEFAULTS,
) -> Hospital:
    """Return the points of one stay; None is not known. Haemoglobin in g/dL, sodium in mmol/L.

    >>> score_hospital(haemoglobin=10.5, oncology=False, sodium=138, procedure=False, urgent=True,
    ...                admissions=0, days=3).total
    2
    """
    points = {
        HAEMOGLOBIN: _find_below(haemoglobin, HAEMOGLOBIN_BELOW, HAEMOGLOBIN_LIMITS),
        ONCOLOGY: None if oncology is None else ONCOLOGY_POINTS * oncology,
        SODIUM: _find_below(sodium, SODIUM_BELOW, SODIUM_LIMITS),
        PROCEDURE: None if procedure is None else int(procedure),
        TYPE: None if urgent is None else int(urgent),
        ADMISSIONS: ADMISSION_CLASSES[settings.version].find(admissions),
        LENGTH: LENGTH_CLASSES.find(days),
    }
    return Hospital(MappingProxyType({part: points[part] for part in settings.parts}))


def _find_below(value: float | None, line: float, limits: tuple[float, float]) -> int | None:
    low, high = limits
    if value is None or not low <= value <= high:
        return None
    return int(value < line)
