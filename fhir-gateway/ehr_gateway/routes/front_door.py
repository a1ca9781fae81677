"""The front door of the FHIR API: every request under `/fhir` by one table of routes.

FastAPI's own routing matches an address against every route in turn and resolves each route's
dependencies, which costs a multiple of what a read costs. It serves what is not FHIR REST: log-in,
OAuth, discovery, health; the application hands it everything for which `is_fhir_path` is false.
"""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from ehr_fhir.errors import EhrError, NotFound, Unsupported
from ehr_gateway.http.error_responses import answer_error, error_response
from ehr_gateway.routes.route import FHIR_PREFIX, RouteTable

__all__ = ["FrontDoor", "is_fhir_path"]

# SMART's discovery document lies beside the resource types, and is OAuth's.
_NOT_FHIR = f"{FHIR_PREFIX}/.well-known/"


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
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        scope, path = request.scope, request.scope["path"]
        route = self._table.find(scope["method"], path)
        if route is None:
            return self._refuse(path)
        # Where Starlette puts them, too: the metrics read the one, the audit log the other.
        scope["route"] = route
        scope["path_params"] = route.path_params(path)
        return await route.endpoint(request, scope["path_params"])

    def _refuse(self, path: str) -> Response:
        allowed = self._table.allowed_methods(path)
        if not allowed:
            return error_response(NotFound("There is nothing at this address."))
        refusal = Unsupported("This address does not take this method.")
        return error_response(refusal, {"Allow": ", ".join(allowed)})
