"""`$checkpoint`: the newest signed checkpoint of the audit log (C2SP tlog-checkpoint)."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.audit_log.service import audit_log_of
from ehr_gateway.operations._audit_proofs import (
    newest_checkpoint,
    proof_response,
    require_auditor,
    signature_parts,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation

OPERATION = Operation(
    name="checkpoint",
    summary="Give the newest signed checkpoint, and the key to verify it with.",
    levels=("type",),
    resource_types=("AuditEvent",),
    affects_state=False,
    callers="a steward, an auditor",
    required_scope=None,
    audit_code="audit-proof",
    audit_query="AuditEvent/$checkpoint",
)


def answer(call: OperationCall) -> Response:
    """Answer with the checkpoint."""
    require_auditor(call.context)
    log = audit_log_of(call.context.request)
    newest_checkpoint(log)
    call.record()
    return proof_response(signature_parts(log), pretty=call.preferences.pretty)
