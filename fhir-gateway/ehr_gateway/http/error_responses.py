"""Every error of the gateway as an OperationOutcome, and the refusal on record.

At OAuth's own endpoints RFC 6749 fixes the form of errors.
"""

from __future__ import annotations

import re

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from ehr_fhir import definitions
from ehr_fhir.errors import (
    EhrError,
    InsufficientScope,
    Invalid,
    NotFound,
    Unsupported,
    UnsupportedEncoding,
    http_status,
    operation_outcome,
)
from ehr_gateway.audit_log import recorder
from ehr_gateway.http.authentication import add_audit_entry, current_audit_context
from ehr_gateway.http.negotiation import is_pretty, json_response
from ehr_gateway.http.oauth_errors import (
    BEARER_CHALLENGE,
    OAUTH_PATHS,
    OAuthError,
    insufficient_scope_challenge,
    oauth_error_response,
)

__all__ = ["answer_error", "attempted_resource", "error_response", "install_error_handlers"]

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_ID = re.compile(r"^[A-Za-z0-9.-]{1,64}$")


def install_error_handlers(app: FastAPI) -> None:
    """Make every error of FastAPI's routes answer with an OperationOutcome."""
    app.add_exception_handler(EhrError, answer_error)
    app.add_exception_handler(HTTPException, _answer_http_exception)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)


async def answer_error(request: Request, error: Exception) -> Response:
    """Answer with an error of ours, and put the refusal on record."""
    if not isinstance(error, EhrError):
        raise error
    _record_refusal(request, http_status(error))
    if isinstance(error, OAuthError) or request.url.path in OAUTH_PATHS:
        return oauth_error_response(error)
    return error_response(error, pretty=is_pretty(request))


def error_response(
    error: EhrError, headers: dict[str, str] | None = None, *, pretty: bool = False
) -> Response:
    """Return an error as an OperationOutcome with the status of its category."""
    status = http_status(error)
    extra = {"Cache-Control": "no-store", **(headers or {})}
    if status == 401:
        extra["WWW-Authenticate"] = BEARER_CHALLENGE
    if isinstance(error, UnsupportedEncoding):
        extra["Accept-Encoding"] = "gzip"
    if isinstance(error, InsufficientScope):
        extra["WWW-Authenticate"] = insufficient_scope_challenge(error.scope)
    if status == 503:
        extra["Retry-After"] = "1"
    return json_response(operation_outcome(error), status, headers=extra, pretty=pretty)


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 405:
        # Starlette's own header lists the methods of one route alone.
        headers = {"Allow": ", ".join(_allowed_methods(request))}
        return error_response(Unsupported("This address does not take this method."), headers)
    if status == 404:
        return error_response(NotFound("There is nothing at this address."))
    return error_response(Invalid("The request is malformed."))


def _allowed_methods(request: Request) -> list[str]:
    """Return the methods that some route takes at the path of a request."""
    return [
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] == Match.FULL
            for route in request.app.routes
        )
    ]


async def _answer_validation_error(request: Request, error: Exception) -> Response:
    # FastAPI's details repeat the input, which may hold a patient's value; the place is enough.
    return error_response(Invalid("A parameter of the request is malformed."))


def _record_refusal(request: Request, status: int) -> None:
    """Put the refusal on record alone: what was found before it does not leave."""
    state = request.scope["state"]
    state.pop("audit_entries", None)
    audit_context = current_audit_context(state)
    if audit_context is not None:
        attempted = attempted_resource(request)
        # Rolled back and not told, but asked for.
        audit_context.inquiry.withdraw_answer()
        if attempted is not None:
            audit_context.inquiry.name_target(*attempted.split("/"))
        refusal = recorder.build_refusal_rows(
            audit_context=audit_context, status=status, attempted=attempted
        )
        add_audit_entry(request, refusal)


def attempted_resource(request: Request) -> str | None:
    """Return the resource that the address of a request names, such as `Patient/1`."""
    resource_type = str(request.path_params.get("resource_type", ""))
    logical_id = str(request.path_params.get("logical_id", ""))
    is_address = resource_type in definitions.resource_types() and _ID.match(logical_id)
    return f"{resource_type}/{logical_id}" if is_address else None
