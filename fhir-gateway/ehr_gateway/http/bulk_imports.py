"""Responses about bulk imports: where they are, how far, and what came of each file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import orjson
from fastapi.responses import Response

from ehr_fhir.dates import format_instant
from ehr_fhir.errors import Forbidden, Unprocessable, operation_outcome
from ehr_gateway.bulk_data.import_request import ImportRequest
from ehr_gateway.bulk_data.imports import BulkImport
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.http.negotiation import fhir_response
from ehr_privacy.consent import load_roles

__all__ = [
    "IMPORT_PATH",
    "import_accepted_response",
    "import_failed_response",
    "import_owner",
    "import_progress_response",
    "import_result_response",
    "require_import_scopes",
]

IMPORT_PATH = "$import"
_SECONDS_TO_WAIT = 1


def import_owner(context: RequestContext) -> Sequence[str | None]:
    """Return whose an import is; Forbidden for all but the platform's own systems.

    The loader stores records of every author, rules of consent among them, without the rights of a
    single write.
    """
    subject = context.caller.subject
    if subject.role != "system" or subject.organization != load_roles().platform:
        raise Forbidden(
            "Imports are for the platform's own systems. An organisation's system writes records "
            "one by one or in Bundles."
        )
    return [subject.login, subject.client, subject.organization, subject.patient]


def require_import_scopes(context: RequestContext, request: ImportRequest) -> None:
    """Require the scopes to create and update what an import may hold."""
    kinds = sorted({one.type for one in request.inputs})
    for interaction in ("create", "update"):
        context.access.require_scope(interaction, *kinds)


def import_accepted_response(context: RequestContext, begun: BulkImport) -> Response:
    """Answer that an import has begun, with the address of its status in Content-Location."""
    return fhir_response(b"", 202, headers={"Content-Location": _address(context, begun)})


def import_progress_response(found: BulkImport) -> Response:
    """Answer how far an import is."""
    headers = {"X-Progress": _describe(found), "Retry-After": str(_SECONDS_TO_WAIT)}
    return Response(status_code=202, headers=headers)


def import_failed_response(found: BulkImport) -> Response:
    """Answer why an import failed as a whole: by 500, as the proposal has it."""
    return fhir_response(orjson.dumps(operation_outcome(Unprocessable(found.fault))), 500)


def import_result_response(context: RequestContext, found: BulkImport) -> Response:
    """Answer what came of each file."""
    base = context.gateway.settings.base_url
    body: dict[str, Any] = {
        "transactionTime": format_instant(found.started_ms),
        "request": f"{base}/fhir/{IMPORT_PATH}",
        "requiresAccessToken": True,
        "output": [],
        "error": [],
    }
    progress = found.progress
    for number, one in enumerate(found.request.inputs):
        entry: dict[str, Any] = {"type": "OperationOutcome"}
        entry |= {"inputUrl": one.url} if one.url else {"input": number}
        body["output"].append({**entry, "count": progress.taken[number]})
        if refused := progress.refused[number]:
            url = f"{_address(context, found)}/errors/{number}.ndjson"
            body["error"].append({**entry, "count": refused, "url": url})
    counts = {"stored": progress.stored, "unchanged": progress.unchanged}
    body["extension"] = {f"{context.gateway.settings.fhir_base}/{IMPORT_PATH}": counts}
    expires = datetime.fromtimestamp(found.expires_ms / 1000, UTC)
    headers = {
        "Expires": format_datetime(expires, usegmt=True),
        "Content-Type": "application/json",
        "Cache-Control": "no-store",
    }
    return Response(orjson.dumps(body), 200, headers=headers)


def _describe(found: BulkImport) -> str:
    if found.state == "waiting":
        return "waits for its turn"
    total = sum(found.progress.taken)
    if not found.progress.taken:
        return "files are read and checked"
    done = found.progress.stored + found.progress.unchanged
    return f"{done} of at most {total} resources are stored"


def _address(context: RequestContext, found: BulkImport) -> str:
    return f"{context.gateway.settings.fhir_base}/{IMPORT_PATH}/{found.id}"
