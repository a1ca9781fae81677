"""Store prepared resources in batches of one transaction each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

import orjson

from ehr_gateway.database import Connection
from ehr_gateway.journal.redo_actions import RedoAction, append_redo_actions
from ehr_gateway.store import full_text
from ehr_gateway.store.grant_endings import RuleEvent
from ehr_gateway.store.store import Store, Version
from ehr_gateway.store.version_redo import find_version_redo
from ehr_gateway.store.version_rows import (
    group_by_table,
    insert_index,
    insert_version,
    remove_index,
    replace_rules,
)
from ehr_gateway.transaction.prepared_resource import join_body
from ehr_inbound.bulk_files.prepare_worker import LoadRow
from ehr_privacy.consent import record_facts

__all__ = ["store_rows"]

# Chosen: large enough to save commits, small enough for other writers to get their turn.
_ROWS_PER_TRANSACTION = 1000


def store_rows(
    store: Store,
    rows: Iterable[LoadRow],
    clock: Callable[[], int],
    on_progress: Callable[[int], None],
) -> int:
    """Store rows in order; return how many were unchanged since the last load."""
    remaining = iter(rows)
    done = unchanged = 0
    while batch := list(islice(remaining, _ROWS_PER_TRANSACTION)):
        with store.write_transaction() as connection:
            unchanged += _store_batch(store, connection, batch, clock())
        done += len(batch)
        on_progress(done)
    return unchanged


def _store_batch(store: Store, connection: Connection, batch: list[LoadRow], now_ms: int) -> int:
    latest = connection.execute(
        "SELECT pk, last_updated FROM resource ORDER BY pk DESC LIMIT 1"
    ).fetchone()
    # Times in the feed never decrease, even when the clock is set back.
    now_ms = max(now_ms, latest["last_updated"] if latest else 0)
    event = RuleEvent(now_ms, latest["pk"] if latest else 0)
    index_rows = []
    words = []
    redo_actions: list[RedoAction] = []
    registry = store.registry(connection)
    for row in batch:
        loaded = _find_loaded(connection, row)
        if loaded is not None and loaded[0] == row.digest:
            continue
        pk = _store_row(connection, row, loaded and loaded[1], event, redo_actions)
        index_rows.append((pk, row.index))
        words.append((pk, row.record.type, row.words))
        if registry.indexed:
            kind = row.record.type
            body = join_body(row.record, row.meta, row.content, 1, now_ms)
            index_rows.append(
                (pk, group_by_table(registry.ids, kind, registry.extract_rows(kind, body)))
            )
    insert_index(connection, index_rows)
    full_text.insert_words(connection, words)
    append_redo_actions(connection, redo_actions)
    return len(batch) - len(words)


def _store_row(
    connection: Connection,
    row: LoadRow,
    current: Version | None,
    event: RuleEvent,
    redo_actions: list[RedoAction],
) -> int:
    record = row.record
    before = None
    number = current.version + 1 if current else 1
    if current is not None and not current.deleted:
        remove_index(connection, current)
        before = record_facts(orjson.loads(current.body), current.author)
    version = insert_version(
        connection,
        record,
        join_body(record, row.meta, row.content, number, event.now_ms),
        version=number,
        last_updated_ms=event.now_ms,
        method="PUT" if current else "POST",
    )
    replace_rules(connection, record, row.rules, has_previous=current is not None, event=event)
    if redo_action := find_version_redo(version, record, before):
        redo_actions.append(redo_action)
    connection.execute(
        "INSERT INTO load_ledger VALUES (?, ?, ?)"
        " ON CONFLICT (type, id) DO UPDATE SET digest = excluded.digest",
        (record.type, record.id, row.digest),
    )
    return version.pk


def _find_loaded(connection: Connection, row: LoadRow) -> tuple[bytes, Version] | None:
    """Return the digest of the last load under this id, and the current version."""
    stored = connection.execute(
        "SELECT r.*, l.digest FROM resource r"
        " LEFT JOIN load_ledger l ON l.type = r.type AND l.id = r.id"
        " WHERE r.type = ? AND r.id = ? AND r.current = 1",
        (row.record.type, row.record.id),
    ).fetchone()
    return (stored["digest"], Version.from_row(stored)) if stored else None
