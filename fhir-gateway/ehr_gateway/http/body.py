"""Request bodies: media type checked, read in pieces, refused as soon as they are too large."""

from __future__ import annotations

from fastapi import Request

from ehr_fhir.errors import Invalid, TooCostly, UnsupportedMedia
from ehr_fhir.patch.patch import JSON_PATCH, Patch, parse_patch_body
from ehr_fhir.search.query_string import parse_query_pairs
from ehr_gateway.gateway import gateway_of
from ehr_gateway.http.content_coding import content_decoder
from ehr_gateway.http.threads import run_in_thread

FHIR_JSON = "application/fhir+json"
JSON_TYPES = frozenset({FHIR_JSON, "application/json", "application/json+fhir"})
_FORM = "application/x-www-form-urlencoded"
# Of a search by form or an OAuth request, which are short. Chosen.
_MAX_FORM_BYTES = 64 * 1024


async def read_fhir_body(request: Request) -> bytes:
    """Return the body of a FHIR request; it must be JSON and within the limit."""
    kind, _ = _parse_content_type(request)
    if kind not in JSON_TYPES:
        raise UnsupportedMedia(
            f"Send the resource as {FHIR_JSON}. XML and other formats are not supported."
        )
    return await _read_json(request)


async def read_patch(request: Request) -> Patch:
    """Return a JSON Patch (RFC 6902) or a FHIRPath Patch; the media type tells which."""
    kind, _ = _parse_content_type(request)
    if kind not in JSON_TYPES | {JSON_PATCH}:
        raise UnsupportedMedia(f"Send a patch as {JSON_PATCH}, or as Parameters in {FHIR_JSON}.")
    body = await _read_json(request)
    return await run_in_thread(request, parse_patch_body, body, kind)


async def _read_json(request: Request) -> bytes:
    _, parameters = _parse_content_type(request)
    if parameters.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise UnsupportedMedia("FHIR JSON is in UTF-8; no other charset is supported.")
    return await read_body(request)


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form that takes each of them once."""
    pairs = await read_form_pairs(request)
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Invalid("A field of the form is there twice.")
    return fields


async def read_form_pairs(request: Request) -> list[tuple[str, str]]:
    """Return the fields of a form in order; an empty body has none."""
    kind, _ = _parse_content_type(request)
    body = await _read_bytes(request, _MAX_FORM_BYTES)
    if not body:
        return []
    if kind != _FORM:
        raise UnsupportedMedia(f"Send the fields as {_FORM}.")
    try:
        return parse_query_pairs(body.decode("utf-8"))
    except ValueError as error:
        raise Invalid("The form cannot be read.") from error


async def read_short_json(request: Request) -> bytes:
    """Return a JSON body of a stranger, of 64 KB at most."""
    kind, _ = _parse_content_type(request)
    if kind not in JSON_TYPES:
        raise UnsupportedMedia("Send the request as application/json.")
    return await _read_bytes(request, _MAX_FORM_BYTES)


async def read_body(request: Request) -> bytes:
    """Return a body of any type within the limit, its content coding undone; one is needed."""
    body = await _read_bytes(request, gateway_of(request).settings.max_body_bytes)
    if not body.strip():
        raise Invalid("The request has no body, but needs one.")
    return body


async def _read_bytes(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    decoder = content_decoder(request.headers.get("content-encoding", ""))
    # Counted as it arrives: a chunked body declares no length, and a declared one may be wrong. A
    # compressed one is counted as it unfolds, so that a few bytes do not become gigabytes.
    pieces, size = [], 0
    async for sent in request.stream():
        piece = sent if decoder is None else decoder.decode(sent, limit + 1 - size)
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        pieces.append(piece)
    if decoder is not None:
        decoder.check_end()
    return b"".join(pieces)


def _too_large(limit: int) -> TooCostly:
    return TooCostly(f"The request body is larger than {limit} bytes. Send it in smaller parts.")


def _parse_content_type(request: Request) -> tuple[str, dict[str, str]]:
    kind, *rest = request.headers.get("content-type", "").split(";")
    attributes = (part.strip().partition("=") for part in rest)
    return kind.strip().lower(), {key.lower(): value.strip('" ') for key, _, value in attributes}
