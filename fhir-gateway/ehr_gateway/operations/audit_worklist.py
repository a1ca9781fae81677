"""The steward's worklist of unusual access, as FHIR Tasks, and how one of them is settled."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends
from fastapi.responses import Response

from ehr_fhir.errors import Conflict, Forbidden, Invalid, NotFound
from ehr_fhir.intervals import instant
from ehr_fhir.json_text import parse
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.audit_log import recorder
from ehr_gateway.audit_log.anomaly_rules import RULES
from ehr_gateway.audit_log.read_policy import ROLES_READING_ALL
from ehr_gateway.audit_log.worklist import VERDICTS, WorkItem, find_items, settle_item
from ehr_gateway.http.authentication import Authenticated, RequestContext
from ehr_gateway.http.body import read_fhir_body
from ehr_gateway.http.bundle_bytes import build_bundle, build_entry, page_link
from ehr_gateway.http.negotiation import fhir_response, parse_preferences
from ehr_gateway.http.query_string import parse_query

router = APIRouter(prefix="/fhir/AuditEvent")
Body = Annotated[bytes, Depends(read_fhir_body)]
_EHR = f"{JURISDICTION.fhir_base}/CodeSystem"
_DEFAULT_COUNT, _MOST = 50, 200
_MOST_NOTE = 2000
_STATES = {"open": "requested", "settled": "completed"}


@router.api_route("/$worklist", methods=["GET", "HEAD"])
def worklist(context: Authenticated) -> Response:
    """List what the monitor flagged, newest first."""
    prefer, pairs = parse_preferences(context.request), parse_query(context.request)
    audit_context = context.begin_audit("audit-worklist", "AuditEvent/$worklist")
    _only(context, ROLES_READING_ALL)
    wanted = _wanted(pairs)
    with context.gateway.store.read_transaction() as connection:
        items = find_items(connection, **{**wanted, "count": wanted["count"] + 1})
    shown, base = items[: wanted["count"]], context.gateway.settings.fhir_base
    context.add_audit_entry(
        recorder.build_event_rows(
            audit_context=audit_context,
            patient=None,
            entities=[f"Task/{item.id}" for item in shown],
        )
    )
    address = f"{base}/AuditEvent/$worklist"
    links = [("self", page_link(address, pairs))]
    if len(items) > len(shown):
        rest = [pair for pair in pairs if pair[0] != "_cursor"]
        links.append(("next", page_link(address, [*rest, ("_cursor", shown[-1].id)])))
    entries = (
        build_entry(f"urn:uuid:{item.id}", orjson.dumps(_task(item)), mode="match")
        for item in shown
    )
    return fhir_response(
        build_bundle("searchset", entries, total=None, links=links), pretty=prefer.pretty
    )


@router.post("/$settle")
def settle_worklist_item(context: Authenticated, body: Body) -> Response:
    """Settle one item: Parameters with `item`, `verdict` and a `note` in the steward's words."""
    prefer = parse_preferences(context.request)
    audit_context = context.begin_audit("audit-settle", "AuditEvent/$settle")
    _only(context, frozenset({"steward"}))
    item, verdict, note = _settling(body)
    login, now = context.caller.subject.login, context.access.now_ms
    with context.gateway.store.write_transaction() as connection:
        if not settle_item(connection, item, verdict, note, login, now):
            if find_items(connection, identity=item):
                raise Conflict("This item is settled already.")
            raise NotFound("There is no such item.")
        (found,) = find_items(connection, identity=item)
        recorder.record_rows(
            connection,
            recorder.build_event_rows(
                audit_context, None, entities=[f"Task/{item}"], reason=f"settled {verdict}"
            ),
        )
    return fhir_response(orjson.dumps(_task(found)), pretty=prefer.pretty)


def _only(context: RequestContext, roles: frozenset[str]) -> None:
    if context.access.requester.role not in roles:
        raise Forbidden("The worklist of unusual access is the steward's.")


def _wanted(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    wanted: dict[str, Any] = {"count": _DEFAULT_COUNT}
    for name, value in pairs:
        if name == "status" and value in _STATES:
            wanted["state"] = value
        elif name == "rule" and value in RULES:
            wanted["rule"] = value
        elif name == "_id":
            wanted["identity"] = value
        elif name == "_cursor":
            wanted["before"] = value
        elif name == "_count" and value.isascii() and value.isdigit() and len(value) < 9:
            wanted["count"] = max(1, min(int(value), _MOST))
        else:
            raise Invalid(
                f"$worklist takes status (open or settled), rule ({', '.join(RULES)}), _id and "
                "_count."
            )
    return wanted


def _settling(body: bytes) -> tuple[str, str, str]:
    parameters = parse(body).get("parameter", ())
    found: dict[str, str] = {}
    for one in parameters if isinstance(parameters, list) else ():
        value = one.get("valueString", one.get("valueCode")) if isinstance(one, dict) else None
        if isinstance(value, str):
            found[str(one.get("name"))] = value
    note = found.get("note", "").strip()
    if not found.get("item"):
        raise Invalid("item is missing.", expression="Parameters.parameter.where(name='item')")
    if found.get("verdict") not in VERDICTS:
        raise Invalid(
            f"verdict must be one of {', '.join(VERDICTS)}.",
            expression="Parameters.parameter.where(name='verdict')",
        )
    if not note or len(note) > _MOST_NOTE or "\0" in note:
        raise Invalid(
            f"note must say why, in at most {_MOST_NOTE} characters.",
            expression="Parameters.parameter.where(name='note')",
        )
    return found["item"], found["verdict"], note


def _task(item: WorkItem) -> dict[str, Any]:
    task: dict[str, Any] = {
        "resourceType": "Task",
        "id": item.id,
        "status": _STATES[item.state],
        "intent": "proposal",
        "code": {"coding": [{"system": f"{_EHR}/audit-flag", "code": item.rule}]},
        "authoredOn": instant(item.found_ms),
        "executionPeriod": {"start": instant(item.since_ms), "end": instant(item.until_ms)},
        "focus": {
            "identifier": {"system": f"{JURISDICTION.base}/login", "value": item.login},
            "display": item.display,
        },
        "input": [{"type": {"text": "number"}, "valueInteger": item.number}],
    }
    if item.patient:
        task["for"] = {"reference": f"Patient/{item.patient}"}
    if item.organization:
        task["owner"] = {"reference": f"Organization/{item.organization}"}
    if item.state == "settled":
        task["businessStatus"] = {
            "coding": [{"system": f"{_EHR}/audit-verdict", "code": item.verdict}]
        }
        task["lastModified"] = instant(item.settled_ms or 0)
        task["note"] = [
            {
                "authorString": item.settled_by,
                "time": instant(item.settled_ms or 0),
                "text": item.note,
            }
        ]
    return task
