"""The outermost guard of each request: its id, its count, its audit entries, and no fault told.

What an answer discloses is on record before its first byte leaves. A fault of the server answers
with a bare 500, since the text of an exception may hold values of a record.
"""

from __future__ import annotations

import logging
import os
import re
import time
import traceback
from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ehr_fhir.errors import EhrError, Fault, NotFound
from ehr_gateway.audit_log.asked_about import defer_request_rows
from ehr_gateway.audit_log.batcher import AuditEntry
from ehr_gateway.deadline import DEFAULT_PATIENCE_SECONDS, Deadline, deadline_of
from ehr_gateway.http.authentication import current_audit_context
from ehr_gateway.http.error_responses import error_response
from ehr_gateway.http.metrics import Metrics
from ehr_gateway.http.threads import release_place

__all__ = ["RequestGuard"]

_LOG = logging.getLogger("ehr_gateway")
_REQUEST_ID = re.compile(r"^[A-Za-z0-9-]{8,64}$")
# By when every request is answered. Chosen: the largest Bundle (`max_bundle_entries`) takes tens of
# seconds. A statement on PostgreSQL has half of it (`database.postgresql`).
_REQUEST_SECONDS = 120.0
# Of `Prefer`; a name that ends in "wait" is another one.
_WAIT = re.compile(rb'(?:^|[,;\s])wait\s*=\s*"?([0-9]{1,4})\b', re.IGNORECASE)
# Chosen: whoever waits longer for a page has gone; proxies give up after a minute.
_MAX_PATIENCE_SECONDS = 30.0
# Frames of a traceback that are logged, without the values in them.
_LOGGED_FRAMES = 6
# Of every answer that does not say otherwise: no sniffing, framing, scripts or keeping.
_SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; base-uri 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


class RequestGuard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        # The server marks it when the client goes away (`ehr_cli.server.protocol`).
        state["deadline"] = deadline = Deadline(
            time.monotonic() + _REQUEST_SECONDS, _patience(scope)
        )
        # 0 until the answer begins.
        status = 0
        # Set when the audit log refused, and the answer was replaced by that error.
        is_withheld = False
        request_id_header = (b"x-request-id", request_id.encode())

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                # The server does not read the connection's next request at once (as above).
                state["is_overloaded"] = status == 503
                message["headers"] = [
                    *_with_security_headers(message["headers"]),
                    request_id_header,
                ]
            await send(message)

        async def send_when_recorded(message: Message) -> None:
            nonlocal is_withheld
            if entries := _take_audit_entries(scope):
                try:
                    await scope["app"].state.gateway.audit_batcher.write(entries)
                except EhrError as error:
                    is_withheld = True
                    await error_response(error)(scope, receive, send_with_headers)
            # A client that reads slowly holds no place at work.
            release_place(scope)
            if not is_withheld:
                await send_with_headers(message)

        try:
            if "\0" in scope["path"]:
                # PostgreSQL refuses it in any text, and no store holds it.
                nowhere = NotFound("There is nothing at this address.")
                await error_response(nowhere)(scope, receive, send_with_headers)
                return
            with deadline_of(deadline):
                await self._app(scope, receive, send_when_recorded)
        except Exception as error:
            _log_fault(request_id, error)
            if status:
                # The answer has begun and cannot be replaced: the server drops the connection.
                raise
            fault = Fault(f"The server failed. Quote request {request_id} to its operator.")
            await error_response(fault)(scope, receive, send_with_headers)
        finally:
            release_place(scope)
            self._metrics.count(scope, status)


def _take_audit_entries(scope: Scope) -> Sequence[AuditEntry]:
    """Return what goes on record before the response begins: once, then nothing."""
    state = scope["state"]
    entries: Sequence[AuditEntry] = state.pop("audit_entries", ())
    inquiry = state.pop("inquiry", None)
    if not inquiry:
        return entries
    # The inquiry is part of an authenticated request.
    audit_context = current_audit_context(state)
    assert audit_context is not None  # noqa: S101
    gateway = scope["app"].state.gateway
    base = gateway.settings.fhir_base
    return [defer_request_rows(entries, inquiry, audit_context, gateway.store, base)]


def _log_fault(request_id: str, error: Exception) -> None:
    """Log where an exception was raised, never its text, which may hold values of a record."""
    places = " < ".join(
        f"{frame.name}:{frame.lineno}"
        for frame in reversed(traceback.extract_tb(error.__traceback__)[-_LOGGED_FRAMES:])
    )
    _LOG.error("request %s failed: %s at %s", request_id, type(error).__name__, places)


def _with_security_headers(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    present = {name.lower() for name, _ in headers}
    return [*headers, *(header for header in _SECURITY_HEADERS if header[0] not in present)]


def _patience(scope: Scope) -> float:
    """Return for how long the client would rather wait than be refused (RFC 7240 §4.3)."""
    for name, value in scope["headers"]:
        if name == b"prefer" and (wait := _WAIT.search(value)):
            return min(float(wait[1]), _MAX_PATIENCE_SECONDS)
    return DEFAULT_PATIENCE_SECONDS


def _request_id(scope: Scope) -> str:
    """Return the client's own request id if it is harmless in logs, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.match(sent := value.decode("latin-1")):
            return str(sent)
    return os.urandom(16).hex()
