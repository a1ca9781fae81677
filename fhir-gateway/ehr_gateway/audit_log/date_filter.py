"""The `date` parameter of the audit log: an interval of times that each prefix narrows."""

from __future__ import annotations

from ehr_fhir.dates import date_interval
from ehr_fhir.errors import Invalid

__all__ = ["narrow_to_date"]


def narrow_to_date(value: str, fields: dict[str, object]) -> None:
    """Narrow the interval of the filter by a date with its prefix."""
    prefix, text = (value[:2], value[2:]) if value[:1].isalpha() else ("eq", value)
    low, high = date_interval(text)
    limits = {
        "eq": (low, high),
        "ge": (low, None),
        "gt": (high, None),
        "le": (None, high),
        "lt": (None, low),
    }
    if prefix not in limits:
        raise Invalid("date: the prefixes eq, ge, gt, le and lt are supported.")
    since, until = limits[prefix]
    if since is not None:
        fields["since_ms"] = max(since, int(str(fields.get("since_ms", since))))
    if until is not None:
        fields["until_ms"] = min(until, int(str(fields.get("until_ms", until))))
