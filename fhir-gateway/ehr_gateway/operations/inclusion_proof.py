"""`$inclusion-proof`: that one event is in the signed audit log (RFC 6962 §2.1.1)."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import NotFound
from ehr_gateway.audit_log.read_policy import find_readable_row
from ehr_gateway.audit_log.service import audit_log_of
from ehr_gateway.operations._audit_proofs import (
    ProofPart,
    newest_checkpoint,
    proof_response,
    signature_parts,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation
from ehr_gateway.schema.audit_log import CONTENT_COLUMNS
from ehr_privacy.audit import canonical_row, inclusion_proof

OPERATION = Operation(
    name="inclusion-proof",
    summary="Prove that an event is in the log: to whoever may read the event.",
    levels=("instance",),
    resource_types=("AuditEvent",),
    affects_state=False,
    callers="who may read the event: the patient, a carer, a steward, an auditor",
    required_scope=None,
    audit_code="audit-proof",
    audit_query="AuditEvent/$inclusion-proof",
)


def answer(call: OperationCall) -> Response:
    """Answer with the proof, and with what the leaf commits to where the reader may see it."""
    context, log = call.context, audit_log_of(call.context.request)
    context.gateway.audit_batcher.flush()
    with context.gateway.store.read_transaction() as connection:
        row = find_readable_row(context.access, connection, call.logical_id)
        stored = connection.execute(
            f"SELECT salt, leaf, {', '.join(CONTENT_COLUMNS)} FROM audit WHERE seq = ?",  # noqa: S608
            (row.seq,),
        ).fetchone()
    newest, index = newest_checkpoint(log), row.seq - 1
    if index >= newest.size:
        raise NotFound("This event is not signed for yet. Ask again in a minute or two.")
    proof = inclusion_proof(log.folder.tree_reader(newest.size).node, index, newest.size)
    call.record(row.patient, entities=[f"AuditEvent/{row.id}"])
    parts: list[ProofPart] = [
        ("index", "valueDecimal", index),
        ("size", "valueDecimal", newest.size),
        ("leaf", "valueBase64Binary", bytes(stored["leaf"])),
        *(("proof", "valueBase64Binary", node) for node in proof),
    ]
    # A carer may see less of the event than its content says.
    may_see_content = context.access.requester.role != "carer"
    if stored["salt"] and may_see_content:
        content = canonical_row([stored[name] for name in CONTENT_COLUMNS])
        parts += [
            ("salt", "valueBase64Binary", bytes(stored["salt"])),
            ("content", "valueBase64Binary", content),
        ]
    return proof_response([*parts, *signature_parts(log)], pretty=call.preferences.pretty)
