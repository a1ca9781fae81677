"""Rows of the audit log as FHIR AuditEvents by IHE's Basic Audit Log Patterns (BALP 1.1.4, R4).

Reads, searches and writes follow BALP's profiles. What BALP leaves open (operations, histories,
Bundles, exports, log-ins, refusals) follows profiles of our own: docs/explanation/audit.md.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ehr_fhir.dates import format_instant
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.audit_log.counted_sets import SET_PREFIX
from ehr_gateway.audit_log.listed_patients import LIST_PREFIX
from ehr_gateway.audit_log.queries import AuditRow
from ehr_gateway.interaction_codes import WRITES, audit_action

__all__ = ["RenderContext", "find_profile", "render_audit_event"]

_EHR = f"{JURISDICTION.fhir_base}/CodeSystem"
_OURS = f"{JURISDICTION.fhir_base}/StructureDefinition"
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_DICOM = "http://dicom.nema.org/resources/ontology/DCM"
_RESTFUL = "http://hl7.org/fhir/restful-interaction"
_BALP = "https://profiles.ihe.net/ITI/BALP"
# The patterns of BALP, by interaction; with a patient they are called Patient*.
_PATTERNS = {
    "read": "Read",
    "vread": "Read",
    "search-type": "Query",
    "search-system": "Query",
    "create": "Create",
    "update": "Update",
    "delete": "Delete",
}
_FHIR_CODES = frozenset(_PATTERNS) | {
    "patch", "batch", "transaction", "history-instance", "history-type", "history-system",
    "capabilities", "operation",
}  # fmt: skip
_DATA, _QUERY = ("2", "System Object"), ("24", "Query")


@dataclass(frozen=True)
class RenderContext:
    """What rendering needs besides the row: organisation names by id, and the server's name."""

    names: Mapping[str, str]
    server: str


def find_profile(row: AuditRow) -> str:
    """Return the canonical address of the profile that a row's event follows."""
    if row.outcome != "0":
        return f"{_OURS}/audit-refusal"
    pattern = _PATTERNS.get(row.interaction)
    if pattern is None:
        return f"{_OURS}/audit-operation"
    about = "Patient" if row.patient else ""
    return f"{_BALP}/StructureDefinition/IHE.BasicAudit.{about}{pattern}"


def render_audit_event(row: AuditRow, render_context: RenderContext) -> dict[str, Any]:
    """Return a row as a FHIR AuditEvent."""
    purpose = {"coding": [_coding(f"{_TERMINOLOGY}/v3-ActReason", row.purpose)]}
    event: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "id": row.id,
        "meta": {
            "versionId": "1",
            "lastUpdated": format_instant(row.at_ms),
            "profile": [find_profile(row)],
        },
        "type": _type(row),
        "subtype": [_subtype(row)],
        "action": audit_action(row.interaction),
        "recorded": format_instant(row.at_ms),
        "outcome": row.outcome,
        "purposeOfEvent": [purpose],
        "agent": _agents(row, render_context, purpose),
        "source": {
            "site": render_context.server,
            "observer": {"display": "eHR Commons"},
            "type": [_coding(f"{_TERMINOLOGY}/security-source-type", "4", "Application Server")],
        },
    }
    if row.reason:
        event["outcomeDesc"] = row.reason
    event["entity"] = _entities(row)
    return event


def _type(row: AuditRow) -> dict[str, str]:
    if row.interaction.startswith(("login", "logout")):
        return _coding(_DICOM, "110114", "User Authentication")
    return _coding(f"{_TERMINOLOGY}/audit-event-type", "rest", "RESTful Operation")


def _subtype(row: AuditRow) -> dict[str, str]:
    is_fhir_code = row.interaction in _FHIR_CODES
    return _coding(_RESTFUL if is_fhir_code else f"{_EHR}/audit-subtype", row.interaction)


