"""Every error as an OperationOutcome; and a guard outside it that lets no detail of a fault out."""

from __future__ import annotations

import logging
import re
import traceback
import uuid

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ehr_fhir import definitions
from ehr_fhir.errors import (
    EhrError,
    Fault,
    Invalid,
    NotFound,
    Unsupported,
    http_status,
    operation_outcome,
)
from ehr_gateway.audit_log import recorder
from ehr_gateway.http.authentication import add_audit_entry
from ehr_gateway.http.metrics import Metrics
from ehr_gateway.http.negotiation import json_response, pretty_asked
from ehr_gateway.http.oauth_errors import OAUTH_PATHS, OAuthError, oauth_answer

_LOG = logging.getLogger("ehr_gateway")
_REQUEST_ID = re.compile(r"^[A-Za-z0-9-]{8,64}$")
_ID = re.compile(r"^[A-Za-z0-9.-]{1,64}$")
# Of every answer that says nothing else: not to be guessed at, framed, shown as a page, or kept.
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; base-uri 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


def install(app: FastAPI, metrics: Metrics) -> None:
    """Make every error of the application answer with an OperationOutcome."""
    app.add_exception_handler(EhrError, ehr_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_middleware(Guard, metrics=metrics)


class Guard:
    """Gives each request its id, counts it, and turns a fault of ours into a bare 500."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        status, stopped, name = 0, False, request_id.encode()

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*_marked(message["headers"]), (b"x-request-id", name)]
            await send(message)

        async def watched(message: Message) -> None:
            # What an answer discloses is on record before its first byte leaves.
            nonlocal stopped
            if notes := scope["state"].pop("notes", None):
                try:
                    await scope["app"].state.gateway.auditor.write(notes)
                except EhrError as error:
                    stopped = True
                    await _render(error)(scope, receive, counted)
            if not stopped:
                await counted(message)

        try:
            if "\0" in scope["path"]:
                # Not every database takes it, and none holds it.
                nowhere = NotFound("There is nothing at this address.")
                await _render(nowhere)(scope, receive, counted)
                return
            await self._app(scope, receive, watched)
        except Exception as error:
            # The text of the error, and so its traceback, may hold values of a record: only places.
            places = " < ".join(
                f"{frame.name}:{frame.lineno}"
                for frame in reversed(traceback.extract_tb(error.__traceback__)[-6:])
            )
            _LOG.error("request %s failed: %s at %s", request_id, type(error).__name__, places)
            if status:
                raise
            fault = Fault(f"The server failed. Quote request {request_id} to its operator.")
            await _render(fault)(scope, receive, counted)
        finally:
            self._metrics.count(scope, status)


def _marked(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    said = {name.lower() for name, _ in headers}
    return [*headers, *(header for header in _HEADERS if header[0] not in said)]


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.match(given := value.decode("latin-1")):
            return str(given)
    return uuid.uuid4().hex


async def ehr_error(request: Request, error: Exception) -> Response:
    """Answer with an error, and put the refusal on record."""
    if not isinstance(error, EhrError):
        raise error
    _note_refusal(request, http_status(error))
    if isinstance(error, OAuthError) or request.url.path in OAUTH_PATHS:
        return oauth_answer(error)
    return _render(error, pretty=pretty_asked(request))


async def _http_exception(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 405:
        headers = getattr(error, "headers", None) or {}
        return _render(Unsupported("This address does not take this method."), headers)
    if status == 404:
        return _render(NotFound("There is nothing at this address."))
    return _render(Invalid("The request is malformed."))


async def _validation_error(request: Request, error: Exception) -> Response:
    # Its details repeat the input; the place is enough.
    return _render(Invalid("A parameter of the request is malformed."))


def _render(
    error: EhrError, headers: dict[str, str] | None = None, *, pretty: bool = False
) -> Response:
    status = http_status(error)
    extra = {"Cache-Control": "no-store", **(headers or {})}
    if status == 401:
        extra["WWW-Authenticate"] = 'Bearer realm="eHR Commons"'
    if status == 503:
        extra["Retry-After"] = "1"
    return json_response(operation_outcome(error), status, headers=extra, pretty=pretty)


def _note_refusal(request: Request, status: int) -> None:
    """Note the refusal alone: what was found before it does not leave."""
    state = request.scope["state"]
    state.pop("notes", None)
    audit_context: recorder.AuditContext | None = state.get("audit_context")
    if audit_context is not None:
        attempted = _attempted(request)
        refusal = recorder.refusal(audit_context=audit_context, status=status, attempted=attempted)
        add_audit_entry(request, refusal)


def _attempted(request: Request) -> str | None:
    kind = str(request.path_params.get("resource_type", ""))
    logical_id = str(request.path_params.get("logical_id", ""))
    known = kind in definitions.resource_types() and _ID.match(logical_id)
    return f"{kind}/{logical_id}" if known else None
