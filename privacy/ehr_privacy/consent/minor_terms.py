"""The years in which a carer does not see a minor's most private labels, from a date of birth."""

from __future__ import annotations

from datetime import date

from ehr_fhir.dates import date_interval, day_start_ms
from ehr_fhir.errors import Invalid

__all__ = ["anniversary", "minor_term"]

# The ages between which the limit holds (our setting).
_FROM, _UNTIL = 14, 18


def minor_term(birth_date: object) -> tuple[int, int | None]:
    """Return the term of the limit in epoch milliseconds; an unknown birth date limits always.

    Of a birth date known to the month or year the term is the widest that it allows.
    """
    if not isinstance(birth_date, str):
        return 0, None
    try:
        if len(birth_date) == len("2010-01-01"):
            day = date.fromisoformat(birth_date)
            return day_start_ms(anniversary(day, _FROM)), day_start_ms(anniversary(day, _UNTIL))
        year, rest = int(birth_date[:4]), birth_date[4:]
        since, _ = date_interval(f"{year + _FROM:04}{rest}")
        _, until = date_interval(f"{year + _UNTIL:04}{rest}")
        return since, until
    except (ValueError, Invalid):
        return 0, None


def anniversary(day: date, years: int) -> date:
    """Return the day on which someone born on `day` reaches an age; 29 February gives 1 March.

    >>> anniversary(date(2008, 2, 29), 18)
    datetime.date(2026, 3, 1)
    """
    try:
        return day.replace(year=day.year + years)
    except ValueError:
        return date(day.year + years, 3, 1)