def _agents(
    row: AuditRow, render_context: RenderContext, purpose: dict[str, Any]
) -> list[dict[str, Any]]:
    who = {
        "identifier": {"system": f"{JURISDICTION.base}/login", "value": row.login},
        "display": row.display,
    }
    if row.role == "patient" and row.patient and row.login == f"p.{row.patient}":
        who["reference"] = f"Patient/{row.patient}"
    is_write = row.interaction in WRITES
    code, title = ("AUT", "author") if is_write else ("IRCP", "information recipient")
    agents: list[dict[str, Any]] = [
        {
            "type": _concept(f"{_TERMINOLOGY}/v3-ParticipationType", code, title),
            "role": [{"coding": [_coding(f"{_EHR}/role", row.role)]}],
            "who": who,
            "altId": row.login,
            "name": row.display,
            "requestor": True,
            "purposeOfUse": [purpose],
        }
    ]
    if row.organization:
        organization = {"reference": f"Organization/{row.organization}"}
        if row.organization in render_context.names:
            organization["display"] = render_context.names[row.organization]
        kind = _concept(f"{_TERMINOLOGY}/v3-RoleClass", "PROV", "healthcare provider")
        agents.append({"type": kind, "who": organization, "requestor": False})
    return [*agents, *_machines(row, render_context)]


def _machines(row: AuditRow, render_context: RenderContext) -> list[dict[str, Any]]:
    # A read flows from the server to the client; all else, questions too, the other way.
    source = _concept(_DICOM, "110153", "Source Role ID")
    destination = _concept(_DICOM, "110152", "Destination Role ID")
    is_read = row.interaction in ("read", "vread")
    client: dict[str, Any] = {
        "type": destination if is_read else source,
        "who": {
            "identifier": {"system": f"{JURISDICTION.base}/client", "value": row.client},
            "display": row.client,
        },
        "requestor": False,
    }
    if row.address:
        client["network"] = {"address": row.address, "type": "2"}
    server = {
        "type": source if is_read else destination,
        "who": {"display": "eHR Commons"},
        "requestor": False,
        "network": {"address": render_context.server, "type": "1"},
    }
    return [client, server]


def _entities(row: AuditRow) -> list[dict[str, Any]]:
    entities: list[dict[str, Any]] = []
    if row.patient:
        patient = _entity(
            f"Patient/{row.patient}", f"{_TERMINOLOGY}/audit-entity-type", ("1", "Person"), "1"
        )
        if row.domains:
            patient["detail"] = [
                {"type": "data-domain", "valueString": domain} for domain in row.domains
            ]
        entities.append(patient)
    is_single = row.interaction not in ("search-type", "search-system")
    for reference in row.entities:
        if reference.startswith((SET_PREFIX, LIST_PREFIX)):
            entities.append(_counted_people(reference))
            continue
        # In a Query, "System Object" is the question alone: what was found has its own type.
        kind = reference.partition("/")[0]
        system, code = (
            (f"{_TERMINOLOGY}/audit-entity-type", _DATA)
            if is_single
            else ("http://hl7.org/fhir/resource-types", (kind, kind))
        )
        entities.append(_entity(reference, system, code, "4"))
    if row.query:
        entities.append(
            {
                "type": _coding(f"{_TERMINOLOGY}/audit-entity-type", *_DATA),
                "role": _coding(f"{_TERMINOLOGY}/object-role", *_QUERY),
                "query": base64.b64encode(row.query.encode()).decode(),
            }
        )
    if row.consent:
        entities.append(
            {
                "what": {"reference": f"Consent/{row.consent}"},
                "type": _coding("http://hl7.org/fhir/resource-types", "Consent", "Consent"),
            }
        )
    entities.append(
        {
            "what": {"identifier": {"value": row.request_id}},
            "type": _coding(f"{_BALP}/CodeSystem/BasicAuditEntityType", "XrequestId"),
        }
    )
    return entities


def _counted_people(reference: str) -> dict[str, Any]:
    """Return the entity that stands for many people who were counted or listed together.

    >>> _counted_people("counted:5000:ab12")["detail"]
    [{'type': 'counted', 'valueString': '5000'}]
    """
    kind, number, _ = reference.split(":")
    return {
        "what": {"identifier": {"system": f"{JURISDICTION.base}/{kind}", "value": reference}},
        "type": _coding("http://hl7.org/fhir/resource-types", "Group", "Group"),
        "detail": [{"type": kind, "valueString": number}],
    }


def _entity(reference: str, system: str, code: tuple[str, str], role: str) -> dict[str, Any]:
    # No display names of records: a search names hundreds, and the codes say it all.
    return {
        "what": {"reference": reference},
        "type": _coding(system, *code),
        "role": _coding(f"{_TERMINOLOGY}/object-role", role),
    }


def _concept(system: str, code: str, display: str) -> dict[str, Any]:
    return {"coding": [_coding(system, code, display)]}


def _coding(system: str, code: str, display: str | None = None) -> dict[str, str]:
    return {"system": system, "code": code, **({"display": display} if display else {})}
