"""The reference of visits: AuditEvents, as a search of them answers, grouped one by one.

What `$access-history` groups in the log must be what this makes of the events that the same reader
finds. It is simple and slow, and knows nothing of pages.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

Resource = dict[str, Any]

# The longest pause within a visit.
VISIT_GAP = timedelta(minutes=15)
# Of these nothing of the record was shown.
_REASONS_WITHOUT_RECORDS = frozenset({"named", "counted"})
_WRITE_INTERACTIONS = frozenset({"create", "update", "delete", "patch"})
# No data domain of care covers these.
_TYPES_WITHOUT_DOMAIN = frozenset(
    {"AuditEvent", "Consent", "Patient", "Provenance", "RelatedPerson", "RiskAssessment"}
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
    purpose: str
    # Instants of the first and the last access.
    start: str
    end: str
    # Data domains or types of what was looked at, changed, and one or the other (in Bundles), each
    # in the order they were met.
    looked_at: tuple[str, ...]
    changed: tuple[str, ...]
    in_bundles: tuple[str, ...]
    # Names of operations, and the Consents that these operations made.
    operations: tuple[str, ...]
    consents: tuple[str, ...]
    # Whether it searched.
    searched: bool
    refused: bool
    # Whether it was the patient.
    is_own: bool
    # Why it could be seen.
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
    for index, visit in enumerate(visits):
        gap = datetime.fromisoformat(visit.start) - datetime.fromisoformat(access.end)
        if _visit_key(visit) == _visit_key(access) and gap <= VISIT_GAP:
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
    kinds = () if operation or reason in _REASONS_WITHOUT_RECORDS else _disclosed_codes(event)
    is_write = not interactions.isdisjoint(_WRITE_INTERACTIONS)
    is_bundle = not interactions.isdisjoint(_BUNDLE_INTERACTIONS)
    return Visit(
        login=login,
        person=str(who.get("display") or requestor.get("name") or login),
        role=_first_code(requestor.get("role", ())),
        organization=str(organization.get("reference", "")).removeprefix("Organization/"),
        purpose=_first_code(event.get("purposeOfEvent", ())),
        start=str(event["recorded"]),
        end=str(event["recorded"]),
        looked_at=() if is_write or is_bundle else kinds,
        changed=kinds if is_write else (),
        in_bundles=kinds if is_bundle else (),
        operations=(operation,) if operation else (),
        consents=_named_consents(event) if operation else (),
        searched=not interactions.isdisjoint(_SEARCHES),
        refused=event.get("outcome", "0") != "0",
        is_own=login == f"p.{patient}" or who.get("reference") == f"Patient/{patient}",
        reasons=(reason,) if reason else (),
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


def _disclosed_codes(event: Resource) -> tuple[str, ...]:
    """Return what was disclosed: the data domains where the event has them, else by type."""
    domains = [
        detail["valueString"]
        for entity in event.get("entity", ())
        for detail in entity.get("detail", ())
        if detail.get("type") == "data-domain"
    ]
    # What no domain of care covers: the personal details, sharing choices, the log itself.
    others = [
        resource_type
        for resource_type in _disclosed_types(event)
        if resource_type in _TYPES_WITHOUT_DOMAIN or not domains
    ]
    return tuple(dict.fromkeys([*domains, *sorted(others)]))


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
    if query.startswith("AuditEvent?"):
        return [*others, "AuditEvent"]
    return [*others, "Patient"] if query.startswith("Patient?") else others


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


def visit_parameters(visits: Iterable[Visit]) -> Resource:
    """Return visits as `$access-history` answers them, for a gateway that is a fake."""
    return {
        "resourceType": "Parameters",
        "parameter": [{"name": "visit", "part": list(_parts(visit))} for visit in visits],
    }


def _parts(visit: Visit) -> Iterable[Resource]:
    organization = {"reference": f"Organization/{visit.organization}"}
    yield {"name": "login", "valueString": visit.login}
    yield {"name": "person", "valueString": visit.person}
    yield {"name": "role", "valueCode": visit.role}
    if visit.organization:
        yield {"name": "organization", "valueReference": organization}
    yield {"name": "purpose", "valueCode": visit.purpose}
    yield {"name": "period", "valuePeriod": {"start": visit.start, "end": visit.end}}
    yield {"name": "own", "valueBoolean": visit.is_own}
    yield {"name": "refused", "valueBoolean": visit.refused}
    yield {"name": "searched", "valueBoolean": visit.searched}
    for name, codes in (
        ("looked-at", visit.looked_at),
        ("changed", visit.changed),
        ("in-bundle", visit.in_bundles),
        ("operation", visit.operations),
        ("reason", visit.reasons),
    ):
        yield from ({"name": name, "valueCode": code} for code in codes)
    for consent in visit.consents:
        yield {"name": "consent", "valueReference": {"reference": f"Consent/{consent}"}}
