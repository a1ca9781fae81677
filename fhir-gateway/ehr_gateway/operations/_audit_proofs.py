"""What the proofs of the audit log share: who may ask, the newest checkpoint, the answer's form.

A proof tells how many events there are in all, and nothing of any other event.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import orjson
from fastapi.responses import Response

from ehr_fhir.errors import Forbidden, NotFound
from ehr_gateway.audit_log.read_policy import ROLES_READING_ALL
from ehr_gateway.audit_log.service import AuditLog
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.http.negotiation import fhir_response
from ehr_privacy.audit import Checkpoint, verifier_key

__all__ = ["ProofPart", "newest_checkpoint", "proof_response", "require_auditor", "signature_parts"]

# Name, value element (`valueString`) and value of one parameter.
ProofPart = tuple[str, str, object]


def require_auditor(context: RequestContext) -> None:
    """Refuse who may not read the whole log."""
    requester = context.access.requester
    if requester.role not in ROLES_READING_ALL:
        raise Forbidden("Checkpoints and their proofs are for the steward and the auditor.")
    context.access.require_scope("read", "AuditEvent")


def newest_checkpoint(log: AuditLog) -> Checkpoint:
    """Return the newest checkpoint that bears the log's signature."""
    checkpoint = log.folder.read_latest(log.signer.name, log.signer.public)
    if checkpoint is None:
        raise NotFound("The log has no checkpoint yet. Ask again in a minute or two.")
    return checkpoint


def signature_parts(log: AuditLog) -> list[ProofPart]:
    """Return the signed checkpoint as it was published, and the key that verifies it."""
    note = (log.folder.read_note() or b"").decode()
    key = verifier_key(log.signer.name, log.signer.public)
    return [("checkpoint", "valueString", note), ("key", "valueString", key)]


def proof_response(parts: Iterable[ProofPart], *, pretty: bool) -> Response:
    """Answer with Parameters; bytes are written in base64."""
    parameter: list[dict[str, Any]] = [
        {
            "name": name,
            element: base64.b64encode(value).decode() if isinstance(value, bytes) else value,
        }
        for name, element, value in parts
    ]
    body = orjson.dumps({"resourceType": "Parameters", "parameter": parameter})
    return fhir_response(body, pretty=pretty)
