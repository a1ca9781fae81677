"""Proofs over HTTP: that an event is in the log that was signed for, and that the log only grew.

A proof tells how many events there are in all, and nothing of any other event.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends
from fastapi.responses import Response

from ehr_fhir.errors import Forbidden, Invalid, NotFound
from ehr_gateway.audit_log import recorder
from ehr_gateway.audit_log.read_policy import ROLES_READING_ALL, find_readable_row
from ehr_gateway.audit_log.service import AuditLog, audit_log_of
from ehr_gateway.http.authentication import Authenticated, RequestContext
from ehr_gateway.http.negotiation import fhir_response, parse_preferences
from ehr_gateway.http.query_string import check_parameters, parse_query
from ehr_gateway.schema.audit_log import CONTENT
from ehr_privacy.audit import (
    Checkpoint,
    canonical_row,
    consistency_proof,
    inclusion_proof,
    verifier_key,
)
from ehr_privacy.consent import covers_interaction

router = APIRouter(prefix="/fhir/AuditEvent")
_GET = ["GET", "HEAD"]
TheLog = Annotated[AuditLog, Depends(audit_log_of)]
_Part = tuple[str, str, object]


@router.api_route("/$checkpoint", methods=_GET)
def checkpoint(context: Authenticated, log: TheLog) -> Response:
    """Give the newest signed checkpoint, and the key to verify it with."""
    prefer = parse_preferences(context.request)
    check_parameters(context.request, lenient=prefer.lenient)
    audit_context = context.begin_audit("audit-proof", "AuditEvent/$checkpoint")
    _for_auditors(context)
    _newest(log)
    context.add_audit_entry(recorder.build_event_rows(audit_context=audit_context, patient=None))
    return _parameters(_signature(log), pretty=prefer.pretty)


@router.api_route("/$consistency-proof", methods=_GET)
def consistency(context: Authenticated, log: TheLog) -> Response:
    """Prove that the log of `first` events begins the newest one."""
    prefer = parse_preferences(context.request)
    pairs = parse_query(context.request)
    audit_context = context.begin_audit("audit-proof", "AuditEvent/$consistency-proof?first")
    _for_auditors(context)
    if [name for name, _ in pairs] != ["first"]:
        raise Invalid("$consistency-proof takes one parameter: first, a number of events.")
    newest, text = _newest(log), pairs[0][1]
    first = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0
    if not 0 < first <= newest.size:
        raise Invalid(f"first must be from 1 to {newest.size}, the events signed for.")
    reader = log.folder.tree_reader(newest.size)
    proof = consistency_proof(reader.node, first, newest.size)
    context.add_audit_entry(recorder.build_event_rows(audit_context=audit_context, patient=None))
    parts: list[_Part] = [
        ("first", "valueDecimal", first),
        ("firstRoot", "valueBase64Binary", reader.root(first)),
        ("size", "valueDecimal", newest.size),
        *(("proof", "valueBase64Binary", one) for one in proof),
        *_signature(log),
    ]
    return _parameters(parts, pretty=prefer.pretty)


@router.api_route("/{logical_id}/$inclusion-proof", methods=_GET)
def inclusion(context: Authenticated, log: TheLog, logical_id: str) -> Response:
    """Prove that an event is in the log: to whoever may read the event."""
    prefer = parse_preferences(context.request)
    check_parameters(context.request, lenient=prefer.lenient)
    audit_context = context.begin_audit("audit-proof", "AuditEvent/$inclusion-proof")
    context.gateway.auditor.carry()
    with context.gateway.store.read_transaction() as connection:
        row = find_readable_row(context.access, connection, logical_id)
        stored = connection.execute(
            f"SELECT salt, leaf, {', '.join(CONTENT)} FROM audit WHERE seq = ?",  # noqa: S608
            (row.seq,),
        ).fetchone()
    newest, index = _newest(log), row.seq - 1
    if index >= newest.size:
        raise NotFound("This event is not signed for yet. Ask again in a minute or two.")
    proof = inclusion_proof(log.folder.tree_reader(newest.size).node, index, newest.size)
    context.add_audit_entry(
        recorder.build_event_rows(
            audit_context=audit_context,
            patient=row.patient,
            entities=[f"AuditEvent/{row.id}"],
        )
    )
    parts: list[_Part] = [
        ("index", "valueDecimal", index),
        ("size", "valueDecimal", newest.size),
        ("leaf", "valueBase64Binary", bytes(stored["leaf"])),
        *(("proof", "valueBase64Binary", one) for one in proof),
    ]
    whole = context.access.requester.role != "carer"
    if stored["salt"] and whole:
        # What the leaf commits to. A carer may see less of the event than it says.
        content = canonical_row([stored[name] for name in CONTENT])
        parts += [
            ("salt", "valueBase64Binary", bytes(stored["salt"])),
            ("content", "valueBase64Binary", content),
        ]
    return _parameters([*parts, *_signature(log)], pretty=prefer.pretty)


def _for_auditors(context: RequestContext) -> None:
    requester = context.access.requester
    covered = covers_interaction(requester.scopes, "read", "AuditEvent", in_patient=True)
    if requester.role not in ROLES_READING_ALL or not covered:
        raise Forbidden("Checkpoints and their proofs are for the steward and the auditor.")


def _newest(log: AuditLog) -> Checkpoint:
    found = log.folder.read_latest(log.signer.name, log.signer.public)
    if found is None:
        raise NotFound("The log has no checkpoint yet. Ask again in a minute or two.")
    return found


def _signature(log: AuditLog) -> list[_Part]:
    note = (log.folder.read_note() or b"").decode()
    key = verifier_key(log.signer.name, log.signer.public)
    return [("checkpoint", "valueString", note), ("key", "valueString", key)]


def _parameters(parts: Iterable[_Part], *, pretty: bool) -> Response:
    parameter: list[dict[str, Any]] = [
        {
            "name": name,
            kind: base64.b64encode(value).decode() if isinstance(value, bytes) else value,
        }
        for name, kind, value in parts
    ]
    body = orjson.dumps({"resourceType": "Parameters", "parameter": parameter})
    return fhir_response(body, pretty=pretty)
