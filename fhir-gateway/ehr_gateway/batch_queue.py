"""Requests that wait on the event loop, collected into batches; each has the future of its answer.

The writer of the store (`transaction.event_loop_writer`) and the audit log's batcher
(`audit_log.batcher`) use it. PostgreSQL's group commit does not: its writers are threads, and each
holds the connection itself (`database.group_commit`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

__all__ = ["BatchQueue", "PendingItem", "fail_all"]

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True)
class PendingItem(Generic[Item, Result]):
    """An item in the queue and the future that its caller awaits."""

    item: Item
    future: asyncio.Future[Result]

    def set_result(self, result: Result) -> None:
        """Answer the caller; a cancelled one, its client gone, is past answering."""
        if not self.future.done():
            self.future.set_result(result)

    def set_error(self, error: BaseException) -> None:
        """Raise an error in the caller."""
        if not self.future.done():
            self.future.set_exception(error)


class BatchQueue(Generic[Item, Result]):
    """A queue that starts a batch on the next turn of the event loop.

    `start_batch` takes items off the queue (`take`), has each of them answered, and calls
    `start_next` when another batch may begin. Not safe to share between threads.
    """

    def __init__(self, start_batch: Callable[[asyncio.AbstractEventLoop], None]) -> None:
        self._start_batch = start_batch
        self._pending: list[PendingItem[Item, Result]] = []
        self._is_scheduled = False

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """Queue an item and return the future of its answer."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._pending.append(PendingItem(item, future))
        if not self._is_scheduled:
            self._is_scheduled = True
            # Not at once: what else becomes ready in this turn of the loop joins the batch.
            loop.call_soon(self._start_batch, loop)
        return future

    def take(self, limit: int | None = None) -> list[PendingItem[Item, Result]]:
        """Take up to `limit` items off the queue, the oldest first; all of them without one."""
        batch = self._pending if limit is None else self._pending[:limit]
        self._pending = [] if limit is None else self._pending[limit:]
        return batch

    def start_next(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start another batch on the next turn if items wait, else with the next one queued."""
        self._is_scheduled = bool(self._pending)
        if self._is_scheduled:
            loop.call_soon(self._start_batch, loop)


def fail_all(batch: Iterable[PendingItem[Any, Any]], error: BaseException) -> None:
    """Raise one error in all callers of a batch."""
    for pending in batch:
        pending.set_error(error)
