"""The searches of the timeline: each type, and the date by which it stands there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_, day_start, fhir_timestamp

# Later than any date of a record: the end of a period that has none.
FAR_FUTURE = datetime(9999, 1, 1, tzinfo=UTC)

KIND_TITLES = {
    "visits": N_("Visits"),
    "problems": N_("Health problems"),
    "allergies": N_("Allergies"),
    "medicines": N_("Medicines"),
    "immunisations": N_("Immunisations"),
    "results": N_("Test results"),
    "measurements": N_("Measurements and findings"),
    "reports": N_("Reports and scans"),
    "procedures": N_("Procedures"),
    "documents": N_("Documents"),
    "plans": N_("Appointments, plans and referrals"),
    "more": N_("Other records"),
}


@dataclass(frozen=True)
class TimelineSource:
    """One search of the timeline: a type, and the date by which it stands there."""

    resource_type: str
    # A key of KIND_TITLES.
    kind: str
    # The search parameter of the date; empty for a type that has none.
    date_param: str
    # The element that the parameter is about, without the ending of its datatype.
    date_element: str
    params: Mapping[str, str] = field(default_factory=dict)
    patient_param: str = "patient"
    # Those without this date have another one, by which a source of their own finds them.
    has_other_date: bool = False


_LABORATORY = "laboratory"
SOURCES = (
    TimelineSource("Encounter", "visits", "date", "period"),
    TimelineSource("EpisodeOfCare", "visits", "date", "period"),
    TimelineSource("Condition", "problems", "onset-date", "onset", has_other_date=True),
    # An onset in words or as an age is no date.
    TimelineSource(
        "Condition", "problems", "recorded-date", "recordedDate", {"onset-date:missing": "true"}
    ),
    TimelineSource("FamilyMemberHistory", "problems", "date", "date"),
    TimelineSource("AllergyIntolerance", "allergies", "date", "recordedDate"),
    TimelineSource("AdverseEvent", "allergies", "date", "date", patient_param="subject"),
    TimelineSource(
        "MedicationRequest", "medicines", "authoredon", "authoredOn",
        {"_include": "MedicationRequest:medication"},
    ),
    TimelineSource(
        "MedicationStatement", "medicines", "effective", "effective",
        {"_include": "MedicationStatement:medication"},
    ),
    TimelineSource(
        "MedicationAdministration", "medicines", "effective-time", "effective",
        {"_include": "MedicationAdministration:medication"},
    ),
    TimelineSource(
        "MedicationDispense", "medicines", "whenhandedover", "whenHandedOver",
        {"_include": "MedicationDispense:medication"},
    ),
    TimelineSource("Immunization", "immunisations", "date", "occurrence"),
    TimelineSource("ImmunizationRecommendation", "immunisations", "date", "date"),
    TimelineSource("ImmunizationEvaluation", "immunisations", "date", "date"),
    TimelineSource("Observation", "results", "date", "effective", {"category": _LABORATORY}),
    TimelineSource(
        "Observation", "measurements", "date", "effective", {"category:not": _LABORATORY}
    ),
    TimelineSource("QuestionnaireResponse", "measurements", "authored", "authored"),
    TimelineSource("ClinicalImpression", "measurements", "date", "date"),
    TimelineSource("DiagnosticReport", "reports", "date", "effective"),
    TimelineSource("ImagingStudy", "reports", "started", "started"),
    TimelineSource("Media", "reports", "created", "created"),
    TimelineSource("Specimen", "reports", "collected", "collection.collected"),
    TimelineSource("Procedure", "procedures", "date", "performed"),
    TimelineSource("DeviceRequest", "procedures", "authored-on", "authoredOn"),
    TimelineSource("DeviceUseStatement", "procedures", "", ""),
    TimelineSource("Device", "procedures", "", ""),
    TimelineSource("DocumentReference", "documents", "date", "date"),
    TimelineSource("Composition", "documents", "date", "date"),
    TimelineSource("Communication", "documents", "sent", "sent"),
    TimelineSource("Appointment", "plans", "date", "start"),
    TimelineSource("CarePlan", "plans", "date", "period"),
    TimelineSource("Goal", "plans", "start-date", "start"),
    TimelineSource("ServiceRequest", "plans", "authored", "authoredOn"),
    TimelineSource("CareTeam", "plans", "date", "period"),
    TimelineSource("Flag", "more", "date", "period"),
    TimelineSource("DetectedIssue", "more", "identified", "identified"),
    TimelineSource("List", "more", "date", "date"),
)  # fmt: skip


@cache
def newest_first(resource_type: str) -> str:
    """Return the `_sort` by which a type's newest records come first; empty if it has no date.

    >>> newest_first("Condition")
    '-onset-date,-recorded-date'
    """
    names = {s.date_param: None for s in SOURCES if s.resource_type == resource_type}
    # What is on no timeline, a risk score, has the usual parameter.
    return ",".join(f"-{name}" for name in names or ("date",) if name)


def date_bounds(source: TimelineSource, resource: Resource) -> tuple[str, str]:
    """Return start and end of the element by which a record stands in the timeline."""
    if not source.date_element:
        return "", ""
    *path, name = source.date_element.split(".")
    parent: Any = resource
    for part in path:
        parent = parent.get(part, {})
    periods = (parent.get(key) for key in (name, f"{name}Period"))
    period: Resource = next((value for value in periods if isinstance(value, Mapping)), {})
    if period:
        # A period without a beginning stands where it ends.
        return str(period.get("start") or period.get("end", "")), str(period.get("end", ""))
    for key in (name, f"{name}DateTime", f"{name}Instant", f"{name}Date"):
        if isinstance(parent.get(key), str):
            return parent[key], parent[key]
    events = parent.get(f"{name}Timing", {}).get("event", ())
    return (min(events), max(events)) if events else ("", "")


def end_of(source: TimelineSource, resource: Resource) -> datetime:
    """Return the end of that date, FAR_FUTURE without one.

    That of a year or a month is the first instant after it, that of a day the day's first instant.
    """
    end = date_bounds(source, resource)[1]
    if not end:
        return FAR_FUTURE
    if len(end) == 4:
        return start_of(date(min(int(end), 9998) + 1, 1, 1))
    if len(end) == 7:
        first = date.fromisoformat(f"{end}-01")
        return start_of((first + timedelta(days=32)).replace(day=1))
    return datetime.fromtimestamp(fhir_timestamp(end), UTC)


def start_of(day: date) -> datetime:
    """Return the first instant of a day in the jurisdiction's time zone."""
    return datetime.fromisoformat(day_start(day))
