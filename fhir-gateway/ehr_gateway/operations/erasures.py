"""`$erasures`: requests for erasures, what became of them, and their certificates."""

from __future__ import annotations

from typing import Any

from fastapi.responses import Response

from ehr_fhir.dates import format_instant
from ehr_gateway.access_requests.request_rows import AccessRequest
from ehr_gateway.erasure.requests import list_erasures, read_certificate
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation

OPERATION = Operation(
    name="erasures",
    summary="List requests for erasures, what became of them, and their certificates.",
    levels=("system",),
    affects_state=False,
    callers="an administrator, a steward, an auditor",
    required_scope=None,
)
_NUMBERS = (
    "accounts",
    "records",
    "shared",
    "open-visits",
    "versions",
    "references",
    "logins",
    "audit-events",
)


def answer(call: OperationCall) -> Response:
    """Answer with an `erasure` for each; whoever is named in one is put on record."""
    context = call.context
    with context.gateway.store.read_transaction() as connection:
        requests = list_erasures(connection, context)
    patients = sorted({request.patient for request in requests if request.patient})
    for patient in patients:
        call.record(patient, entities=[f"Patient/{patient}"])
    if not patients:
        call.record()
    now, data = context.access.now_ms, context.gateway.settings.data
    return call.respond(
        *(
            {
                "name": "erasure",
                "part": [
                    *_parts(request, now),
                    *_certificate_parts(read_certificate(data, request.id)),
                ],
            }
            for request in requests
        )
    )


def _parts(request: AccessRequest, now_ms: int) -> list[dict[str, Any]]:
    is_expired = request.state == "proposed" and request.expires_ms <= now_ms
    words = {
        "id": request.id,
        "state": "expired" if is_expired else request.state,
        # Until it is approved; then nothing names them.
        "patient": request.patient,
        "asked-by": request.person,
        "display": request.display,
        "reason": request.reason,
        "decided-by": request.decided_by,
        "decided-display": request.reviewer,
        "decision-reason": request.review_note,
    }
    parts = [parameter(name, word) for name, word in words.items() if word]
    instants = {"asked": request.asked_ms, "decided": request.decided_ms, "ended": request.until_ms}
    parts += [
        {"name": name, "valueInstant": format_instant(at)} for name, at in instants.items() if at
    ]
    parts += [
        parameter(name, int(request.details[name])) for name in _NUMBERS if name in request.details
    ]
    return parts


def _certificate_parts(certificate: dict[str, Any] | None) -> list[dict[str, Any]]:
    if certificate is None:
        return []
    total = certificate["total"]
    parts = [
        {"name": "at", "valueInstant": certificate["at"]},
        parameter("found", int(total["found"])),
        parameter("files", int(total["files"])),
        # Larger than an integer of FHIR may be.
        {"name": "bytes", "valueDecimal": int(total["bytes"])},
        parameter("texts", int(certificate["texts"])),
        *(
            {
                "name": "place",
                "part": [
                    parameter("name", place["name"]),
                    parameter("files", int(place["files"])),
                    {"name": "bytes", "valueDecimal": int(place["bytes"])},
                    parameter("found", int(place["found"])),
                ],
            }
            for place in certificate["places"]
        ),
        *(parameter("not-scanned", sentence) for sentence in certificate["not_scanned"]),
    ]
    return [{"name": "certificate", "part": parts}]
