"""Run code that waits for a database on the event loop; while it waits, the loop serves others.

The code is plain functions, the same as on a thread: a greenlet runs them, and hands over to the
loop where they wait. SQLAlchemy's asyncio extension works in the same way. See docs/decisions/010.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import partial
from typing import Any, ParamSpec, TypeVar, cast

from greenlet import getcurrent, greenlet

__all__ = ["is_cooperative", "run_blocking", "run_cooperatively", "wait_for"]

P = ParamSpec("P")
T = TypeVar("T")


class _CooperativeTask(greenlet):  # type: ignore[misc]
    """A function that runs on the event loop and may wait in the midst of it."""

    def __init__(self, function: Callable[[], object]) -> None:
        super().__init__(function)
        # With the request's deadline; what the function sets ends with it.
        self.gr_context = copy_context()


async def run_cooperatively(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function on the event loop; it may `wait_for` something.

    >>> from anyio.from_thread import start_blocking_portal
    >>> with start_blocking_portal() as loop:
    ...     loop.call(run_cooperatively, lambda: wait_for(asyncio.sleep(0, "slept")))
    'slept'
    """
    task = _CooperativeTask(partial(function, *args, **kwargs))
    # What the function waits for; in the end, what it returned.
    passed: Any = task.switch()
    while not task.dead:
        try:
            value = await passed
        except BaseException as error:
            passed = task.throw(error)
        else:
            passed = task.switch(value)
    return cast(T, passed)


def is_cooperative() -> bool:
    """Say whether this code runs on the event loop and may wait."""
    return isinstance(getcurrent(), _CooperativeTask)


def run_blocking(function: Callable[[], T]) -> T:
    """Run what may block, such as a flush to disk; cooperative code has a thread do it."""
    if not is_cooperative():
        return function()
    loop = asyncio.get_running_loop()
    # With the request's deadline.
    return wait_for(loop.run_in_executor(None, copy_context().run, function))


def wait_for(awaitable: Awaitable[T]) -> T:
    """Return what an awaitable gives; the loop runs meanwhile. For cooperative code alone."""
    event_loop = getcurrent().parent
    assert event_loop is not None  # noqa: S101 - a task has a parent
    return cast(T, event_loop.switch(awaitable))
