"""Putting prepared resources into the store, many to a transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

import orjson

from ehr_gateway.database import Connection
from ehr_gateway.journal.closings import Closing, record_closings
from ehr_gateway.store import full_text
from ehr_gateway.store.store import Store, Version
from ehr_gateway.store.version_closings import find_version_closing
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

# Large enough to spare commits, small enough for other writers to get their turn.
_ROWS_PER_TRANSACTION = 1000


def store_rows(
    store: Store,
    ready: Iterable[LoadRow],
    clock: Callable[[], int],
    on_progress: Callable[[int], None],
) -> int:
    """Store resources in order; return how many were in the store as they are already."""
    remaining = iter(ready)
    done = unchanged = 0
    while batch := list(islice(remaining, _ROWS_PER_TRANSACTION)):
        with store.write_transaction() as connection:
            unchanged += _store_batch(store, connection, batch, clock())
        done += len(batch)
        on_progress(done)
    return unchanged


def _store_batch(store: Store, connection: Connection, batch: list[LoadRow], now_ms: int) -> int:
    latest = connection.execute("SELECT last_updated FROM resource ORDER BY pk DESC LIMIT 1")
    row = latest.fetchone()
    now_ms = max(now_ms, row["last_updated"] if row else 0)
    written = []
    words = []
    closings: list[Closing] = []
    registry = store.registry(connection)
    for one in batch:
        known = _find_loaded(connection, one)
        if known is not None and known[0] == one.digest:
            continue
        pk = _store_row(connection, one, known and known[1], now_ms, closings)
        written.append((pk, one.index))
        words.append((pk, one.record.type, one.words))
        if registry.indexed:
            kind = one.record.type
            body = join_body(one.record, one.meta, one.content, 1, now_ms)
            written.append(
                (pk, group_by_table(registry.ids, kind, registry.extract_rows(kind, body)))
            )
    insert_index(connection, written)
    full_text.insert_words(connection, words)
    record_closings(connection, closings)
    return len(batch) - len(words)


def _store_row(
    connection: Connection,
    one: LoadRow,
    current: Version | None,
    now_ms: int,
    closings: list[Closing],
) -> int:
    record = one.record
    before = None
    number = current.version + 1 if current else 1
    if current is not None and not current.deleted:
        remove_index(connection, current)
        before = record_facts(orjson.loads(current.body), current.author)
    version = insert_version(
        connection,
        record,
        join_body(record, one.meta, one.content, number, now_ms),
        version=number,
        last_updated_ms=now_ms,
        method="PUT" if current else "POST",
    )
    replace_rules(connection, record, one.rules, has_previous=current is not None)
    if closing := find_version_closing(version, record, before):
        closings.append(closing)
    connection.execute(
        "INSERT INTO load_ledger VALUES (?, ?, ?)"
        " ON CONFLICT (type, id) DO UPDATE SET digest = excluded.digest",
        (record.type, record.id, one.digest),
    )
    return version.pk


def _find_loaded(connection: Connection, one: LoadRow) -> tuple[bytes, Version] | None:
    """Return what a load put in under this id before, and the version that is current now."""
    row = connection.execute(
        "SELECT r.*, l.digest FROM resource r"
        " LEFT JOIN load_ledger l ON l.type = r.type AND l.id = r.id"
        " WHERE r.type = ? AND r.id = ? AND r.current = 1",
        (one.record.type, one.record.id),
    ).fetchone()
    return (row["digest"], Version.from_row(row)) if row else None
