"""Index stored resources by added search parameters, in the background, while the store is used.

Each step is one short transaction that continues from the position the last one saved, so any
process may take over and a restart loses nothing. A parameter is served once its last step is done.
Resources written meanwhile are indexed by the write itself.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from ehr_gateway.database import Connection, Row
from ehr_gateway.schema.resources import INDEX_COLUMNS
from ehr_gateway.store.index_rows import group_by_table, insert_index
from ehr_gateway.store.relabel import relabel_step
from ehr_gateway.store.search_registry import renew_generation
from ehr_gateway.store.store import Store

__all__ = ["ReindexProgress", "ReindexThread", "reindex_progress", "reindex_step"]

_LOG = logging.getLogger(__name__)
# A step takes some tens of milliseconds, so that other writers hardly wait.
_RESOURCES_PER_STEP = 200
# Chosen: how long an idle thread waits before it looks for work again.
_IDLE_SECONDS = 2.0


@dataclass(frozen=True)
class ReindexProgress:
    """How many resources of one type are indexed by an added parameter."""

    type: str
    code: str
    state: str  # indexing, ready or removing
    done: int
    total: int


def reindex_progress(connection: Connection, source: str) -> list[ReindexProgress]:
    """Return the progress of a SearchParameter, by its id, for each of its types."""
    rows = connection.execute(
        "SELECT * FROM added_parameter WHERE source = ? ORDER BY param", (source,)
    ).fetchall()
    return [
        ReindexProgress(row["type"], row["code"], row["state"], row["done"], row["total"])
        for row in rows
    ]


def reindex_step(store: Store, limit: int = _RESOURCES_PER_STEP) -> bool:
    """Index or remove one batch of up to `limit` resources; return whether there was any work."""
    with store.read_transaction() as connection:
        if _next_job(connection) is None:
            return False
    with store.write_transaction() as connection:
        # Read again inside the transaction: another process may have done this step meanwhile.
        job = _next_job(connection)
        if job is None:
            return False
        if job["state"] == "removing":
            _remove_batch(connection, job["param"], limit)
        else:
            _index_batch(store, connection, job, limit)
    return True


class ReindexThread:
    """A thread that relabels and reindexes step by step until it is stopped."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stopping = threading.Event()
        self._idle = threading.Condition()
        self._rounds = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, or restart it."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="reindexing", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the current step."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def wait(self, seconds: float) -> bool:
        """Wait until no work is left; return False when that took longer than `seconds`."""
        with self._idle:
            # Two rounds: the current one may have begun before the work the caller waits for.
            last_round = self._rounds + 2
            return self._idle.wait_for(lambda: self._rounds >= last_round, seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                # Labels first: they close records, an index only finds them.
                is_busy = relabel_step(self._store) or reindex_step(self._store)
            except Exception as error:
                # Each step commits by itself, so what is indexed stays. The log names the error's
                # type alone: its text may hold a value of a record.
                _LOG.warning("Indexing failed with %s and is tried again.", type(error).__name__)
                is_busy = False
            if not is_busy:
                with self._idle:
                    self._rounds += 1
                    self._idle.notify_all()
            # Waiting writers get their turn between steps.
            self._stopping.wait(0.01 if is_busy else _IDLE_SECONDS)


def _next_job(connection: Connection) -> Row | None:
    row: Row | None = connection.execute(
        "SELECT * FROM added_parameter WHERE state <> 'ready' ORDER BY param LIMIT 1"
    ).fetchone()
    return row


def _index_batch(store: Store, connection: Connection, job: Row, limit: int) -> None:
    registry = store.registry(connection)
    rows = connection.execute(
        # `version > 0` makes the planner use `resource_history`, the partial index by position.
        "SELECT pk, position, body FROM resource WHERE type = ? AND position > ? AND version > 0"
        " AND current = 1 AND deleted = 0 ORDER BY position LIMIT ?",
        (job["type"], job["position"], limit),
    ).fetchall()
    kind, registry_of_job = job["type"], registry.with_only(job["type"], job["code"])
    insert_index(
        connection,
        [
            (
                row["pk"],
                group_by_table(registry.ids, kind, registry_of_job.extract_rows(kind, row["body"])),
            )
            for row in rows
        ],
    )
    state = "indexing" if len(rows) == limit else "ready"
    connection.execute(
        "UPDATE added_parameter SET state = ?, position = ?, done = done + ? WHERE param = ?",
        (state, rows[-1]["position"] if rows else job["position"], len(rows), job["param"]),
    )
    if state == "ready":
        renew_generation(connection)


def _remove_batch(connection: Connection, param: int, limit: int) -> None:
    for kind in INDEX_COLUMNS:
        rows = connection.execute(
            f"SELECT pk FROM idx_{kind} WHERE param = ? LIMIT ?",  # noqa: S608
            (param, limit),
        ).fetchall()
        if rows:
            connection.executemany(
                f"DELETE FROM idx_{kind} WHERE pk = ? AND param = ?",  # noqa: S608
                sorted({(row["pk"], param) for row in rows}),
            )
            return
    connection.execute("DELETE FROM added_parameter WHERE param = ?", (param,))
