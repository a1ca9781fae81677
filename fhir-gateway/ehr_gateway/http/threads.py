"""Run the work of a FHIR request on a thread, if its turn will come in time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

from fastapi import Request

from ehr_gateway.gateway import gateway_of

__all__ = ["check_room", "run_in_thread"]

P = ParamSpec("P")
T = TypeVar("T")


async def run_in_thread(
    request: Request, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run a function of a request on a thread; raise Unavailable if that would be too late."""
    return await gateway_of(request).threads.run(partial(function, *args, **kwargs))


def check_room(request: Request) -> None:
    """Raise Unavailable, before any work is done, if the request would wait too long."""
    gateway_of(request).threads.check_room()
