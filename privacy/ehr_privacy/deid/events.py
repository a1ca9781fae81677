"""Facts derived from dates before these are moved: the age at an event, the length of a stay.

An age is told by calendar years, from the birth year and the date that the copy shows: right to
within a year. An exact age would tell the day of the birthday in a dense record, and whoever knows
the birth date would learn the shift from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from math import ceil
from typing import Any

from ehr_fhir.dates import datetime_interval, read_date
from ehr_fhir.errors import Invalid
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_privacy.deid.dates import Shift
from ehr_privacy.deid.preparation import OLDEST_AGE
from ehr_privacy.deid.pseudonyms import SHIFT_WEEKS
from ehr_privacy.deid.units import UCUM

__all__ = ["AGE_AT_EVENT", "find_age_at_event", "measure_stay"]

# The extension of a record that bears the patient's age at its event.
AGE_AT_EVENT = f"{JURISDICTION.fhir_base}/StructureDefinition/age-at-event"
# The middle of the shifts: half of the dates have moved by more, half by less.
_MIDDLE = timedelta(weeks=SHIFT_WEEKS // 2)
_HOUR_MS = 3_600_000


def find_age_at_event(
    kept: Mapping[str, Any], paths: tuple[str, ...], birth_date: str | None, shift: Shift
) -> dict[str, Any] | None:
    """Return the extension with the age at a record's event; None where it is not known."""
    born = read_date(birth_date) if birth_date else None
    shown = next(filter(None, (_find_text(kept, path) for path in paths)), None)
    if born is None or shown is None:
        return None
    year = int(shown[:4])
    if shift.form in ("shift", "episode") and len(shown) == len("2020-01-01"):
        year = (date.fromisoformat(shown) + _MIDDLE).year
    age = min(max(year - born.parts[0], 0), OLDEST_AGE)
    return {"url": AGE_AT_EVENT, "valueInteger": age}


def measure_stay(period: object) -> dict[str, Any] | None:
    """Return the length of a stay in hours, begun ones counted; None where times are not known."""
    if not isinstance(period, dict):
        return None
    start, end = period.get("start"), period.get("end")
    if not (isinstance(start, str) and isinstance(end, str) and "T" in start and "T" in end):
        return None
    try:
        hours = (datetime_interval(end)[0] - datetime_interval(start)[0]) / _HOUR_MS
    except Invalid:
        return None
    return {"value": ceil(hours), "system": UCUM, "code": "h"} if hours >= 0 else None


def _find_text(value: Any, path: str) -> str | None:
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) else None
