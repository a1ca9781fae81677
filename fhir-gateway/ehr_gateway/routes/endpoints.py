"""Where a FHIR request is worked: on the event loop, or on a thread of the pool.

On an embedded store (SQLite) a look-up by key and a short write take less time than a change of
thread, so the event loop makes them itself; what may take longer goes to a thread, so that the
others do not wait. On a database server look-ups and searches run on the event loop too, which
serves others while they wait for the network; what else there is waits on a thread.

Each function makes an endpoint of a handler: `handler(context, **path_params)`, with `body=` where
the request has one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from ehr_gateway.database import BudgetExceeded, run_cooperatively
from ehr_gateway.gateway import gateway_of
from ehr_gateway.http.authentication import authenticate
from ehr_gateway.http.threads import (
    check_room,
    run_in_thread,
    run_on_loop,
    take_loop_turn,
    take_place,
)
from ehr_gateway.routes.route import Endpoint
from ehr_gateway.transaction.write_batch import WriteJob, run_write

__all__ = ["in_thread", "lookup", "search_within_budget", "short_write"]

_Handler = Callable[..., Response]
_BodyReader = Callable[[Request], Awaitable[Any]]
# Validating and indexing a body of this many bytes takes about a millisecond; longer ones would
# hold up every other request of the event loop.
_SHORT_BODY_BYTES = 8192


def in_thread(handler: _Handler, *, read_body: _BodyReader | None = None) -> Endpoint:
    """Run a handler on a thread of the pool; its body is read on the event loop."""

    async def endpoint(request: Request, path_params: dict[str, str]) -> Response:
        check_room(request)
        context = await authenticate(request)
        if read_body is None:
            return await run_in_thread(request, handler, context, **path_params)
        body = await read_body(request)
        return await run_in_thread(request, handler, context, **path_params, body=body)

    return endpoint


def lookup(handler: _Handler) -> Endpoint:
    """Run a look-up by key on the event loop."""

    async def endpoint(request: Request, path_params: dict[str, str]) -> Response:
        gateway = gateway_of(request)
        is_embedded = gateway.store.embedded is not None
        if is_embedded:
            await gateway.loop.take_turn()
        else:
            gateway.threads.check_room()
        context = await authenticate(request)
        if is_embedded:
            return handler(context, **path_params)
        return await run_on_loop(request, handler, context, **path_params)

    return endpoint


def search_within_budget(handler: _Handler) -> Endpoint:
    """Try a search on the event loop; begin it again on a thread when its budget is exceeded."""

    async def endpoint(request: Request, path_params: dict[str, str]) -> Response:
        # First, though it may need no thread: one that does costs the loop its whole budget.
        check_room(request)
        if gateway_of(request).store.embedded is not None:
            await take_loop_turn(request)
        context = await authenticate(request)
        embedded = context.gateway.store.embedded
        if embedded is None:
            return await run_on_loop(request, handler, context, **path_params)
        try:
            with embedded.with_budget():
                return handler(context, **path_params)
        except BudgetExceeded:
            # The other requests wait no longer for this one.
            pass
        return await run_in_thread(request, handler, context, **path_params)

    return endpoint


def short_write(
    prepare: Callable[..., WriteJob[Response]], *, read_body: _BodyReader | None = None
) -> Endpoint:
    """Prepare a write, then hand the job that stores it to the event loop's writer.

    A long body is validated, indexed and stored on a thread.
    """

    async def endpoint(request: Request, path_params: dict[str, str]) -> Response:
        gateway = gateway_of(request)
        is_embedded = gateway.store.embedded is not None
        if not is_embedded:
            check_room(request)
        context = await authenticate(request)
        prepare_job, is_short = partial(prepare, context, **path_params), True
        if read_body is not None:
            body = await read_body(request)
            prepare_job, is_short = partial(prepare_job, body=body), len(body) <= _SHORT_BODY_BYTES
        if not is_short:
            return await run_in_thread(request, lambda: run_write(gateway.store, prepare_job()))
        if is_embedded:
            await take_loop_turn(request)
            return await gateway.writer.write(prepare_job())
        await take_place(request.scope, gateway.threads)
        return await gateway.writer.write(await run_cooperatively(prepare_job))

    return endpoint
