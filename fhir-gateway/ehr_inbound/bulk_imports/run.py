"""Carry out the imports that wait: fetch their files, load them, keep how far each is.

One process of a data folder does so at a time, by a lock. Each transaction that stores resources
keeps its place, so that whoever goes on after a killed process stores nothing twice.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from ehr_fhir.errors import EhrError, Gone, Unavailable
from ehr_gateway.bulk_data.import_files import (
    FileWriter,
    ImportFolder,
    remove_files_of_ended_imports,
)
from ehr_gateway.bulk_data.imports import (
    BulkImport,
    ImportFault,
    claim_next_import,
    end_import,
    forget_old_imports,
    has_files,
    is_import_waiting,
    keep_findings,
    keep_progress,
)
from ehr_gateway.database import Connection
from ehr_gateway.file_lock import open_locked
from ehr_gateway.settings import GatewaySettings
from ehr_gateway.store.store import Store
from ehr_inbound.bulk_files.load import LoadReject, load
from ehr_inbound.bulk_imports.fetch import fetch_file

__all__ = ["run_waiting_imports"]

Fetch = Callable[[str, FileWriter], None]

_LOG = logging.getLogger("ehr_inbound")
_LOCK = "imports.lock"
# For all files of one import. Chosen.
_FETCH_SECONDS = 3600.0
# Chosen: more are a wrong file; they are held in memory.
_MOST_FAULTS = 100_000


def run_waiting_imports(
    store: Store,
    settings: GatewaySettings,
    clock: Callable[[], int],
    *,
    workers: int | None = None,
    fetch: Fetch | None = None,
) -> None:
    """Carry out every import that waits, or was cut off, unless another process does so.

    `workers` as of `load`; `fetch` gets a file, by default from the settings' hosts. Raises
    Unavailable where the store or the disk takes no more for now: call it again.
    """

    is_first = True
    while is_first or is_import_waiting(store, _holds_files(settings)):
        is_first = False
        lock = open_locked(settings.data / _LOCK, os.O_RDWR | os.O_CREAT)
        if lock is None:
            # Whoever has it looks once more after giving it back.
            return
        try:
            with store.write_transaction() as connection:
                forget_old_imports(connection, clock())
            remove_files_of_ended_imports(store, settings.data)
            while running := claim_next_import(store, _holds_files(settings)):
                _run_import(store, settings, running, clock, workers, fetch)
        finally:
            os.close(lock)


def _holds_files(settings: GatewaySettings) -> Callable[[str], bool]:
    return lambda name: ImportFolder(settings.data, name, 0).path.is_dir()


def _run_import(
    store: Store,
    settings: GatewaySettings,
    running: BulkImport,
    clock: Callable[[], int],
    workers: int | None,
    fetch: Fetch | None,
) -> None:
    folder = ImportFolder(settings.data, running.id, settings.max_import_bytes)
    fetch = fetch or _fetch_by(settings, time.monotonic() + _FETCH_SECONDS)
    try:
        _fetch_files(store, running, folder, fetch)
        _load_files(store, settings, running, folder, clock, workers)
    except Gone:
        # It was cancelled, or a patient was erased: what is told of it stands already.
        pass
    except Unavailable:
        # The next process goes on.
        raise
    except EhrError as error:
        end_import(store, running, clock(), str(error))
    except Exception:  # its text may quote a record
        _LOG.error("An import failed by a fault of the platform.")
        end_import(store, running, clock(), "The import failed by a fault of the platform.")
    folder.remove()


def _fetch_by(settings: GatewaySettings, until: float) -> Fetch:
    return partial(fetch_file, sources=settings.import_sources, until=until)


def _fetch_files(store: Store, running: BulkImport, folder: ImportFolder, fetch: Fetch) -> None:
    """Fetch the files that are not there yet; those of an earlier attempt are whole."""
    for number, one in enumerate(running.request.inputs):
        path = folder.file(number, one.type)
        if path.exists():
            continue
        if not has_files(store, running.id):
            raise Gone("The import was ended.")
        try:
            with FileWriter(folder, path) as writer:
                fetch(one.url, writer)
                writer.finish()
        except EhrError as error:
            raise error.with_issues(
                [replace(error.issues[0], diagnostics=f"input[{number}]: {error}")]
            ) from error


def _load_files(
    store: Store,
    settings: GatewaySettings,
    running: BulkImport,
    folder: ImportFolder,
    clock: Callable[[], int],
    workers: int | None,
) -> None:
    request = running.request
    files = {
        str(folder.file(number, one.type)): (number, one.type)
        for number, one in enumerate(request.inputs)
    }
    inputs = {name: number for name, (number, _) in files.items()}
    checkpoint = _Checkpoint(store, running, inputs, clock)
    load(
        store,
        [Path(name) for name in files],
        request.organization,
        bases=(settings.fhir_base,),
        workers=workers,
        clock=clock,
        types={name: kind for name, (_, kind) in files.items()},
        source=request.source,
        checkpoint=checkpoint,
    )
    end_import(store, running, clock())


class _Checkpoint:
    """Keeps how far an import is, as a `LoadCheckpoint`."""

    most_rejects = _MOST_FAULTS

    def __init__(
        self,
        store: Store,
        running: BulkImport,
        inputs: Mapping[str, int],
        clock: Callable[[], int],
    ) -> None:
        self._store, self._running, self._inputs, self._clock = store, running, inputs, clock
        self._progress = running.progress

    @property
    def place(self) -> tuple[int, int] | None:
        """Return the place of the last row that was stored."""
        return self._progress.place

    def keep_findings(self, rejects: Sequence[LoadReject], taken: Mapping[str, int]) -> None:
        """Keep what is refused, in the order of the inputs and their lines."""
        faults = sorted(
            (ImportFault(self._inputs[one.file], one.line, one.reason) for one in rejects),
            key=lambda fault: (fault.input, fault.line),
        )
        refused = Counter(fault.input for fault in faults)
        names = sorted(self._inputs, key=self._inputs.__getitem__)
        self._progress = replace(
            self._progress,
            taken=tuple(taken.get(name, 0) for name in names),
            refused=tuple(refused[self._inputs[name]] for name in names),
        )
        keep_findings(self._store, self._running, faults, self._progress, self._clock())

    def keep_place(
        self, connection: Connection, place: tuple[int, int], rows: int, unchanged: int
    ) -> None:
        """Keep the place of the last row, in the transaction that stores it."""
        progress = self._progress
        self._progress = replace(
            progress,
            place=place,
            stored=progress.stored + rows - unchanged,
            unchanged=progress.unchanged + unchanged,
        )
        keep_progress(connection, self._running, self._progress, self._clock())
