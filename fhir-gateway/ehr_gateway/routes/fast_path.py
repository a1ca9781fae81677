"""The most frequent requests, handed to their routes without the framework's detours.

FastAPI matches an address against every route in turn and resolves each route's dependencies: a
multiple of what a read costs. Here a split of the address decides. The routes are the same
functions; every other request goes to FastAPI.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from ehr_fhir import definitions
from ehr_fhir.errors import EhrError
from ehr_gateway.database import BudgetExceeded
from ehr_gateway.http.authentication import RequestContext, authenticate
from ehr_gateway.http.body import fhir_body
from ehr_gateway.routes import resources, search
from ehr_gateway.transaction.event_loop_writer import Job, run_write

__all__ = ["Direct", "direct"]

_OnError = Callable[[Request, Exception], Awaitable[Response]]
_Handler = Callable[[Request, Sequence[str]], Awaitable[Response]]


class Direct:
    """Serves read, search, create and update: what `direct` says yes to."""

    def __init__(self, on_error: _OnError) -> None:
        self._on_error = on_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        handler, parts = scope["direct"]
        request = Request(scope, receive, send)
        try:
            response = await handler(request, parts)
        except EhrError as error:
            response = await self._on_error(request, error)
        await response(scope, receive, send)


async def _read(request: Request, parts: Sequence[str]) -> Response:
    caller = await authenticate(request)
    if caller.gateway.store.embedded is not None:
        # A look-up by key takes less time than a change of thread.
        return resources.read_resource(caller, parts[0], parts[1])
    return await run_in_threadpool(resources.read_resource, caller, parts[0], parts[1])


async def _search(request: Request, parts: Sequence[str]) -> Response:
    caller = await authenticate(request)
    embedded = caller.gateway.store.embedded
    if embedded is not None:
        try:
            with embedded.with_budget():
                return search.search_type(caller, parts[0])
        except BudgetExceeded:
            pass  # the others wait no longer for this one
    return await run_in_threadpool(search.search_type, caller, parts[0])


async def _create(request: Request, parts: Sequence[str]) -> Response:
    caller, body = await authenticate(request), await fhir_body(request)
    return await _write(caller, body, partial(resources.creating, caller, parts[0], body))


async def _update(request: Request, parts: Sequence[str]) -> Response:
    caller, body = await authenticate(request), await fhir_body(request)
    return await _write(caller, body, partial(resources.updating, caller, parts[0], parts[1], body))


async def _write(
    caller: RequestContext, body: bytes, begin: Callable[[], Job[Response]]
) -> Response:
    store, writer = caller.gateway.store, caller.gateway.writer
    if writer is not None and len(body) <= _SHORT:
        return await writer.write(begin())
    return await run_in_threadpool(lambda: run_write(store, begin()))


# In bytes: what takes about a millisecond to make ready.
_SHORT = 8192
_NAMES = ("resource_type", "logical_id")
# By method and number of parts after /fhir/; the path of the route is what is counted.
_HANDLERS: dict[tuple[str, int], tuple[_Handler, str]] = {
    ("GET", 1): (_search, "/fhir/{resource_type}"),
    ("GET", 2): (_read, "/fhir/{resource_type}/{logical_id}"),
    ("POST", 1): (_create, "/fhir/{resource_type}"),
    ("PUT", 2): (_update, "/fhir/{resource_type}/{logical_id}"),
}


class _Route:
    """Stands where FastAPI puts the route it matched."""

    def __init__(self, path: str) -> None:
        self.path = path


_ROUTES = {key: _Route(path) for key, (_, path) in _HANDLERS.items()}


def direct(scope: Scope) -> bool:
    """Say whether a request is one of the frequent ones; if so, its scope names who serves it."""
    path: str = scope["path"]
    if not path.startswith("/fhir/"):
        return False
    parts = path[6:].split("/")
    key = (scope["method"], len(parts))
    if key not in _HANDLERS or parts[0] not in definitions.resource_types():
        return False
    # The log has routes of its own; operations and `_history` begin with a sign.
    if parts[0] == "AuditEvent" or (len(parts) == 2 and not parts[1][:1].isalnum()):
        return False
    scope["route"] = _ROUTES[key]
    scope["path_params"] = dict(zip(_NAMES, parts, strict=False))
    scope["direct"] = (_HANDLERS[key][0], parts)
    return True
