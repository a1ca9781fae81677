"""`ehr load`: files of resources into the store, each accepted or refused with its reason.

1. look ahead over the whole set, so that references may point forward and across files;
2. judge and prepare every unit, in worker processes, into a spool on disk;
3. refuse duplicates and dangling references over the whole set;
4. put the rest in, in the order of the files.

Nothing is written before step 4, and a resource is written whole or not at all. A load that was
killed is resumed by running it again: what is in the store already is passed over.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

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

__all__ = ["LoadReject", "LoadReport", "load"]

T = TypeVar("T")

# Below this size on disk, starting processes would take longer than the work.
_SINGLE_PROCESS_BYTES = 200_000
# Chosen by trial: more only wait for each other.
_MAX_WORKERS = 8


@dataclass(frozen=True)
class LoadReport:
    """What came of a load; `unchanged` of the accepted were in the store before, as they are."""

    accepted: int
    rejected: int
    rejects: tuple[LoadReject, ...]
    seconds: float
    unchanged: int = 0


def load(
    store: Store,
    paths: Sequence[Path],
    organization: str = "ehr-commons",
    on_progress: Callable[[int], None] = lambda done: None,
    *,
    workers: int | None = None,
    clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> LoadReport:
    """Load Bundles, NDJSON and folders of them; `organization` wrote what names no author."""
    start = time.monotonic()
    files, rejects = discover_files(paths)
    existing = 0
    # Beside the store: records belong in no folder that others read or clean.
    spool = tempfile.TemporaryDirectory(prefix="load-", dir=store.folder)
    with spool as folder, open_scratch(Path(folder)) as notes, _open_workers(files, workers) as do:
        sight = merge_scans(do(scan_unit, ((unit,) for unit in _read_all_units(files, []))), notes)
        plan = Path(folder, "plan")
        content = LoadPlan(
            resolve_searches(store, sight, notes), dict(store.parameter_ids), organization
        )
        plan.write_bytes(pickle.dumps(content))
        whole = ReferenceCheck(notes)
        begun: deque[tuple[str, Path]] = deque()
        for verdict in do(
            prepare_unit,
            _worker_arguments(_read_all_units(files, rejects), Path(folder), plan, begun),
        ):
            whole.rejects += verdict.rejects
            whole.add(*begun.popleft(), verdict.candidates)
            existing += verdict.existing
        whole.close(store)
        accepted = whole.accepted
        unchanged = store_rows(store, _accepted_rows(whole), clock, on_progress)
    found = (*rejects, *whole.rejects)
    return LoadReport(
        accepted=accepted + existing,
        rejected=len(found),
        rejects=tuple(sorted(found, key=lambda one: (one.file, one.line))),
        seconds=time.monotonic() - start,
        unchanged=unchanged + existing,
    )


def _read_all_units(files: Iterable[Path], rejects: list[LoadReject]) -> Iterator[Unit]:
    for file in files:
        for unit in read_units(file):
            if isinstance(unit, LoadReject):
                rejects.append(unit)
            else:
                yield unit


def _worker_arguments(
    found: Iterable[Unit], folder: Path, plan: Path, begun: deque[tuple[str, Path]]
) -> Iterator[tuple[Unit, Path, Path]]:
    for number, unit in enumerate(found):
        spool = folder / f"{number}.spool"
        begun.append((unit.file, spool))
        yield unit, spool, plan


def _accepted_rows(whole: ReferenceCheck) -> Iterator[LoadRow]:
    for spool, refused in whole.units():
        for index, ready in enumerate(read_rows(spool)):
            if index not in refused:
                yield ready
        spool.unlink()


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
        yield lambda function, arguments: (function(*one) for one in arguments)
        return
    # Never a plain fork: the process may have threads, and a Java machine beside it.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ehr_inbound.bulk_files.prepare_worker"])
    with ProcessPoolExecutor(workers, context, start_worker) as pool:
        yield lambda function, arguments: _map_in_order(pool, workers, function, arguments)


def _map_in_order(
    pool: Executor,
    workers: int,
    function: Callable[..., T],
    arguments: Iterable[tuple[object, ...]],
) -> Iterator[T]:
    waiting: deque[Future[T]] = deque()
    for one in arguments:
        waiting.append(pool.submit(function, *one))
        if len(waiting) >= 3 * workers:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
