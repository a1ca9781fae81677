"""The audit log for steward and auditor: AuditEvents as rows, the worklist's Tasks as flags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_
from ehr_portal.record.ages import day_of
from ehr_portal.record.sections import DOMAIN_TITLES

__all__ = [
    "ACCESS_REASON_TITLES",
    "INTERACTION_TITLES",
    "RULE_TITLES",
    "VERDICT_TITLES",
    "Event",
    "Flag",
    "parse_events",
    "parse_flags",
]

# RESTful interactions of FHIR, and the codes of our own events.
INTERACTION_TITLES = {
    "read": N_("Read"),
    "vread": N_("Read"),
    "search-type": N_("Searched"),
    "search-system": N_("Searched"),
    "history-instance": N_("Read the history"),
    "history-type": N_("Read the history"),
    "history-system": N_("Read the history"),
    "create": N_("Wrote"),
    "update": N_("Changed"),
    "patch": N_("Changed"),
    "delete": N_("Deleted"),
    "batch": N_("Read and wrote"),
    "transaction": N_("Read and wrote"),
    "login": N_("Logged in"),
    "logout": N_("Logged out"),
    "feed": N_("Took the feed of changes"),
    "lake-refresh": N_("Brought the data for research up to date"),
    "research-step": N_("Recorded a step of research"),
    "model-decision": N_("Recorded a decision about a model"),
    "audit-proof": N_("Asked for a proof of the log"),
    "audit-worklist": N_("Read the worklist"),
    "audit-settle": N_("Settled a flag"),
}
OTHER_OPERATION_TITLE = N_("Another operation")
ACCESS_REASON_TITLES = {
    "own-record": N_("Own record"),
    "shared": N_("Shared"),
    "grant": N_("Approved by the patient"),
    "emergency": N_("Emergency"),
    "own": N_("The patient"),
    "carer": N_("Carer"),
    "steward": N_("Data steward"),
    "directory": N_("Directory"),
    "named": N_("Asked about"),
    "counted": N_("Counted"),
    "listed": N_("A list of patients"),
    "opened": N_("Opened by a change elsewhere"),
    "feed": N_("Copied with the feed of changes"),
}
RULE_TITLES = {
    "many-patients": N_("Many patients in a short time"),
    "own-family-name": N_("Same family name as the patient"),
    "no-visit": N_("No visit of the patient there"),
    "emergency-burst": N_("Several emergencies declared"),
    "after-hours": N_("Many patients in one night"),
    "record-moved": N_("A record moved to another patient"),
}
VERDICT_TITLES = {
    "in-order": N_("In order"),
    "mistake": N_("A mistake"),
    "breach": N_("A case for the organisation"),
}


@dataclass(frozen=True)
class Event:
    """One AuditEvent as a row."""

    id: str
    recorded: str
    login: str
    person: str
    organization: str
    organization_name: str
    # A title, still to translate.
    interaction: str
    patient: str
    # Titles of the data domains, still to translate.
    domains: tuple[str, ...]
    # A code of ACCESS_REASON_TITLES, or empty.
    reason: str
    refused: bool


@dataclass(frozen=True)
class Flag:
    """One Task of the worklist: an unusual access that a rule found."""

    id: str
    # A code of RULE_TITLES.
    rule: str
    login: str
    person: str
    organization: str
    # Empty where the rule counts patients.
    patient: str
    start: str
    end: str
    # Accesses to the patient, or else patients.
    count: int
    is_open: bool
    # A code of VERDICT_TITLES; the rest is empty while it is open.
    verdict: str
    note: str
    settled_by: str
    settled_at: str

    @property
    def first_day(self) -> str:
        """Return the day of the jurisdiction on which it began."""
        return _day_of(self.start)

    @property
    def last_day(self) -> str:
        """Return the day of the jurisdiction on which it ended."""
        return _day_of(self.end)


def parse_events(resources: Iterable[Resource]) -> list[Event]:
    """Return AuditEvents as rows, in their order."""
    return [_parse_event(resource) for resource in resources]


def parse_flags(tasks: Iterable[Resource]) -> list[Flag]:
    """Return the Tasks of the worklist as flags, in their order."""
    return [_parse_flag(task) for task in tasks]


def _parse_event(resource: Resource) -> Event:
    agents = resource.get("agent", ())
    requestor: Resource = next((agent for agent in agents if agent.get("requestor")), {})
    entities = resource.get("entity", ())
    details = [
        detail.get("valueString") for entity in entities for detail in entity.get("detail", ())
    ]
    # AuditEvent.entity.role 1: the patient.
    patients = [entity for entity in entities if entity.get("role", {}).get("code") == "1"]
    organization = _first_reference((agent.get("who", {}) for agent in agents), "Organization")
    patient = _first_reference((entity.get("what", {}) for entity in patients), "Patient")
    return Event(
        id=str(resource["id"]),
        recorded=str(resource["recorded"]),
        login=str(requestor.get("altId", "")),
        person=str(requestor.get("name", "")),
        organization=_referenced_id(organization),
        organization_name=str(organization.get("display", "")),
        interaction=INTERACTION_TITLES.get(
            _first_code(resource.get("subtype", ())), OTHER_OPERATION_TITLE
        ),
        patient=_referenced_id(patient),
        domains=tuple(DOMAIN_TITLES[code] for code in details if code in DOMAIN_TITLES),
        reason=str(resource.get("outcomeDesc", "")),
        refused=resource.get("outcome", "0") != "0",
    )


def _parse_flag(task: Resource) -> Flag:
    note: Mapping[str, str] = next(iter(task.get("note", ())), {})
    period = task.get("executionPeriod", {})
    focus = task.get("focus", {})
    return Flag(
        id=str(task["id"]),
        rule=_concept_code(task.get("code", {})),
        login=str(focus.get("identifier", {}).get("value", "")),
        person=str(focus.get("display", "")),
        organization=_referenced_id(task.get("owner", {})),
        patient=_referenced_id(task.get("for", {})),
        start=str(period.get("start", "")),
        end=str(period.get("end", "")),
        count=next((int(item["valueInteger"]) for item in task.get("input", ())), 0),
        is_open=task.get("status") == "requested",
        verdict=_concept_code(task.get("businessStatus", {})),
        note=str(note.get("text", "")),
        settled_by=str(note.get("authorString", "")),
        settled_at=str(note.get("time", "")),
    )


def _day_of(instant: str) -> str:
    return day_of(datetime.fromisoformat(instant)) if instant else ""


def _first_reference(references: Iterable[Resource], resource_type: str) -> Resource:
    return next(
        (
            reference
            for reference in references
            if str(reference.get("reference", "")).startswith(f"{resource_type}/")
        ),
        {},
    )


def _referenced_id(reference: Resource) -> str:
    return str(reference.get("reference", "")).rpartition("/")[2]


def _concept_code(concept: Resource) -> str:
    return _first_code(concept.get("coding", ()))


def _first_code(codings: Iterable[Resource]) -> str:
    return next((str(coding.get("code", "")) for coding in codings), "")
