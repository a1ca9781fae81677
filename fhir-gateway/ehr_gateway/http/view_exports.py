"""Responses about exports of views: SQL on FHIR's Parameters, FHIR's asynchronous pattern.

While an export is written its status is 202 with `X-Progress`; then 303 to its result.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import orjson
from fastapi.responses import Response

from ehr_fhir.dates import format_instant
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.http.negotiation import fhir_response, parse_preferences
from ehr_gateway.research_queries import ExportStatus

__all__ = ["EXPORT_PATH", "accepted_response", "result_response", "status_response"]

EXPORT_PATH = "$viewdefinition-export"
# Chosen: most exports are done by then.
_SECONDS_TO_WAIT = 5


def accepted_response(context: RequestContext, status: ExportStatus) -> Response:
    """Answer that an export has begun, with the address of its status in Content-Location."""
    headers = {"Content-Location": _address(context, status), "Retry-After": str(_SECONDS_TO_WAIT)}
    return _respond(context, status, 202, headers)


def status_response(context: RequestContext, status: ExportStatus) -> Response:
    """Answer how far an export is; see its result when it is done."""
    if status.state == "completed":
        return _respond(context, status, 303, {"Location": f"{_address(context, status)}/result"})
    headers = {
        "X-Progress": f"{status.done} of {len(status.outputs)} views written",
        "Retry-After": str(_SECONDS_TO_WAIT),
    }
    return _respond(context, status, 202, headers)


def result_response(context: RequestContext, status: ExportStatus) -> Response:
    """Answer with the addresses of the files, and until when they are there."""
    expires = format_datetime(datetime.fromtimestamp(status.expires, UTC), usegmt=True)
    return _respond(context, status, 200, {"Expires": expires})


def _respond(
    context: RequestContext, status: ExportStatus, code: int, headers: dict[str, str]
) -> Response:
    body = {"resourceType": "Parameters", "parameter": list(_describe(context, status))}
    pretty = parse_preferences(context.request).pretty
    return fhir_response(orjson.dumps(body), code, headers=headers, pretty=pretty)


def _describe(context: RequestContext, status: ExportStatus) -> list[dict[str, Any]]:
    address = _address(context, status)
    described: list[dict[str, Any]] = [
        {"name": "exportId", "valueString": status.id},
        {"name": "status", "valueCode": status.state},
        {"name": "location", "valueUri": address},
        {"name": "cancelUrl", "valueUri": address},
        {"name": "_format", "valueCode": status.media},
        {"name": "exportStartTime", "valueInstant": _instant(status.started)},
    ]
    if status.tracking_id is not None:
        described.append({"name": "clientTrackingId", "valueString": status.tracking_id})
    if status.state == "completed" and status.ended is not None:
        seconds = round(status.ended - status.started)
        described += [
            {"name": "exportEndTime", "valueInstant": _instant(status.ended)},
            {"name": "exportDuration", "valueInteger": seconds},
            *(
                {
                    "name": "output",
                    "part": [
                        {"name": "name", "valueString": output.name},
                        {"name": "location", "valueUri": f"{address}/files/{number}"},
                    ],
                }
                for number, output in enumerate(status.outputs)
            ),
        ]
    return described


def _address(context: RequestContext, status: ExportStatus) -> str:
    return f"{context.gateway.settings.fhir_base}/{EXPORT_PATH}/{status.id}"


def _instant(seconds: float) -> str:
    return format_instant(round(seconds * 1000))
