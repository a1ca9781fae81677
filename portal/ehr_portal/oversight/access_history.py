"""Who looked: AuditEvents told as visits, in the order a person would tell them.

One page view asks the gateway many things; events of the same person within a short time are one
visit.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_
from ehr_portal.record.sections import DOMAINS, KINDS

TOGETHER = timedelta(minutes=15)

ROLES = {
    "clinician": N_("Clinician"),
    "patient": N_("Patient"),
    "carer": N_("Carer"),
    "steward": N_("Data steward"),
    "auditor": N_("Auditor"),
    "researcher": N_("Researcher"),
    "administrator": N_("Administrator"),
    "system": N_("Computer system"),
}
PURPOSES = {
    "TREAT": N_("To treat you"),
    "ETREAT": N_("In an emergency"),
    "PATRQT": N_("At your own request"),
    "HOPERAT": N_("To run the service"),
    "HRESCH": N_("For research"),
    "HSYSADMIN": N_("To run the service"),
}
# The line of the consent table that permitted, as the log has it.
REASONS = {
    "own-record": N_("It wrote these records itself"),
    "shared": N_("You share your record with it"),
    "grant": N_("You approved this access with a code"),
    "emergency": N_("An emergency was declared"),
    "carer": N_("You gave this carer the power to look"),
}
_WRITES = frozenset({"create", "update", "delete", "patch"})
_OUTSIDE = frozenset({"Patient", "RelatedPerson", "Consent", "Provenance", "RiskAssessment"})
# Its event does not say which of the records a Bundle read and which it wrote.
_BUNDLES = frozenset({"batch", "transaction"})


@dataclass(frozen=True)
class Visit:
    """One person's stay at the record."""

    login: str
    person: str
    role: str
    organization: str
    organization_name: str
    purpose: str
    first: str
    last: str
    # Titles of the kinds of records, in the reader's order of meeting them; still to translate.
    kinds: tuple[str, ...]
    wrote: bool
    bundled: bool
    refused: bool
    own: bool
    # Why it could be seen, by the codes of REASONS.
    reasons: tuple[str, ...] = ()


def visits(events: Iterable[Resource], patient: str) -> list[Visit]:
    """Return events, newest first, as visits, newest first."""
    found: list[Visit] = []
    for event in events:
        visit = _visit(event, patient)
        position = _same_stay(found, visit)
        if position is None:
            found.append(visit)
        else:
            found[position] = _together(visit, found[position])
    return found


def _same_stay(found: Sequence[Visit], visit: Visit) -> int | None:
    for position in range(len(found) - 1, -1, -1):
        other = found[position]
        gap = datetime.fromisoformat(other.first) - datetime.fromisoformat(visit.last)
        if gap > TOGETHER:
            return None
        alike = (
            (other.login, other.organization, other.purpose, other.refused)
            == (visit.login, visit.organization, visit.purpose, visit.refused)
        )  # fmt: skip
        if alike:
            return position
    return None


def _together(earlier: Visit, later: Visit) -> Visit:
    return Visit(
        login=later.login,
        person=later.person,
        role=later.role,
        organization=later.organization,
        organization_name=later.organization_name,
        purpose=later.purpose,
        first=earlier.first,
        last=later.last,
        kinds=tuple(dict.fromkeys([*earlier.kinds, *later.kinds])),
        wrote=earlier.wrote or later.wrote,
        bundled=earlier.bundled or later.bundled,
        refused=later.refused,
        own=later.own,
        reasons=tuple(dict.fromkeys([*earlier.reasons, *later.reasons])),
    )


def _visit(event: Resource, patient: str) -> Visit:
    agents = event.get("agent", ())
    person = next((a for a in agents if a.get("requestor")), agents[0] if agents else {})
    who = person.get("who", {})
    organization: Resource = next(
        (
            a["who"]
            for a in agents
            if str(a.get("who", {}).get("reference", "")).startswith("Organization/")
        ),
        {},
    )
    references = [
        str(entity["what"]["reference"])
        for entity in event.get("entity", ())
        if "reference" in entity.get("what", {})
    ]
    types = [reference.partition("/")[0] for reference in references]
    at = str(event["recorded"])
    interactions = {coding.get("code") for coding in event.get("subtype", ())}
    login = str(person.get("altId") or who.get("identifier", {}).get("value", ""))
    return Visit(
        login=login,
        person=str(who.get("display") or person.get("name") or login),
        role=_code(person.get("role", ())),
        organization=str(organization.get("reference", "")).removeprefix("Organization/"),
        organization_name=str(organization.get("display", "")),
        purpose=_code(event.get("purposeOfEvent", ())),
        first=at,
        last=at,
        kinds=_kinds(event, types),
        wrote=not interactions.isdisjoint(_WRITES),
        bundled=not interactions.isdisjoint(_BUNDLES),
        refused=event.get("outcome", "0") != "0",
        own=login == f"p.{patient}" or who.get("reference") == f"Patient/{patient}",
        reasons=tuple(r for r in [str(event.get("outcomeDesc", ""))] if r in REASONS),
    )


def _kinds(event: Resource, types: Sequence[str]) -> tuple[str, ...]:
    """Return what was disclosed: the data domains where the event tells them, else by type."""
    domains = [
        DOMAINS[detail["valueString"]]
        for entity in event.get("entity", ())
        for detail in entity.get("detail", ())
        if detail.get("type") == "data-domain" and detail.get("valueString") in DOMAINS
    ]
    # What no domain of care covers: the personal details, sharing choices, the log itself.
    others = [
        KINDS[t] for t in _shown(event, types) if t in KINDS and (t in _OUTSIDE or not domains)
    ]
    return tuple(dict.fromkeys([*domains, *others]))


def _shown(event: Resource, types: Sequence[str]) -> Sequence[str]:
    # Every event about a patient names the patient first; that alone is not having seen the
    # personal details, unless these were what was asked for.
    others = [kind for kind in types if kind != "Patient"]
    query = next((e["query"] for e in event.get("entity", ()) if "query" in e), None)
    if query is None:
        return others or types
    return types if base64.b64decode(query).startswith(b"Patient?") else others


def _code(concepts: Sequence[Resource]) -> str:
    return str(next((c.get("code", "") for x in concepts for c in x.get("coding", ())), ""))
