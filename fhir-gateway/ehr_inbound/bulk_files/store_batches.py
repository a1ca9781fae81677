"""Store prepared resources in batches of one transaction each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

import orjson

from ehr_fhir.errors import Conflict, Unavailable
from ehr_gateway.database import Connection
from ehr_gateway.journal.redo_actions import RedoAction, append_redo_actions
from ehr_gateway.store import full_text
from ehr_gateway.store.consequences import Consequence
from ehr_gateway.store.decision_changes import last_erasure
from ehr_gateway.store.grant_endings import RuleEvent
from ehr_gateway.store.index_rows import IndexValues, group_by_table, insert_index, replace_index
from ehr_gateway.store.inheritance import (
    InheritedChange,
    WrittenRecord,
    read_targets,
    settle_inheritance,
)
from ehr_gateway.store.loosened_restrictions import LoosenedRestrictions
from ehr_gateway.store.store import Store, Version
from ehr_gateway.store.stored_facts import (
    StoredFacts,
    facts_columns,
    read_last_body,
    replace_held_facts,
)
from ehr_gateway.store.update_instant import next_instant
from ehr_gateway.store.version_redo import find_version_redo
from ehr_gateway.store.version_rows import insert_version, replace_rules
from ehr_gateway.transaction.prepared_resource import join_body
from ehr_inbound.bulk_files.prepare_worker import LoadRow
from ehr_privacy.consent import (
    HeldFact,
    Record,
    Requester,
    apply_held_facts,
    drop_third_party_facts,
    hold_third_party_facts,
)
from ehr_privacy.consent.inherited_facts import FactNode, Key, outward_facts

__all__ = ["store_rows"]

# Chosen: large enough to save commits, small enough for other writers to get their turn.
_ROWS_PER_TRANSACTION = 1000


def store_rows(
    store: Store,
    rows: Iterable[LoadRow],
    clock: Callable[[], int],
    on_progress: Callable[[int], None],
    in_transaction: Callable[[Connection, int, int], None] = lambda connection, rows, same: None,
    *,
    erasure: int,
    is_resumed: bool = False,
) -> int:
    """Store rows in order; return how many were unchanged since the last load.

    `erasure` is the newest erasure that the rows were checked against (`last_erasure`).
    `in_transaction` is called in each batch's transaction with the numbers of its rows and of those
    unchanged. `is_resumed` says that rows before these were stored by a load that ended early.
    Raises Unavailable, with the number of those that are stored, when the store takes no more, and
    Conflict when a patient was erased since: the rows may be about that patient.
    """
    remaining = iter(rows)
    done = unchanged = 0
    awaited = _AwaitedTargets(any_name=is_resumed)
    while batch := list(islice(remaining, _ROWS_PER_TRANSACTION)):
        try:
            with store.write_transaction() as connection:
                if last_erasure(connection) != erasure:
                    raise Conflict(
                        "A patient was erased while the load ran, and the rest may be about that"
                        f" patient. {done:,} resources were stored before; run the load again to go"
                        " on after them."
                    )
                same = _store_batch(store, connection, batch, awaited, clock())
                in_transaction(connection, len(batch), same)
        except Unavailable as error:
            text = f"{done:,} resources were stored before; run the load again to go on after them."
            raise Unavailable(f"{error} {text}") from error
        done += len(batch)
        unchanged += same
        on_progress(done)
    return unchanged


@dataclass
class _AwaitedTargets:
    """What stored resources name that a later batch brings, whose facts they then inherit."""

    names: set[Key] = field(default_factory=set)
    # Whether an earlier load stored some of these resources: nobody knows then what they await.
    any_name: bool = False

    def includes(self, key: Key) -> bool:
        """Say whether a stored resource may name this one already."""
        return self.any_name or key in self.names


@dataclass(frozen=True)
class _StoredRow:
    """A row that was stored, with the facts of the version before it."""

    version: Version
    row: LoadRow
    record: Record
    held: frozenset[HeldFact]
    before: StoredFacts | None
    has_redo: bool


def _store_batch(
    store: Store,
    connection: Connection,
    batch: list[LoadRow],
    awaited: _AwaitedTargets,
    now_ms: int,
) -> int:
    registry = store.registry(connection)
    now_ms = next_instant(registry.latest, now_ms, store.incidents)
    event = RuleEvent(now_ms, registry.latest.position)
    inserted: list[tuple[int, IndexValues]] = []
    replaced: list[tuple[int, IndexValues]] = []
    words = []
    redo_actions: list[RedoAction] = []
    stored: list[_StoredRow] = []
    for row in batch:
        loaded = _find_loaded(connection, row)
        if loaded is not None and loaded[0] == row.digest:
            awaited.any_name = True
            continue
        stored.append(_store_row(connection, row, loaded and loaded[1], event, redo_actions))
        version, rows = stored[-1].version, row.index
        if registry.indexed:
            added = registry.extract_rows(version.type, version.body)
            for table, values in group_by_table(registry.ids, version.type, added).items():
                rows = {**rows, table: [*rows.get(table, ()), *values]}
        (replaced if version.version > 1 else inserted).append((version.pk, rows))
        words.append((version, row.words))
    insert_index(connection, inserted)
    replace_index(connection, replaced)
    full_text.write_words(connection, words)
    _settle_inheritance(store, connection, stored, awaited, redo_actions, now_ms)
    append_redo_actions(connection, redo_actions)
    return len(batch) - len(words)


def _settle_inheritance(
    store: Store,
    connection: Connection,
    stored: list[_StoredRow],
    awaited: _AwaitedTargets,
    redo_actions: list[RedoAction],
    now_ms: int,
) -> None:
    """Let the resources of a batch inherit, and what earlier batches stored inherit from them."""
    by_key = {(each.record.type, each.record.id): each for each in stored}
    targets = {key for each in stored for key in each.row.fact_targets.all} - by_key.keys()
    found = read_targets(connection, targets)
    written = []
    for key, each in by_key.items():
        before = None
        if each.before is not None:
            before = outward_facts(each.before.record, each.before.held)
        elif awaited.includes(key):
            before = {}
        node = FactNode(each.record, each.held, each.row.fact_targets)
        written.append(WrittenRecord(each.version.pk, node, before, each.before is not None))
    awaited.names |= targets - found.keys()
    awaited.names -= by_key.keys()
    boundary = {key: facts for key, facts in found.items() if facts}
    changes = settle_inheritance(connection, store.parameter_ids, written, boundary)
    _tell_of_loosening(store, connection, by_key, changes, now_ms)
    for key, change in changes.items():
        stored_row = by_key.get(key)
        if stored_row is not None and stored_row.before is not None and not stored_row.has_redo:
            redo_action = find_version_redo(
                stored_row.version, change.after, stored_row.before.record, held=stored_row.held
            )
            redo_actions += [redo_action] if redo_action else []


def _tell_of_loosening(
    store: Store,
    connection: Connection,
    stored: Mapping[Key, _StoredRow],
    changes: Mapping[Key, InheritedChange],
    now_ms: int,
) -> None:
    """Tell patients of records that their restrictions covered until this batch."""
    restrictions = LoosenedRestrictions(connection, now_ms)
    cause, author = "", None
    for key, row in stored.items():
        cause, author = f"{'/'.join(key)}:{row.version.version}", row.version.author
        if row.before is not None:
            after = changes[key].after if key in changes else row.record
            patients = frozenset(restrictions.find(row.before.record, after))
            if patients:
                told = Consequence("loosened", after, cause, patients, _loader(author), now_ms)
                store.tell_consequence(connection, told)
    for key in changes.keys() - stored.keys():
        before, after = changes[key].before, changes[key].after
        if patients := frozenset(restrictions.find(before, after)):
            told = Consequence("opened", after, cause, patients, _loader(author), now_ms)
            store.tell_consequence(connection, told)


def _loader(organization: str | None) -> Requester:
    """Return who changes records by a load: the organisation whose records they are."""
    return Requester(role="system", person="ehr-load", organization=organization)


def _store_row(
    connection: Connection,
    row: LoadRow,
    current: Version | None,
    event: RuleEvent,
    redo_actions: list[RedoAction],
) -> _StoredRow:
    record, before = row.record, current.facts if current else None
    held: frozenset[HeldFact] = frozenset()
    number = current.version + 1 if current else 1
    if current is not None and before is not None:
        # A record keeps its first author, and a version of anybody else closes it only.
        is_author = record.author == current.author
        record = replace(record, author=current.author)
        held = (
            drop_third_party_facts(before.held)
            if is_author
            else _hold_third_party_facts(connection, row, before)
        )
        record = apply_held_facts(record, held)
        replace_held_facts(connection, record.type, record.id, before.held, held)
    version = insert_version(
        connection,
        record,
        join_body(record, row.meta, row.content, number, event.now_ms),
        last_updated_ms=event.now_ms,
        method="PUT" if current else "POST",
        previous=current,
    )
    replace_rules(connection, record, row.rules, has_previous=current is not None, event=event)
    was_there = before is not None and current is not None and not current.deleted
    redo_action = find_version_redo(
        version, record, before.record if before and was_there else None, held=held
    )
    redo_actions += [redo_action] if redo_action else []
    connection.execute(
        "INSERT INTO load_ledger VALUES (?, ?, ?)"
        " ON CONFLICT (type, id) DO UPDATE SET digest = excluded.digest",
        (record.type, record.id, row.digest),
    )
    return _StoredRow(version, row, record, held, before, bool(redo_action))


def _hold_third_party_facts(
    connection: Connection, row: LoadRow, before: StoredFacts
) -> frozenset[HeldFact]:
    body = read_last_body(connection, row.record.type, row.record.id)
    if body is None:
        return before.held
    now = orjson.loads(join_body(row.record, row.meta, row.content, 1, 0))
    return hold_third_party_facts(orjson.loads(body), now, before.held)


def _find_loaded(connection: Connection, row: LoadRow) -> tuple[bytes, Version] | None:
    """Return the digest of the last load under this id, and the current version."""
    stored = connection.execute(
        f"SELECT r.*, l.digest, {facts_columns(connection.dialect)} FROM resource r"  # noqa: S608
        " LEFT JOIN load_ledger l ON l.type = r.type AND l.id = r.id"
        " WHERE r.type = ? AND r.id = ? AND r.current = 1",
        (row.record.type, row.record.id),
    ).fetchone()
    if stored is None:
        return None
    version = replace(Version.from_row(stored), facts=StoredFacts.from_row(stored))
    return stored["digest"], version
