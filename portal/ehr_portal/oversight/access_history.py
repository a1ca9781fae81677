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
# What somebody did beside reading and writing records, by the gateway's operation.
OPERATION_TITLES = {
    "accept-invitation": N_("Accepted an invitation to be a carer"),
    "access-requests": N_("Looked at requests for access"),
    "access-reviews": N_("Looked at accesses to be reviewed"),
    "acting-for": N_("Looked up for whom they may act"),
    "approve-access": N_("Approved a request for access"),
    "carers": N_("Looked at the list of carers"),
    "correct-facts": N_("Corrected by what a record is judged"),
    "decide-identity": N_("Decided a change of personal details"),
    "declare-emergency": N_("Declared an emergency to see the record"),
    "end-carer": N_("Ended a carer's power"),
    "explain-access": N_("Asked who may see a record, and why"),
    "held": N_("Looked at results that are held back"),
    "hold": N_("Held a result back until it is explained"),
    "identity-proposals": N_("Looked at proposed changes of personal details"),
    "invite-carer": N_("Invited a carer"),
    "meta-add": N_("Marked a record as sensitive"),
    "meta-delete": N_("Took a mark off a record"),
    "move": N_("Moved a record to the person it is about"),
    "notice-deliveries": N_("Looked at whether notices arrived"),
    "notice-preference": N_("Changed how notices are sent"),
    "notices": N_("Read the notices"),
    "record-substitute": N_("Recorded who decides for the patient"),
    "redeem-access": N_("Used a code to see more"),
    "refuse-access": N_("Refused a request for access"),
    "release-hold": N_("Released a result that was held back"),
    "request-access": N_("Asked to see more"),
    "review-access": N_("Reviewed an access"),
    "settle": N_("Settled a request"),
    "withdraw": N_("Marked a record as wrong"),
    "withheld": N_("Asked whether anything is withheld"),
    "worklist": N_("Looked at the list of work"),
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
_SEARCHES = frozenset({"search-type", "search-system"})


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
    # Titles of the kinds of records that were looked at, changed, and one or the other (in
    # Bundles), each in the order they were met; still to translate.
    looked_at: tuple[str, ...]
    changed: tuple[str, ...]
    in_bundles: tuple[str, ...]
    # Codes of OPERATION_TITLES, and the Consents that these operations made.
    operations: tuple[str, ...]
    consents: tuple[str, ...]
    # Whether it searched.
    searched: bool
    refused: bool
    # Whether it was the patient.
    is_own: bool
    # Why it could be seen, by the codes of REASON_TITLES.
    reasons: tuple[str, ...] = ()

    @property
    def is_told(self) -> bool:
        """Whether the lists say what was done."""
        return bool(self.looked_at or self.changed or self.in_bundles or self.operations)


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
        looked_at=_join(earlier.looked_at, later.looked_at),
        changed=_join(earlier.changed, later.changed),
        in_bundles=_join(earlier.in_bundles, later.in_bundles),
        operations=_join(earlier.operations, later.operations),
        consents=_join(earlier.consents, later.consents),
        searched=earlier.searched or later.searched,
        reasons=_join(earlier.reasons, later.reasons),
    )


def _join(earlier: tuple[str, ...], later: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*earlier, *later]))


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
    operation = _operation_name(event)
    kinds = () if operation or reason in _REASONS_WITHOUT_RECORDS else _disclosed_titles(event)
    is_write = not interactions.isdisjoint(_WRITE_INTERACTIONS)
    is_bundle = not interactions.isdisjoint(_BUNDLE_INTERACTIONS)
    return Visit(
        login=login,
        person=str(who.get("display") or requestor.get("name") or login),
        role=_first_code(requestor.get("role", ())),
        organization=str(organization.get("reference", "")).removeprefix("Organization/"),
        organization_name=str(organization.get("display", "")),
        purpose=_first_code(event.get("purposeOfEvent", ())),
        start=str(event["recorded"]),
        end=str(event["recorded"]),
        looked_at=() if is_write or is_bundle else kinds,
        changed=kinds if is_write else (),
        in_bundles=kinds if is_bundle else (),
        operations=(operation,) if operation in OPERATION_TITLES else (),
        consents=_named_consents(event) if operation else (),
        searched=not interactions.isdisjoint(_SEARCHES),
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
    query = _query(event)
    if query is None:
        return others or types
    return types if query.startswith("Patient?") else others


def _query(event: Resource) -> str | None:
    query = next((entity["query"] for entity in event.get("entity", ()) if "query" in entity), None)
    return None if query is None else base64.b64decode(query).decode(errors="replace")


def _operation_name(event: Resource) -> str:
    """Return the operation of an event, such as declare-emergency; empty if it is of none."""
    path = (_query(event) or "").partition("?")[0]
    return path.rpartition("$")[2] if "$" in path else ""


def _named_consents(event: Resource) -> tuple[str, ...]:
    references = (
        str(entity.get("what", {}).get("reference", "")) for entity in event.get("entity", ())
    )
    return tuple(
        reference.removeprefix("Consent/")
        for reference in references
        if reference.startswith("Consent/")
    )


def _first_code(concepts: Sequence[Resource]) -> str:
    codes = (coding.get("code", "") for concept in concepts for coding in concept.get("coding", ()))
    return str(next(codes, ""))
