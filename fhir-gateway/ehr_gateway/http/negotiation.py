"""Content negotiation and preconditions: Accept, `_format`, Prefer, ETag, If-Match (RFC 9110)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache
from typing import Any

import orjson
from fastapi import Request
from fastapi.responses import Response

from ehr_fhir.errors import Invalid, NotAcceptable, PreconditionFailed
from ehr_fhir.json_text import pretty as indented
from ehr_gateway.http.body import FHIR_JSON

_JSON = frozenset({FHIR_JSON, "application/json", "application/json+fhir", "json", "text/json"})
_WILDCARDS = frozenset({"*/*", "application/*", "text/*"})
_FHIR_HEADERS = (
    (b"content-type", FHIR_JSON.encode()),
    # Clients that keep a version by its ETag do so themselves; browsers keep nothing.
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)
_STATUS_WITHOUT_BODY = (204, 304)
_ETAG = re.compile(r'^(?:W/)?"([1-9][0-9]{0,9})"$')
_RETURNS = ("minimal", "representation", "OperationOutcome")
# Parameters that shape the response of any interaction, and no search parameters. `_totalMethod` is
# not FHIR's, but fhirpy sends it to count; every total here is exact, so it asks for nothing.
GENERAL_PARAMETERS = frozenset({"_format", "_pretty", "_totalMethod"})


@dataclass(frozen=True)
class Preferences:
    """What the client asks of the response: by `Prefer` and `_pretty`."""

    returns: str = "representation"
    lenient: bool = False
    pretty: bool = False


def parse_preferences(request: Request, *, any_type: bool = False) -> Preferences:
    """Read Accept, `_format`, `_pretty` and Prefer; refuse what cannot be served.

    With `any_type` Accept may name other types: the answer may be in one of them.
    """
    queried = bool(request.scope["query_string"])
    headers = request.headers
    return _parse_preferences(
        request.query_params.get("_format") if queried else None,
        is_pretty(request) if queried else False,
        "" if any_type else headers.get("accept", ""),
        ",".join(headers.getlist("prefer")),
    )


# A client sends the same headers with each request.
@lru_cache(maxsize=256)
def _parse_preferences(
    format_parameter: str | None, pretty: bool, accept: str, prefer_header: str
) -> Preferences:
    _check_format(format_parameter, accept)
    prefer = _parse_prefer(prefer_header)
    returns = prefer.get("return", "representation")
    handling = prefer.get("handling", "strict")
    if returns not in _RETURNS or handling not in ("strict", "lenient"):
        raise Invalid(
            "Prefer: return is minimal, representation or OperationOutcome; "
            "handling is strict or lenient."
        )
    return Preferences(returns, handling == "lenient", pretty)


def is_pretty(request: Request) -> bool:
    """Say whether `_pretty` asks for an indented response."""
    return request.query_params.get("_pretty", "false") == "true"


def etag(version: int) -> str:
    """Return the weak ETag of a version.

    >>> etag(3)
    'W/"3"'
    """
    return f'W/"{version}"'


def parse_if_match(request: Request) -> int | None:
    """Return the version that If-Match names; None without that header."""
    header = request.headers.get("if-match")
    if header is None:
        return None
    match = _ETAG.match(header.strip())
    if match is None:
        raise PreconditionFailed('If-Match takes one ETag of a version, such as W/"3".')
    return int(match[1])


def requires_new(request: Request) -> bool:
    """Say whether a write may only create: If-None-Match: * (RFC 9110 §13.1.2)."""
    header = request.headers.get("if-none-match")
    if header is not None and header.strip() != "*":
        raise PreconditionFailed("If-None-Match of a write takes `*` alone.")
    return header is not None


def is_not_modified(request: Request, version: int, last_updated_ms: int) -> bool:
    """Say whether the client has this version; the ETag goes before the date (RFC 9110 §13.2.2)."""
    tags = request.headers.get("if-none-match")
    if tags is not None:
        return tags.strip() == "*" or _opaque_tag(etag(version)) in map(
            _opaque_tag, tags.split(",")
        )
    since = request.headers.get("if-modified-since")
    if since is None:
        return False
    try:
        moment = parsedate_to_datetime(since)
    except ValueError:
        return False
    return last_updated_ms // 1000 <= moment.timestamp()


def http_date(ms: int) -> str:
    """Return an instant as an HTTP date.

    >>> http_date(0)
    'Thu, 01 Jan 1970 00:00:00 GMT'
    """
    return _http_date(ms // 1000)


@lru_cache(maxsize=4096)
def _http_date(seconds: int) -> str:
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)


def fhir_response(
    body: bytes,
    status: int = 200,
    *,
    headers: Mapping[str, str] | None = None,
    pretty: bool = False,
) -> Response:
    """Return FHIR JSON; the bytes are sent as they are unless `_pretty` is asked for."""
    if pretty and body:
        body = indented(body)
    return FhirResponse(body, status, headers or {})


class FhirResponse(Response):
    """A response of FHIR JSON from bytes; Starlette's own takes any content and any header."""

    media_type = FHIR_JSON
    background = None

    def __init__(self, body: bytes, status: int, headers: Mapping[str, str]) -> None:
        self.body = body
        self.status_code = status
        raw_headers = [
            *_FHIR_HEADERS,
            *[(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        ]
        if status not in _STATUS_WITHOUT_BODY:
            raw_headers.append((b"content-length", b"%d" % len(body)))
        self.raw_headers = raw_headers


def json_response(
    content: Any,
    status: int = 200,
    *,
    media_type: str = FHIR_JSON,
    headers: Mapping[str, str] | None = None,
    pretty: bool = False,
) -> Response:
    """Return any JSON value."""
    body = orjson.dumps(content, option=orjson.OPT_INDENT_2 if pretty else None)
    return Response(body, status, media_type=media_type, headers=dict(headers or {}))


def _check_format(format_parameter: str | None, accept: str) -> None:
    if format_parameter is not None:
        # A plus sign in a query means a space; "application/fhir json" is what many clients send.
        if not _is_served(format_parameter.strip().replace(" ", "+"), _JSON):
            raise NotAcceptable(f"_format: only {FHIR_JSON} of R4 is served; XML is not.")
        return
    if not any(
        _is_served(part, _JSON | _WILDCARDS) for part in (accept.strip() or "*/*").split(",")
    ):
        raise NotAcceptable(f"Accept: only {FHIR_JSON} of R4 is served; XML is not.")


def _is_served(media_type: str, known: frozenset[str]) -> bool:
    kind, *rest = (part.strip(" +").lower() for part in media_type.split(";"))
    parameters = dict(part.partition("=")[::2] for part in rest)
    return (
        kind in known
        and parameters.get("fhirversion", "4.0").strip('"') in ("4.0", "4.0.1")
        and parameters.get("q", "1") not in ("0", "0.0", "0.00", "0.000")
    )


def _parse_prefer(header: str) -> dict[str, str]:
    words = (word.strip().partition("=") for word in re.split("[,;]", header))
    return {name.strip().lower(): value.strip('" ') for name, _, value in words if name}


def _opaque_tag(tag: str) -> str:
    """Return an ETag without its mark of weakness, since If-None-Match compares weakly."""
    return tag.strip().removeprefix("W/")
