"""`ehr load`: files of resources into the store, each accepted or refused with its reason.

1. Scan all files for conditional references and resolve them, so that references may point forward
   and across files.
2. Validate and prepare every unit of work, in worker processes, into a spool on disk.
3. Keep the latest version of each resource; refuse dangling references over the whole load.
4. Store the rest in the order of the files.

Nothing is stored before step 4, and a resource is stored whole or not at all. A killed load is
resumed by running it again: what is in the store unchanged is skipped. So is one that ends because
a patient was erased while it ran: steps 1 to 3 did not know of it.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, TypeVar

from ehr_fhir.errors import TooCostly
from ehr_gateway.database import Connection
from ehr_gateway.store.decision_changes import last_erasure
from ehr_gateway.store.store import Store
from ehr_inbound.bulk_files.check_references import ReferenceCheck
from ehr_inbound.bulk_files.files import LoadReject, Unit, discover_files, read_units
from ehr_inbound.bulk_files.prepare_worker import (
    LoadPlan,
    LoadRow,
    prepare_unit,
    read_rows,
    start_worker,
)
from ehr_inbound.bulk_files.resolve_references import merge_scans, resolve_searches, scan_unit
from ehr_inbound.bulk_files.scratch import open_scratch
from ehr_inbound.bulk_files.store_batches import store_rows
from ehr_inbound.bulk_files.work_folder import open_work_folder

__all__ = ["LoadCheckpoint", "LoadReject", "LoadReport", "load"]

T = TypeVar("T")

# Below this size on disk, starting processes would take longer than the work.
_SINGLE_PROCESS_BYTES = 200_000
# Found by trial: more workers only wait for each other.
_MAX_WORKERS = 8


@dataclass(frozen=True)
class LoadReport:
    """The outcome of a load.

    `unchanged` counts accepted resources that were stored as they are, or stand in the load twice;
    `superseded` those of which the load holds a later version.
    """

    accepted: int
    rejected: int
    rejects: tuple[LoadReject, ...]
    seconds: float
    unchanged: int = 0
    superseded: int = 0
    # The organisations that wrote what the load put into the store.
    authors: frozenset[str] = frozenset()


class LoadCheckpoint(Protocol):
    """What keeps how far a load is, so that a later one of the same files goes on after it."""

    @property
    def place(self) -> tuple[int, int] | None:
        """Return unit and index of the last row that was stored; None at the beginning."""

    @property
    def most_rejects(self) -> int:
        """Return how many rejects the load may have; of more it is given up."""

    def keep_findings(self, rejects: Sequence[LoadReject], taken: Mapping[str, int]) -> None:
        """Keep what is refused, and by file how much is taken, before anything is stored."""

    def keep_place(
        self, connection: Connection, place: tuple[int, int], rows: int, unchanged: int
    ) -> None:
        """Keep, in the transaction that stores some rows, the place of the last one."""


def load(
    store: Store,
    paths: Sequence[Path],
    organization: str = "ehr-commons",
    on_progress: Callable[[int], None] = lambda done: None,
    *,
    bases: Sequence[str] = (),
    workers: int | None = None,
    clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    types: Mapping[str, str] = MappingProxyType({}),
    source: str = "",
    checkpoint: LoadCheckpoint | None = None,
) -> LoadReport:
    """Load Bundles and NDJSON files, or folders of them.

    `organization` is the author of records that name none; `bases` are the FHIR base addresses of
    this server, past ones too, whose references are stored as relative ones; `workers` processes
    prepare the resources (by default as many as the files' size is worth). `types` are the types
    that files hold alone, by path; `source` is the `meta.source` of resources that name none.
    """
    start = time.monotonic()
    with store.read_transaction(single_statement=True) as connection:
        # What is checked from here on is checked against the erasures up to this one.
        erasure = last_erasure(connection)
    files, rejects = discover_files(paths)
    existing = 0
    # In the store's folder: records belong in no folder that others can read or clean up.
    with (
        open_work_folder(store.folder) as folder,
        open_scratch(folder) as scratch,
        _open_workers(files, workers) as run_all,
    ):
        # Unreadable lines are rejected once, in the second pass.
        scans = run_all(scan_unit, ((unit,) for unit in _read_all_units(files, [], bases, types)))
        resolved = resolve_searches(store, merge_scans(scans, scratch), scratch)
        plan = folder / "plan"
        load_plan = LoadPlan(resolved, dict(store.parameter_ids), organization, source)
        plan.write_bytes(pickle.dumps(load_plan))
        check = ReferenceCheck(scratch)
        started: deque[tuple[str, Path]] = deque()
        units = _read_all_units(files, rejects, bases, types)
        for result in run_all(prepare_unit, _worker_arguments(units, folder, plan, started)):
            check.rejects += result.rejects
            # Results come in the order in which units were started.
            check.add(*started.popleft(), result.candidates)
            existing += result.existing
            _check_count(len(rejects) + len(check.rejects), checkpoint)
        check.close(store)
        accepted, repeated = check.accepted, check.repeat_count
        authors: set[str] = set()
        all_rejects = (*rejects, *check.rejects)
        if checkpoint is None:
            rows = (row for _, row in _accepted_rows(check, authors))
            unchanged = store_rows(store, rows, clock, on_progress, erasure=erasure)
        else:
            _check_count(len(all_rejects), checkpoint)
            checkpoint.keep_findings(all_rejects, check.count_taken())
            unchanged = _store_from_place(
                store, _accepted_rows(check, authors), clock, on_progress, checkpoint, erasure
            )
    return LoadReport(
        accepted=accepted + repeated + existing,
        rejected=len(all_rejects),
        rejects=tuple(sorted(all_rejects, key=lambda reject: (reject.file, reject.line))),
        seconds=time.monotonic() - start,
        unchanged=unchanged + repeated + existing,
        superseded=check.superseded,
        authors=frozenset(authors),
    )


def _check_count(rejects: int, checkpoint: LoadCheckpoint | None) -> None:
    if checkpoint is not None and rejects > checkpoint.most_rejects:
        raise TooCostly(
            f"More than {checkpoint.most_rejects:,} lines are refused: nothing more is stored."
        )


def _read_all_units(
    files: Iterable[Path],
    rejects: list[LoadReject],
    bases: Sequence[str],
    types: Mapping[str, str],
) -> Iterator[Unit]:
    for file in files:
        for unit in read_units(file):
            if isinstance(unit, LoadReject):
                rejects.append(unit)
            else:
                yield replace(unit, bases=tuple(bases), type=types.get(unit.file, ""))


def _worker_arguments(
    units: Iterable[Unit], folder: Path, plan: Path, started: deque[tuple[str, Path]]
) -> Iterator[tuple[Unit, Path, Path]]:
    for number, unit in enumerate(units):
        spool = folder / f"{number}.spool"
        started.append((unit.file, spool))
        yield unit, spool, plan


def _accepted_rows(
    check: ReferenceCheck, authors: set[str]
) -> Iterator[tuple[tuple[int, int], LoadRow]]:
    """Yield the rows to store, each with its place: unit and index; collect their authors."""
    for number, (spool, refused) in enumerate(check.units()):
        for index, row in enumerate(read_rows(spool)):
            if index not in refused:
                if row.record.author:
                    authors.add(row.record.author)
                yield (number, index), row
        spool.unlink()


def _store_from_place(
    store: Store,
    rows: Iterable[tuple[tuple[int, int], LoadRow]],
    clock: Callable[[], int],
    on_progress: Callable[[int], None],
    checkpoint: LoadCheckpoint,
    erasure: int,
) -> int:
    """Store the rows after the place of a checkpoint, which keeps up in each transaction."""
    places: deque[tuple[int, int]] = deque()

    def rows_after_place() -> Iterator[LoadRow]:
        begin = checkpoint.place
        for place, row in rows:
            if begin is None or place > begin:
                places.append(place)
                yield row

    def keep_place(connection: Connection, count: int, unchanged: int) -> None:
        batch = [places.popleft() for _ in range(count)]
        checkpoint.keep_place(connection, batch[-1], count, unchanged)

    is_resumed = checkpoint.place is not None
    return store_rows(
        store,
        rows_after_place(),
        clock,
        on_progress,
        keep_place,
        erasure=erasure,
        is_resumed=is_resumed,
    )


class _OrderedMap(Protocol):
    """A `map` over argument tuples that keeps their order and holds few of them at a time."""

    def __call__(
        self, function: Callable[..., T], arguments: Iterable[tuple[object, ...]]
    ) -> Iterator[T]:
        """Yield what the function returns for each."""


@contextmanager
def _open_workers(files: Sequence[Path], workers: int | None) -> Iterator[_OrderedMap]:
    if workers is None:
        small = sum(file.stat().st_size for file in files) < _SINGLE_PROCESS_BYTES
        workers = 1 if small else min(os.cpu_count() or 1, _MAX_WORKERS)
    if workers <= 1:
        yield lambda function, arguments: (function(*values) for values in arguments)
        return
    # Not a plain fork: the process may have threads, and a Java virtual machine.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ehr_inbound.bulk_files.prepare_worker"])
    pool = ProcessPoolExecutor(workers, context, start_worker)
    try:
        yield lambda function, arguments: _map_in_order(pool, workers, function, arguments)
    finally:
        # After an error or an interruption nobody takes the results of what still waits.
        pool.shutdown(wait=True, cancel_futures=True)


def _map_in_order(
    pool: Executor,
    workers: int,
    function: Callable[..., T],
    arguments: Iterable[tuple[object, ...]],
) -> Iterator[T]:
    futures: deque[Future[T]] = deque()
    for values in arguments:
        futures.append(pool.submit(function, *values))
        # Three units for each worker keep all of them busy and bound the memory. Chosen.
        if len(futures) >= 3 * workers:
            yield futures.popleft().result()
    while futures:
        yield futures.popleft().result()
