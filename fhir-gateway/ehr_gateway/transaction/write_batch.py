"""Short writes that share one transaction: what waits, and what goes into the journal."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ehr_gateway.batch_queue import BatchQueue, PendingItem
from ehr_gateway.database import Connection
from ehr_gateway.deadline import Deadline, current_deadline
from ehr_gateway.journal.redo_actions import RedoAction
from ehr_gateway.store.store import Store

__all__ = [
    "MAX_BATCH",
    "BatchJournal",
    "BatchWriter",
    "PendingWrite",
    "QueuedWrite",
    "WriteJob",
    "WriteResults",
    "run_pending_write",
    "run_write",
]

T = TypeVar("T")
# Writes on the connection it is given, and returns the answer.
WriteJob = Callable[[Connection], T]
# Chosen: while a batch runs on SQLite the loop does nothing else, and a write takes under a
# millisecond.
MAX_BATCH = 16


@dataclass(frozen=True, slots=True)
class QueuedWrite:
    """A write that waits for its batch, and the deadline of its request."""

    job: WriteJob[Any]
    deadline: Deadline | None


PendingWrite = PendingItem[QueuedWrite, Any]
WriteResults = list[tuple[PendingWrite, Any]]


def run_write(store: Store, job: WriteJob[T]) -> T:
    """Run one write on the caller's thread; return when it is on disk."""
    with store.write_transaction() as connection:
        return job(connection)


def run_pending_write(connection: Connection, pending: PendingWrite) -> Any:
    """Run a write of a batch, unless its request is over by now."""
    if pending.item.deadline is not None:
        pending.item.deadline.check()
    return pending.item.job(connection)


class BatchJournal:
    """Takes the journal's place while a batch runs, and collects its redo actions.

    One entry holds them all, as one commit makes them all: its flush to disk costs more than the
    write of a deletion.
    """

    def __init__(self) -> None:
        self.redo_actions: list[RedoAction] = []

    def append(self, connection: Connection, redo_actions: Sequence[RedoAction], /) -> None:
        """Collect the redo actions of one write."""
        self.redo_actions += redo_actions


class BatchWriter(ABC):
    """Runs the short writes of one process's event loop, in batches."""

    def __init__(self) -> None:
        self._queue: BatchQueue[QueuedWrite, Any] = BatchQueue(self._start_batch)

    async def write(self, job: WriteJob[T]) -> T:
        """Return what the job returned once it is on disk; raise what it raised.

        The write of a request that is abandoned before its batch begins is not made; of one that
        is abandoned later it commits all the same.
        """
        result: T = await self._queue.submit(QueuedWrite(job, current_deadline()))
        return result

    @abstractmethod
    def _start_batch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take a batch off the queue, answer each of its writes, and start the next one."""
