"""Run the work of a FHIR request on a thread or on the event loop, if its turn comes in time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

import anyio.to_thread
from fastapi import Request
from starlette.types import Scope

from ehr_gateway.database import BudgetExceeded, run_cooperatively
from ehr_gateway.gateway import gateway_of
from ehr_gateway.thread_admission import ThreadAdmission

__all__ = [
    "check_room",
    "release_place",
    "run_in_thread",
    "run_on_loop",
    "take_loop_turn",
    "take_place",
]

P = ParamSpec("P")
T = TypeVar("T")


async def run_in_thread(
    request: Request, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run a function of a request on a thread; raise Unavailable if that would be too late."""
    await take_place(request.scope, gateway_of(request).threads)
    return await anyio.to_thread.run_sync(partial(function, *args, **kwargs))


async def run_on_loop(
    request: Request, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run a reading function of a request on the event loop, which waits for the database.

    One that reads too much for the loop is run again on a thread. As `run_in_thread` it has a place
    among those at work.
    """
    gateway = gateway_of(request)
    await take_place(request.scope, gateway.threads)
    await gateway.cooperative_turns.take()
    try:
        return await run_cooperatively(function, *args, **kwargs)
    except BudgetExceeded:
        pass
    finally:
        gateway.cooperative_turns.give_back()
    return await anyio.to_thread.run_sync(partial(function, *args, **kwargs))


async def take_place(scope: Scope, threads: ThreadAdmission) -> None:
    """Take a place among those at work, kept until the response begins (`release_place`)."""
    if scope["state"].get("place") is None:
        context = scope["state"].get("request_context")
        # Requests without a token, such as log-ins, are nobody's and stand for themselves.
        await threads.enter(context.caller.subject.login if context is not None else "")
        scope["state"]["place"] = threads


def release_place(scope: Scope) -> None:
    """Release the request's place, if it has one."""
    if (threads := scope["state"].pop("place", None)) is not None:
        threads.leave()


def check_room(request: Request) -> None:
    """Raise Unavailable, before any work is done, if the request would wait too long."""
    gateway_of(request).threads.check_room()


async def take_loop_turn(request: Request) -> None:
    """Return when the event loop may answer the request; raise Unavailable if that is too late."""
    await gateway_of(request).loop.take_turn()
