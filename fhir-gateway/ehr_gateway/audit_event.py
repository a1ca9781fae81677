"""Rows of the audit log as FHIR AuditEvents in the shape of IHE's Basic Audit Log Patterns."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from ehr_fhir.intervals import instant
from ehr_gateway.auditing.rows import AuditRow
from ehr_gateway.interaction_codes import action_of

_EHR = "https://ehr-commons.hk/fhir/CodeSystem"
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"


def audit_event(row: AuditRow, names: Mapping[str, str]) -> dict[str, Any]:
    """Render one row; `names` gives the organisations' display names by id."""
    event: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "id": row.id,
        "meta": {"versionId": "1", "lastUpdated": instant(row.at_ms)},
        "type": _coding(f"{_TERMINOLOGY}/audit-event-type", "rest", "RESTful Operation"),
        "subtype": [_coding("http://hl7.org/fhir/restful-interaction", row.interaction)],
        "action": action_of(row.interaction),
        "recorded": instant(row.at_ms),
        "outcome": row.outcome,
        "purposeOfEvent": [
            {"coding": [_coding(f"{_TERMINOLOGY}/v3-ActReason", row.purpose)]},
        ],
        "agent": _agents(row, names),
        "source": {"observer": {"display": "eHR Commons"}},
    }
    if row.reason:
        event["outcomeDesc"] = row.reason
    if entities := _entities(row):
        event["entity"] = entities
    return event


def _agents(row: AuditRow, names: Mapping[str, str]) -> list[dict[str, Any]]:
    who = {
        "identifier": {"system": "https://ehr-commons.hk/login", "value": row.login},
        "display": row.display,
    }
    if row.role == "patient" and row.patient and row.login == f"p.{row.patient}":
        who["reference"] = f"Patient/{row.patient}"
    participation = f"{_TERMINOLOGY}/v3-ParticipationType"
    agents: list[dict[str, Any]] = [
        {
            "type": {"coding": [_coding(participation, "IRCP", "information recipient")]},
            "role": [{"coding": [_coding(f"{_EHR}/role", row.role)]}],
            "who": who,
            "altId": row.login,
            "name": row.display,
            "requestor": True,
        }
    ]
    if row.organization:
        organization = {"reference": f"Organization/{row.organization}"}
        if row.organization in names:
            organization["display"] = names[row.organization]
        kind = _coding(f"{_TERMINOLOGY}/v3-RoleClass", "PROV", "healthcare provider")
        agents.append({"type": {"coding": [kind]}, "who": organization, "requestor": False})
    program = _coding("http://dicom.nema.org/resources/ontology/DCM", "110150", "Application")
    agents.append(
        {
            "type": {"coding": [program]},
            "who": {
                "identifier": {"system": "https://ehr-commons.hk/client", "value": row.client},
                "display": row.client,
            },
            "requestor": False,
        }
    )
    return agents


def _entities(row: AuditRow) -> list[dict[str, Any]]:
    entities: list[dict[str, Any]] = []
    if row.patient:
        entities.append(_entity(f"Patient/{row.patient}", "1", "1"))
    for reference in row.entities:
        if reference != f"Patient/{row.patient}":
            entities.append(_entity(reference, "2", "4"))
    if row.query:
        entities.append(
            {
                "type": _coding(f"{_TERMINOLOGY}/audit-entity-type", "2", "System Object"),
                "role": _coding(f"{_TERMINOLOGY}/object-role", "24", "Query"),
                "query": base64.b64encode(row.query.encode()).decode(),
            }
        )
    entities.append(
        {
            "type": _coding("https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType",
                            "XrequestId"),
            "what": {"identifier": {"value": row.request_id}},
        }
    )  # fmt: skip
    return entities


def _entity(reference: str, kind: str, role: str) -> dict[str, Any]:
    # No display names here: a search names hundreds of records, and the codes say it all.
    return {
        "what": {"reference": reference},
        "type": _coding(f"{_TERMINOLOGY}/audit-entity-type", kind),
        "role": _coding(f"{_TERMINOLOGY}/object-role", role),
    }


def _coding(system: str, code: str, display: str | None = None) -> dict[str, str]:
    return {"system": system, "code": code, **({"display": display} if display else {})}
