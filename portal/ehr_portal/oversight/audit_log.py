"""The steward's view of the audit log: one line an event, and the worklist of unusual access."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_
from ehr_portal.record.sections import DOMAINS

__all__ = ["INTERACTIONS", "RULES", "VERDICTS", "WHYS", "Event", "Flag", "events", "flags"]

INTERACTIONS = {
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
    "audit-proof": N_("Asked for a proof of the log"),
    "audit-worklist": N_("Read the worklist"),
    "audit-settle": N_("Settled a flag"),
}
OTHER = N_("Another operation")
WHYS = {
    "own-record": N_("Own record"),
    "shared": N_("Shared"),
    "grant": N_("Approved by the patient"),
    "emergency": N_("Emergency"),
    "own": N_("The patient himself"),
    "carer": N_("Carer"),
    "steward": N_("Data steward"),
    "directory": N_("Directory"),
}
RULES = {
    "many-patients": N_("Many patients in a short time"),
    "own-family-name": N_("Same family name as the patient"),
    "no-visit": N_("No visit of the patient there"),
    "emergency-burst": N_("Several emergencies declared"),
    "after-hours": N_("Many patients in one night"),
}
VERDICTS = {
    "in-order": N_("In order"),
    "mistake": N_("A mistake"),
    "breach": N_("A case for the organisation"),
}


@dataclass(frozen=True)
class Event:
    """One event of the log, as a line."""

    id: str
    when: str
    login: str
    person: str
    organization: str
    organization_name: str
    interaction: str
    patient: str
    # Titles of the data domains, still to translate.
    domains: tuple[str, ...]
    reason: str
    refused: bool


@dataclass(frozen=True)
class Flag:
    """One thing the monitor asks the steward to look at."""

    id: str
    rule: str
    login: str
    person: str
    organization: str
    patient: str
    first: str
    last: str
    number: int
    open: bool
    verdict: str
    note: str
    by: str
    settled: str


def events(resources: Iterable[Resource]) -> list[Event]:
    """Return AuditEvents as lines, in their order."""
    return [_event(resource) for resource in resources]


def flags(resources: Iterable[Resource]) -> list[Flag]:
    """Return the Tasks of the worklist, in their order."""
    return [_flag(resource) for resource in resources]


def _event(resource: Resource) -> Event:
    agents = resource.get("agent", ())
    person: Resource = next((a for a in agents if a.get("requestor")), {})
    organization = _reference(agents, "who", "Organization")
    entities = resource.get("entity", ())
    details = [d.get("valueString") for e in entities for d in e.get("detail", ())]
    code = _first_code(resource.get("subtype", ()))
    return Event(
        id=str(resource["id"]),
        when=str(resource["recorded"]),
        login=str(person.get("altId", "")),
        person=str(person.get("name", "")),
        organization=organization,
        organization_name=_display(agents),
        interaction=INTERACTIONS.get(code, OTHER),
        patient=_reference(
            [e for e in entities if e.get("role", {}).get("code") == "1"], "what", "Patient"
        ),
        domains=tuple(DOMAINS[name] for name in details if name in DOMAINS),
        reason=str(resource.get("outcomeDesc", "")),
        refused=resource.get("outcome", "0") != "0",
    )


def _flag(resource: Resource) -> Flag:
    note: Mapping[str, str] = next(iter(resource.get("note", ())), {})
    period = resource.get("executionPeriod", {})
    focus = resource.get("focus", {})
    return Flag(
        id=str(resource["id"]),
        rule=_code(resource.get("code", {})),
        login=str(focus.get("identifier", {}).get("value", "")),
        person=str(focus.get("display", "")),
        organization=_id(resource.get("owner", {})),
        patient=_id(resource.get("for", {})),
        first=str(period.get("start", "")),
        last=str(period.get("end", "")),
        number=next((int(i["valueInteger"]) for i in resource.get("input", ())), 0),
        open=resource.get("status") == "requested",
        verdict=_code(resource.get("businessStatus", {})),
        note=str(note.get("text", "")),
        by=str(note.get("authorString", "")),
        settled=str(note.get("time", "")),
    )


def _reference(parts: Iterable[Resource], name: str, kind: str) -> str:
    references = (str(part.get(name, {}).get("reference", "")) for part in parts)
    return next((r.removeprefix(f"{kind}/") for r in references if r.startswith(f"{kind}/")), "")


def _display(agents: Iterable[Resource]) -> str:
    whos = (agent.get("who", {}) for agent in agents)
    return next(
        (str(w.get("display", "")) for w in whos if str(w.get("reference", "")).startswith("Org")),
        "",
    )


def _id(reference: Resource) -> str:
    return str(reference.get("reference", "")).rpartition("/")[2]


def _code(concept: Resource) -> str:
    return _first_code(concept.get("coding", ()))


def _first_code(codings: Iterable[Resource]) -> str:
    return next((str(coding.get("code", "")) for coding in codings), "")
