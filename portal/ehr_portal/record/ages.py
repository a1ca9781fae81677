"""Ages in full years, from FHIR dates of any precision, by the days of the jurisdiction."""

from __future__ import annotations

from datetime import date, datetime

from ehr_portal.i18n import local_date


def age_in_years(birth_date: str, day: str) -> int | None:
    """Return somebody's age on a day; of an incomplete birth date the least it can be.

    >>> age_in_years("1981-03-14", "2026-03-13"), age_in_years("1981-03-14", "2026-03-14")
    (44, 45)
    >>> age_in_years("1981", "2026-11-28"), age_in_years("", "2026-11-28")
    (44, None)
    """
    latest = {4: f"{birth_date}-12-31", 7: f"{birth_date}-28"}.get(len(birth_date), birth_date)
    last = {4: f"{day}-01-01", 7: f"{day}-01"}.get(len(day), day[:10])
    try:
        born, then = date.fromisoformat(latest), date.fromisoformat(last)
    except ValueError:
        return None
    years = then.year - born.year - ((then.month, then.day) < (born.month, born.day))
    return years if years >= 0 else None


def day_of(moment: datetime) -> str:
    """Return the day of an instant in the jurisdiction's time zone."""
    return local_date(moment).isoformat()
