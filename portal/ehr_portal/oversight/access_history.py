"""The access history: AuditEvents about a patient, grouped into visits of one person each.

One page view asks the gateway many things; events of the same person within a short time are one
visit.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_
from ehr_portal.record.sections import DOMAIN_TITLES, TYPE_TITLES

# The longest pause within a visit. Chosen: half of the portal's idle limit (PortalSettings.idle).
VISIT_GAP = timedelta(minutes=15)

ROLE_TITLES = {
    "clinician": N_("Clinician"),
    "patient": N_("Patient"),
    "carer": N_("Carer"),
    "steward": N_("Data steward"),
    "auditor": N_("Auditor"),
    "researcher": N_("Researcher"),
    "administrator": N_("Administrator"),
    "system": N_("Computer system"),
}
PURPOSE_TITLES = {
    "TREAT": N_("To treat you"),
    "ETREAT": N_("In an emergency"),
    "PATRQT": N_("At your own request"),
    "HOPERAT": N_("To run the service"),
    "HRESCH": N_("For research"),
    "HSYSADMIN": N_("To run the service"),
}
# The line of the consent table that permitted, as the log has it.
REASON_TITLES = {
    "own-record": N_("It wrote these records itself"),
    "shared": N_("You share your record with it"),
    "grant": N_("You approved this access with a code"),
    "emergency": N_("An emergency was declared"),
    "carer": N_("You gave this carer the power to look"),
    "named": N_("The search was about you"),
    "counted": N_("You were counted in a search"),
    "opened": N_("It changed something that your records name"),
    "feed": N_("Changes are copied for statistics and research"),
}
# Of these nothing of the record was shown.
_REASONS_WITHOUT_RECORDS = frozenset({"named", "counted"})
_WRITE_INTERACTIONS = frozenset({"create", "update", "delete", "patch"})
# No data domain of care covers these.
_TYPES_WITHOUT_DOMAIN = frozenset(
    {"Patient", "RelatedPerson", "Consent", "Provenance", "RiskAssessment"}
)
# The event of a Bundle does not say which of the records it read and which it wrote.
_BUNDLE_INTERACTIONS = frozenset({"batch", "transaction"})


@dataclass(frozen=True)
class Visit:
    """Consecutive accesses of one person, from one organisation and for one purpose."""

    login: str
    person: str
    role: str
    organization: str
    organization_name: str
    # A code of PURPOSE_TITLES.
    purpose: str
    # Instants of the first and the last access.
    start: str
    end: str
    # Titles of the kinds of records, in the order they were seen; still to translate.
    kinds: tuple[str, ...]
    wrote: bool
    used_bundle: bool
    refused: bool
    # Whether it was the patient.
    is_own: bool
    # Why it could be seen, by the codes of REASON_TITLES.
    reasons: tuple[str, ...] = ()


def group_into_visits(events: Iterable[Resource], patient: str) -> list[Visit]:
    """Return AuditEvents, newest first, as visits, newest first."""
    visits: list[Visit] = []
    for event in events:
        access = _parse_access(event, patient)
        index = _index_of_same_visit(visits, access)
        if index is None:
            visits.append(access)
        else:
            visits[index] = _merge_visits(earlier=access, later=visits[index])
    return visits


def _index_of_same_visit(visits: Sequence[Visit], access: Visit) -> int | None:
    # Visits of several people may overlap, so the last one of the list is not the only candidate.
    for index in range(len(visits) - 1, -1, -1):
        visit = visits[index]
        gap = datetime.fromisoformat(visit.start) - datetime.fromisoformat(access.end)
        if gap > VISIT_GAP:
            return None
        if _visit_key(visit) == _visit_key(access):
            return index
    return None


def _visit_key(visit: Visit) -> tuple[str, str, str, bool]:
    return visit.login, visit.organization, visit.purpose, visit.refused


def _merge_visits(*, earlier: Visit, later: Visit) -> Visit:
    return replace(
        later,
        start=earlier.start,
        kinds=tuple(dict.fromkeys([*earlier.kinds, *later.kinds])),
        wrote=earlier.wrote or later.wrote,
        used_bundle=earlier.used_bundle or later.used_bundle,
        reasons=tuple(dict.fromkeys([*earlier.reasons, *later.reasons])),
    )


def _parse_access(event: Resource, patient: str) -> Visit:
    agents = event.get("agent", ())
    requestor = next(
        (agent for agent in agents if agent.get("requestor")), agents[0] if agents else {}
    )
    who = requestor.get("who", {})
    login = str(requestor.get("altId") or who.get("identifier", {}).get("value", ""))
    organization = _organization_reference(agents)
    interactions = {coding.get("code") for coding in event.get("subtype", ())}
    reason = str(event.get("outcomeDesc", ""))
    return Visit(
        login=login,
        person=str(who.get("display") or requestor.get("name") or login),
        role=_first_code(requestor.get("role", ())),
        organization=str(organization.get("reference", "")).removeprefix("Organization/"),
        organization_name=str(organization.get("display", "")),
        purpose=_first_code(event.get("purposeOfEvent", ())),
        start=str(event["recorded"]),
        end=str(event["recorded"]),
        kinds=() if reason in _REASONS_WITHOUT_RECORDS else _disclosed_titles(event),
        wrote=not interactions.isdisjoint(_WRITE_INTERACTIONS),
        used_bundle=not interactions.isdisjoint(_BUNDLE_INTERACTIONS),
        refused=event.get("outcome", "0") != "0",
        is_own=login == f"p.{patient}" or who.get("reference") == f"Patient/{patient}",
        reasons=(reason,) if reason in REASON_TITLES else (),
    )


def _organization_reference(agents: Iterable[Resource]) -> Resource:
    references = (agent.get("who", {}) for agent in agents)
    return next(
        (
            reference
            for reference in references
            if str(reference.get("reference", "")).startswith("Organization/")
        ),
        {},
    )


def _disclosed_titles(event: Resource) -> tuple[str, ...]:
    """Return what was disclosed: the data domains where the event has them, else by type."""
    domains = [
        DOMAIN_TITLES[detail["valueString"]]
        for entity in event.get("entity", ())
        for detail in entity.get("detail", ())
        if detail.get("type") == "data-domain" and detail.get("valueString") in DOMAIN_TITLES
    ]
    # What no domain of care covers: the personal details, sharing choices, the log itself.
    others = [
        TYPE_TITLES[resource_type]
        for resource_type in _disclosed_types(event)
        if resource_type in TYPE_TITLES and (resource_type in _TYPES_WITHOUT_DOMAIN or not domains)
    ]
    return tuple(dict.fromkeys([*domains, *others]))


def _disclosed_types(event: Resource) -> Sequence[str]:
    types = [
        str(entity["what"]["reference"]).partition("/")[0]
        for entity in event.get("entity", ())
        if "reference" in entity.get("what", {})
    ]
    # Every event about a patient names the patient first; that alone is not having seen the
    # personal details, unless these were what was asked for.
    others = [resource_type for resource_type in types if resource_type != "Patient"]
    query = next((entity["query"] for entity in event.get("entity", ()) if "query" in entity), None)
    if query is None:
        return others or types
    return types if base64.b64decode(query).startswith(b"Patient?") else others


def _first_code(concepts: Sequence[Resource]) -> str:
    codes = (coding.get("code", "") for concept in concepts for coding in concept.get("coding", ()))
    return str(next(codes, ""))
