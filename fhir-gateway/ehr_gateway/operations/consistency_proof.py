"""`$consistency-proof`: that the audit log only grew (RFC 6962 §2.1.2)."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import Invalid
from ehr_gateway.audit_log.service import audit_log_of
from ehr_gateway.operations._audit_proofs import (
    ProofPart,
    newest_checkpoint,
    proof_response,
    require_auditor,
    signature_parts,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_privacy.audit import consistency_proof

OPERATION = Operation(
    name="consistency-proof",
    summary="Prove that the log of `first` events begins the newest one.",
    levels=("type",),
    resource_types=("AuditEvent",),
    affects_state=False,
    callers="a steward, an auditor",
    parameters=(Parameter("first", "integer", "A number of events, of an older checkpoint", 1),),
    required_scope=None,
    audit_code="audit-proof",
    audit_query="AuditEvent/$consistency-proof?first",
)
# More digits than any number of events.
_MOST_DIGITS = 15


def answer(call: OperationCall) -> Response:
    """Answer with the proof, both roots and the newest checkpoint."""
    require_auditor(call.context)
    if len(call.query) != 1:
        raise Invalid("$consistency-proof takes one parameter: first, a number of events.")
    log = audit_log_of(call.context.request)
    newest, text = newest_checkpoint(log), call.query[0][1]
    first = int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else 0
    if not 0 < first <= newest.size:
        raise Invalid(f"first must be from 1 to {newest.size}, the events signed for.")
    reader = log.folder.tree_reader(newest.size)
    proof = consistency_proof(reader.node, first, newest.size)
    call.record()
    parts: list[ProofPart] = [
        ("first", "valueDecimal", first),
        ("firstRoot", "valueBase64Binary", reader.root(first)),
        ("size", "valueDecimal", newest.size),
        *(("proof", "valueBase64Binary", node) for node in proof),
        *signature_parts(log),
    ]
    return proof_response(parts, pretty=call.preferences.pretty)
