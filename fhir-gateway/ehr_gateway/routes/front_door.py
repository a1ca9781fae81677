"""The front door of the FHIR API: every request under `/fhir` by one table of routes.

FastAPI's own routing matches an address against every route in turn and resolves each route's
dependencies, which costs a multiple of what a read costs. It serves what is not FHIR REST: log-in,
OAuth, discovery, health; the application hands it everything for which `is_fhir_path` is false.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import Request
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from ehr_fhir import definitions
from ehr_fhir.errors import EhrError, NotFound, Unsupported
from ehr_gateway.http.authentication import authenticate
from ehr_gateway.http.content_coding import compress_response
from ehr_gateway.http.error_responses import answer_error, error_response
from ehr_gateway.operations.declaration import Level
from ehr_gateway.operations.registry import operation_names
from ehr_gateway.routes.route import AUDIT_LOG, FHIR_PREFIX, OPERATION_SIGN, RouteTable

__all__ = ["FrontDoor", "is_fhir_path"]

# SMART's discovery document lies beside the resource types, and is OAuth's.
_NOT_FHIR = f"{FHIR_PREFIX}/.well-known/"
_AUDIT_LOG = f"{FHIR_PREFIX}/{AUDIT_LOG}/"
# By the number of segments before an operation's name: its level, and the level in words.
_LEVELS: tuple[tuple[Level, str], ...] = (
    ("system", "of the whole system"),
    ("type", "of the type {type}"),
    ("instance", "of one {type}"),
)
# No operation has a longer name; what a client makes up is cut.
_LONGEST_NAME = 65


def is_fhir_path(path: str) -> bool:
    """Say whether a path belongs to the FHIR API, served or not.

    >>> is_fhir_path("/fhir/Patient"), is_fhir_path("/fhir/.well-known/smart-configuration")
    (True, False)
    """
    return path == FHIR_PREFIX or (
        path.startswith(f"{FHIR_PREFIX}/") and not path.startswith(_NOT_FHIR)
    )


class FrontDoor:
    """ASGI application that answers FHIR requests."""

    def __init__(self, table: RouteTable) -> None:
        self._table = table

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive, send)
        try:
            response = await self._answer(request)
        except EhrError as error:
            response = await answer_error(request, error)
            if response.status_code == 405:
                response.headers["Allow"] = ", ".join(self._allowed_methods(request))
        await (await compress_response(request, response))(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        scope, path = request.scope, request.scope["path"]
        route = self._table.find(scope["method"], path)
        if route is None:
            return self._refuse(request)
        # Where Starlette puts them, too: the metrics read the one, the audit log the other.
        scope["route"] = route
        scope["path_params"] = route.path_params(path)
        if f"{path}/".startswith(_AUDIT_LOG) or route.needs_query:
            await self._check_method(request)
        return await route.endpoint(request, scope["path_params"])

    async def _check_method(self, request: Request) -> None:
        """Refuse a write that every other type takes, or that takes criteria, before its body."""
        allowed = self._allowed_methods(request)
        if not allowed or request.method in allowed:
            return
        # Authenticated, so that the attempt is on record.
        await authenticate(request)
        if request.path_params.get("resource_type", AUDIT_LOG) == AUDIT_LOG:
            raise Unsupported("The audit log is written by the server alone.")
        raise Unsupported("Name the resource by its id, or by search criteria in the address.")

    def _refuse(self, request: Request) -> Response:
        if allowed := self._allowed_methods(request):
            refusal = Unsupported("This address does not take this method.")
            return error_response(refusal, {"Allow": ", ".join(allowed)})
        segments = request.scope["path"].split("/")[2:]
        if segments and segments[-1].startswith(OPERATION_SIGN):
            return error_response(_no_such_operation(segments))
        return error_response(NotFound("There is nothing at this address."))

    def _allowed_methods(self, request: Request) -> tuple[str, ...]:
        has_query = bool(request.scope["query_string"])
        return self._table.allowed_methods(request.scope["path"], has_query=has_query)


def _no_such_operation(segments: Sequence[str]) -> NotFound:
    """Return the refusal of an operation that is not at this level, with those that are."""
    *place, called = segments
    resource_type = place[0] if place else ""
    if len(place) >= len(_LEVELS) or (place and resource_type not in definitions.resource_types()):
        return NotFound("There is nothing at this address.")
    level, words = _LEVELS[len(place)]
    names = [f"${name}" for name in operation_names(level, resource_type)]
    there = f"there are {', '.join(names)}" if names else "there are none"
    return NotFound(
        f"There is no operation {called[:_LONGEST_NAME]} {words.format(type=resource_type)};"
        f" {there}.",
        issue_code="not-supported",
    )
