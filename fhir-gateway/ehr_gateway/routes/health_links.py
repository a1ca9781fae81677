"""The addresses of SMART Health Links (HL7 SMART Health Cards and Links 1.0.0, Links).

They need no access token: a link is opened by its address, which has 256 random bits, and a
passcode. Viewers of other origins may open them.
"""

from __future__ import annotations

import anyio.to_thread
import orjson
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from ehr_fhir.dates import format_instant
from ehr_fhir.errors import Invalid, TooMany
from ehr_gateway.gateway import GatewayDependency
from ehr_gateway.health_links.link_format import CONTENT_TYPE
from ehr_gateway.health_links.open_link import (
    OpenedLink,
    WrongPasscode,
    fetch_file,
    open_link,
)
from ehr_gateway.http.body import read_short_json

router = APIRouter(prefix="/shl")
_JOSE = "application/jose"
_MOST_EMBEDDED = 2**31
# Seconds that a viewer should leave between two requests of a live link. Chosen.
_RETRY_SECONDS = "60"


@router.post("/{token}")
async def request_manifest(token: str, request: Request, gateway: GatewayDependency) -> Response:
    """Answer with the manifest of a link: one file, embedded unless the receiver wants it apart."""
    sent = await _read_request(request)
    address = request.client.host if request.client else None
    try:
        opened = await anyio.to_thread.run_sync(
            lambda: open_link(
                gateway,
                token,
                recipient=_text(sent, "recipient", is_required=True),
                passcode=_text(sent, "passcode"),
                most=_read_most(sent),
                address=address,
            )
        )
    except WrongPasscode as error:
        return JSONResponse({"remainingAttempts": error.tries_left}, 401)
    except TooMany as error:
        return JSONResponse({"error": str(error)}, 429, headers={"Retry-After": _RETRY_SECONDS})
    headers = {"Retry-After": _RETRY_SECONDS} if opened.is_live else None
    url = f"{gateway.settings.base_url}/shl/{token}/{opened.ticket}"
    return JSONResponse(_build_manifest(opened, url), headers=headers)


@router.get("/{token}/{ticket}")
async def request_file(
    token: str, ticket: str, request: Request, gateway: GatewayDependency
) -> Response:
    """Answer with the file of a link that was opened a moment ago."""
    address = request.client.host if request.client else None
    file = await anyio.to_thread.run_sync(fetch_file, gateway, token, ticket, address)
    return Response(file, media_type=_JOSE)


def _build_manifest(opened: OpenedLink, url: str) -> dict[str, object]:
    file: dict[str, object] = {"contentType": CONTENT_TYPE}
    if opened.file is not None:
        file["embedded"] = opened.file
    else:
        file["location"] = url
    if opened.is_live:
        file["lastUpdated"] = format_instant(opened.at_ms)
    return {"status": "can-change" if opened.is_live else "finalized", "files": [file]}


async def _read_request(request: Request) -> dict[str, object]:
    body = await read_short_json(request)
    try:
        sent = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Invalid("The request is no JSON.") from error
    if not isinstance(sent, dict):
        raise Invalid("The request is a JSON object.")
    return sent


def _text(sent: dict[str, object], name: str, *, is_required: bool = False) -> str:
    value = sent.get(name, "")
    if not isinstance(value, str) or (is_required and not value.strip()):
        raise Invalid(f"`{name}` is a text.", expression=name)
    return value


def _read_most(sent: dict[str, object]) -> int:
    most = sent.get("embeddedLengthMax", _MOST_EMBEDDED)
    # In Python a bool is an int.
    if not isinstance(most, int) or isinstance(most, bool) or most < 0:
        raise Invalid("`embeddedLengthMax` is a whole number.", expression="embeddedLengthMax")
    return most
