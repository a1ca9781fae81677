"""Timeliness: whether a record came soon after what it tells of.

It is counted by provider and holds nothing back. A record is judged by its first version, since a
correction may come at any time, and not by the clock, so that a rebuild counts the same.
"""

from __future__ import annotations

from collections.abc import Mapping

from ehr_etl.data_quality.faults import Resource, find_elements, read_interval
from ehr_etl.data_quality.version_rules import DAY_MS

__all__ = ["IN_TIME", "LEAST_IN_TIME", "is_late"]

# The name of the check.
IN_TIME = "came-in-time"
# The share of versions from which a provider passes. Chosen.
LEAST_IN_TIME = 0.9
# Chosen: a month, in which results and letters of a stay are written.
_MOST_DAYS = 30
# When that is over which a record tells of; the first that is there counts. An onset may lie long
# before anybody knows of it.
_ENDS: Mapping[str, tuple[str, ...]] = {
    "Observation": ("issued", "effectiveDateTime", "effectivePeriod.end"),
    "DiagnosticReport": ("issued", "effectiveDateTime", "effectivePeriod.end"),
    "Encounter": ("period.end",),
    "Procedure": ("performedDateTime", "performedPeriod.end"),
    "Condition": ("recordedDate",),
    "AllergyIntolerance": ("recordedDate",),
    "Immunization": ("occurrenceDateTime",),
    "MedicationRequest": ("authoredOn",),
    "MedicationAdministration": ("effectiveDateTime", "effectivePeriod.end"),
    "MedicationDispense": ("whenHandedOver", "whenPrepared"),
    "ServiceRequest": ("authoredOn",),
    "ImagingStudy": ("started",),
    "Specimen": ("collection.collectedDateTime",),
}


def is_late(resource: Resource, received: str | None) -> bool:
    """Say whether a record came more than a month after what it tells of.

    >>> stay = {"resourceType": "Encounter", "period": {"end": "2026-01-03"}}
    >>> is_late(stay, "2026-01-20T08:00:00Z"), is_late(stay, "2026-03-20T08:00:00Z")
    (False, True)
    """
    at = read_interval(received)
    for path in _ENDS.get(str(resource.get("resourceType")), ()):
        for _, value in find_elements(resource, path):
            end = read_interval(value)
            if end is None or at is None:
                return False
            return at[0] - end[1] > _MOST_DAYS * DAY_MS
    return False
