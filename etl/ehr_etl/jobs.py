"""Jobs over parts of a table: one pure function for every part, on processes or on a cluster.

A part is read from the lake's storage and written to it by whoever runs it; only names of files and
counts come back. So the same function runs in this process, in a few processes of this machine, or
on the executors of a Spark cluster (`spark.cluster`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from typing import Any, Protocol

__all__ = ["LocalRunner", "RunParts", "Runner", "cut_into_parts"]

# Yields what a function returns for each part, in the order of the parts.
RunParts = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]  # Any: part and result

# Processes on one machine. Chosen: each holds a part of a few hundred MB.
_MOST_PROCESSES = 8
# A process takes a second of processor time to start, and works off about 2,000 rows in one: fewer
# rows than these are done in this process. Chosen.
_FEWEST_ROWS = 10_000


class Runner(Protocol):
    """Where parts are worked on."""

    @property
    def slots(self) -> int:
        """Return how many parts it works on at once."""
        ...

    def open(self, rows: int) -> AbstractContextManager[RunParts]:
        """Return what runs the parts of jobs over about so many rows."""
        ...


@dataclass(frozen=True)
class LocalRunner:
    """Runs parts in processes of this machine; in this one where rows are few."""

    processes: int = min(_MOST_PROCESSES, os.cpu_count() or 1)

    @property
    def slots(self) -> int:
        """Return how many parts it works on at once."""
        return self.processes

    @contextmanager
    def open(self, rows: int) -> Iterator[RunParts]:
        """Return what runs the parts of jobs over about so many rows."""
        if self.processes < 2 or rows < _FEWEST_ROWS:
            yield map
            return
        with ExitStack() as stack:
            pool: ProcessPoolExecutor | None = None

            def run(work: Callable[[Any], Any], parts: Sequence[Any]) -> Iterable[Any]:
                nonlocal pool
                if pool is None:
                    # Not forked: libraries hold threads and locks.
                    made = ProcessPoolExecutor(
                        self.processes, get_context("spawn"), _end_with_parent
                    )
                    pool = stack.enter_context(made)
                return pool.map(work, parts)

            yield run


def cut_into_parts(buckets: int, slots: int, most: int) -> list[tuple[int, ...]]:
    """Return all buckets in parts of neighbours: several for each slot, none above a size.

    >>> cut_into_parts(5, 1, 2)
    [(0,), (1,), (2,), (3,), (4,)]
    >>> cut_into_parts(20, 2, 2)[-1]
    (18, 19)
    """
    # Several parts for each slot, so that no slot waits long for the last. Chosen.
    size = max(1, min(most, buckets // (4 * slots)))
    return [tuple(range(start, min(start + size, buckets))) for start in range(0, buckets, size)]


def _end_with_parent() -> None:
    """End this process when the one that started it ends, however that ends."""
    parent = parent_process()

    def wait() -> None:
        if parent is not None:
            connection.wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
