"""Binary as its own content type: raw bytes in and out (R4 Binary §2.35.4).

A client that names FHIR's JSON gets the resource; any other gets the content. What a browser might
run, such as HTML or SVG, is sent for download and in a sandbox: it comes from strangers and is
served at the address of the log-in pages.
"""

from __future__ import annotations

import base64
import binascii
import re

import orjson
from fastapi import Request
from fastapi.responses import Response

from ehr_fhir.errors import Invalid, NotAcceptable, UnsupportedMedia
from ehr_fhir.json_text import parse
from ehr_gateway.http.accept_header import parse_accept, quality_of
from ehr_gateway.http.body import FHIR_JSON, JSON_TYPES, read_body, read_fhir_body
from ehr_gateway.http.header_text import header_text

__all__ = [
    "BINARY",
    "content_response",
    "content_type_of",
    "prefers_content",
    "read_resource_body",
]

BINARY = "Binary"
SECURITY_CONTEXT = "X-Security-Context"
# FHIR's own names, which alone ask for the resource: `application/json` may be the content's type.
_FHIR_TYPES = (FHIR_JSON, "application/json+fhir")
_MEDIA_TYPE = re.compile(
    r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}(?: *; ?[ -:<-~]{1,200}){0,5}"
)
_UNKNOWN = "application/octet-stream"
# Shown by browsers without running anything in them. Others are for download.
_PASSIVE = frozenset(
    {
        "application/dicom", "application/pdf", "audio/mpeg", "audio/ogg", "audio/wav", "image/bmp",
        "image/gif", "image/jpeg", "image/png", "image/tiff", "image/webp", "text/plain",
        "video/mp4", "video/ogg", "video/webm",
    }
)  # fmt: skip
_SANDBOX = "sandbox; default-src 'none'; base-uri 'none'; frame-ancestors 'none'"


async def read_resource_body(request: Request) -> bytes:
    """Return the body of a create or update as JSON; content sent to Binary becomes a Binary."""
    if request.path_params.get("resource_type") != BINARY:
        return await read_fhir_body(request)
    header = request.headers.get("content-type", "")
    kind = header.partition(";")[0].strip().lower()
    if kind in _FHIR_TYPES:
        return _without_context_header(request, await read_fhir_body(request))
    if not _MEDIA_TYPE.fullmatch(header.strip()):
        raise UnsupportedMedia("Say by Content-Type what the content is, such as application/pdf.")
    content = await read_body(request)
    if kind in JSON_TYPES and _is_binary_resource(content):
        return _without_context_header(request, content)
    resource: dict[str, object] = {"resourceType": BINARY, "contentType": header.strip()}
    if logical_id := request.path_params.get("logical_id"):
        resource["id"] = logical_id
    if (reference := header_text(request, SECURITY_CONTEXT)) is not None:
        resource["securityContext"] = {"reference": reference.strip()}
    resource["data"] = base64.b64encode(content).decode("ascii")
    return orjson.dumps(resource)


def prefers_content(request: Request, content_type: str) -> bool:
    """Say whether a client prefers the content to the resource.

    Raises NotAcceptable if it takes neither. `_format` goes before Accept and asks for one.
    """
    if "_format" in request.query_params:
        return False
    ranges = parse_accept(request.headers.get("accept", ""))
    native = content_type.partition(";")[0].strip().lower()
    as_content = quality_of([native], ranges)
    as_resource = quality_of(_FHIR_TYPES, ranges)
    if as_resource[1] < 3 and native not in JSON_TYPES:
        # Many clients ask for FHIR by this name.
        as_json = quality_of(["application/json", "text/json"], ranges)
        as_resource = as_json if as_json[1] == 3 else (0.0, 0)
    elif as_resource[1] < 3:
        as_resource = 0.0, 0
    if as_content[0] == as_resource[0] == 0:
        raise NotAcceptable(f"Accept: it is served as its own type, or as {FHIR_JSON}.")
    return as_content >= as_resource


def content_response(body: bytes, headers: dict[str, str]) -> Response:
    """Return the content of a serialized Binary under its own type."""
    resource = orjson.loads(body)
    try:
        content = base64.b64decode(resource.get("data", ""))
    except (binascii.Error, ValueError):
        content = b""
    content_type = content_type_of(resource)
    response = Response(content, headers={**headers, **_content_headers(content_type)})
    # Not handed over at once: Starlette would add a charset to a type of text.
    response.media_type = content_type
    return response


def content_type_of(resource: dict[str, object]) -> str:
    """Return the type of a Binary's content; one that is no media type is not told to browsers."""
    stored = str(resource.get("contentType", ""))
    return stored if _MEDIA_TYPE.fullmatch(stored) else _UNKNOWN


def _content_headers(content_type: str) -> dict[str, str]:
    headers = {
        "Content-Type": content_type,
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
        "Vary": "Accept",
    }
    if content_type.partition(";")[0].strip().lower() not in _PASSIVE:
        headers |= {"Content-Disposition": "attachment", "Content-Security-Policy": _SANDBOX}
    return headers


def _is_binary_resource(content: bytes) -> bool:
    try:
        return parse(content).get("resourceType") == BINARY
    except Invalid:
        return False


def _without_context_header(request: Request, body: bytes) -> bytes:
    if SECURITY_CONTEXT in request.headers:
        # Not passed over: the sender relies on it that the content is closed as that record is.
        raise Invalid(f"{SECURITY_CONTEXT} is for raw content; a resource has securityContext.")
    return body
