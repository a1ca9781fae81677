"""Dates of the research copy: to the day at most, moved by the patient's shift or made coarse.

A time of day is cut off: an odd minute that many records share tells the program that wrote them,
and with it the true date. A day is the day of the jurisdiction's calendar.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Literal

from ehr_fhir.dates import local_day

__all__ = ["DATE_FORMS", "DateForm", "Shift", "move_date"]

# shift: all dates of a patient by one number of weeks. episode: each episode by its own.
# month, quarter: the true month, or the first month of the true quarter.
DateForm = Literal["shift", "episode", "month", "quarter"]
DATE_FORMS: tuple[DateForm, ...] = ("shift", "episode", "month", "quarter")
_PARTIAL = re.compile(r"(\d{4})(?:-(0[1-9]|1[0-2]))?", re.ASCII)
# Chosen: a batch repeats dates, and those of a patient with the same shift.
_CACHE_SIZE = 200_000


@dataclass(frozen=True, slots=True)
class Shift:
    """How the dates of a record change: by days, or cut to the month or quarter they are in."""

    days: int = 0
    form: DateForm = "shift"


@lru_cache(_CACHE_SIZE)
def move_date(text: str, shift: Shift) -> str | None:
    """Return a date in the form of the research copy; None where nothing certain is left.

    Of a date that is known to the month the year is left, where the whole month moves within it.

    >>> move_date("2020-03-02T23:59:00+08:00", Shift(-7)), move_date("2020-05", Shift(-7))
    ('2020-02-24', '2020')
    >>> move_date("2020-01", Shift(-7)), move_date("2020-05-17", Shift(form="quarter"))
    (None, '2020-04')
    """
    if partial := _PARTIAL.fullmatch(text):
        return _move_partial(partial, shift)
    day = local_day(text)
    if day is None:
        return None
    if shift.form in ("month", "quarter"):
        return _cut_to_period(day, shift)
    moved = _shift_day(day, shift)
    return None if moved is None else moved.isoformat()


def _move_partial(partial: re.Match[str], shift: Shift) -> str | None:
    year, month = int(partial[1]), partial[2]
    if year == 0:
        return None
    if shift.form in ("month", "quarter"):
        return partial[1] if month is None else _cut_to_period(date(year, int(month), 1), shift)
    first = date(year, int(month or 1), 1)
    last = date(year, int(month or 12), 28) + timedelta(days=3)
    low, high = _shift_day(first, shift), _shift_day(last, shift)
    if low is None or high is None or low.year != high.year:
        return None
    return f"{low.year:04}"


def _cut_to_period(day: date, shift: Shift) -> str:
    month = day.month if shift.form == "month" else 3 * ((day.month - 1) // 3) + 1
    return f"{day.year:04}-{month:02}"


def _shift_day(day: date, shift: Shift) -> date | None:
    try:
        return day + timedelta(days=shift.days)
    except OverflowError:
        return None
