"""Search parameters of AuditEvent that the patient's and the steward's page share."""

from __future__ import annotations

from datetime import date, timedelta

from ehr_portal.i18n import day_start


def day_bounds(first_day: str, last_day: str) -> tuple[str, str]:
    """Return the first instant of a day, and the first one after another; empty for what is none.

    >>> day_bounds("2026-11-20", "")
    ('2026-11-20T00:00:00+08:00', '')
    """
    bounds = {value[:2]: value[2:] for _, value in day_params(first_day, last_day)}
    return bounds.get("ge", ""), bounds.get("lt", "")


def day_params(first_day: str, last_day: str) -> list[tuple[str, str]]:
    """Return `date` parameters for whole days of the jurisdiction; what is no day limits nothing.

    >>> day_params("2026-11-20", "2026-11-20")
    [('date', 'ge2026-11-20T00:00:00+08:00'), ('date', 'lt2026-11-21T00:00:00+08:00')]
    >>> day_params("yesterday", "")
    []
    """
    params = []
    # The day after the last one begins where the last one ends.
    for prefix, text, days_later in (("ge", first_day, 0), ("lt", last_day, 1)):
        try:
            day = date.fromisoformat(text) + timedelta(days=days_later)
        except (ValueError, OverflowError):
            continue
        params.append(("date", f"{prefix}{day_start(day)}"))
    return params
