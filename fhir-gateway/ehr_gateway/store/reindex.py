"""Index what is in the store already by search parameters that were added, while it is used.

Each step is one short transaction that begins where the last one ended, whoever made it: any
process may go on after any other, and a restart loses nothing. A parameter is served when its last
step is done. What is written meanwhile is indexed by the write itself.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from ehr_gateway.database import Connection, Row
from ehr_gateway.schema.resources import INDEX_COLUMNS
from ehr_gateway.store.relabel import relabel_step
from ehr_gateway.store.search_registry import renew_generation
from ehr_gateway.store.store import Store
from ehr_gateway.store.version_rows import group_by_table, insert_index

__all__ = ["ReindexProgress", "ReindexThread", "reindex_progress", "reindex_step"]

_LOG = logging.getLogger(__name__)
# Resources of a step: some tens of milliseconds, so that other writers hardly wait.
_RESOURCES_PER_STEP = 200
_IDLE_SECONDS = 2.0


@dataclass(frozen=True)
class ReindexProgress:
    """How far a parameter is for one resource type."""

    type: str
    code: str
    state: str  # indexing, ready or removing
    done: int
    total: int


def reindex_progress(connection: Connection, source: str) -> list[ReindexProgress]:
    """Return how far a SearchParameter is, for each of its types."""
    rows = connection.execute(
        "SELECT * FROM added_parameter WHERE source = ? ORDER BY param", (source,)
    ).fetchall()
    return [
        ReindexProgress(row["type"], row["code"], row["state"], row["done"], row["total"])
        for row in rows
    ]


def reindex_step(store: Store, most: int = _RESOURCES_PER_STEP) -> bool:
    """Do the next piece of work; say whether there was any."""
    with store.read_transaction() as connection:
        if _next_job(connection) is None:
            return False
    with store.write_transaction() as connection:
        # Asked again: another process may have gone on meanwhile.
        row = _next_job(connection)
        if row is None:
            return False
        if row["state"] == "removing":
            _remove_batch(connection, row["param"], most)
        else:
            _index_batch(store, connection, row, most)
    return True


class ReindexThread:
    """A thread that works off what there is to index, until it is stopped."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stopping = threading.Event()
        self._idle = threading.Condition()
        self._rounds = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, or begin again."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="reindexing", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the step under way."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def wait(self, seconds: float) -> bool:
        """Wait until all that there was to index is indexed; say whether it came to that."""
        with self._idle:
            # The round under way may have begun before what the caller waits for.
            end = self._rounds + 2
            return self._idle.wait_for(lambda: self._rounds >= end, seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                # What closes records goes before what finds them.
                busy = relabel_step(self._store) or reindex_step(self._store)
            except Exception as error:
                # Whatever it was, what is indexed stays; and never its text: it may hold a value.
                _LOG.warning("Indexing failed with %s and is tried again.", type(error).__name__)
                busy = False
            if not busy:
                with self._idle:
                    self._rounds += 1
                    self._idle.notify_all()
            # Between steps the writers that wait get their turn.
            self._stopping.wait(0.01 if busy else _IDLE_SECONDS)


def _next_job(connection: Connection) -> Row | None:
    row: Row | None = connection.execute(
        "SELECT * FROM added_parameter WHERE state <> 'ready' ORDER BY param LIMIT 1"
    ).fetchone()
    return row


def _index_batch(store: Store, connection: Connection, job: Row, most: int) -> None:
    registry = store.registry(connection)
    rows = connection.execute(
        # `version > 0` is the condition of the index that stands in the order of pk.
        "SELECT pk, body FROM resource WHERE type = ? AND pk > ? AND version > 0"
        " AND current = 1 AND deleted = 0 ORDER BY pk LIMIT ?",
        (job["type"], job["position"], most),
    ).fetchall()
    kind, wanted = job["type"], registry.only(job["type"], job["code"])
    insert_index(
        connection,
        [
            (row["pk"], group_by_table(registry.ids, kind, wanted.rows(kind, row["body"])))
            for row in rows
        ],
    )
    state = "indexing" if len(rows) == most else "ready"
    connection.execute(
        "UPDATE added_parameter SET state = ?, position = ?, done = done + ? WHERE param = ?",
        (state, rows[-1]["pk"] if rows else job["position"], len(rows), job["param"]),
    )
    if state == "ready":
        renew_generation(connection)


def _remove_batch(connection: Connection, param: int, most: int) -> None:
    for kind in INDEX_COLUMNS:
        found = connection.execute(
            f"SELECT pk FROM idx_{kind} WHERE param = ? LIMIT ?",  # noqa: S608
            (param, most),
        ).fetchall()
        if found:
            connection.executemany(
                f"DELETE FROM idx_{kind} WHERE pk = ? AND param = ?",  # noqa: S608
                sorted({(row["pk"], param) for row in found}),
            )
            return
    connection.execute("DELETE FROM added_parameter WHERE param = ?", (param,))
