"""Recompute what the tables hold of each resource: index rows, consent facts, rule rows.

For a revision after which the same resource gives other values. Each batch is one transaction that
begins where the last one ended and writes only what differs. The store stays closed until the last
batch, so no request sees some resources by the old values and some by the new ones.

All versions are recomputed by themselves first. A second pass over the current ones finds what they
inherit from the records that they name.

The words of the full-text index are not recomputed: FTS5 without content cannot delete them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import sqlalchemy

from ehr_fhir.errors import EhrError, Unprocessable
from ehr_fhir.index.rows import extract_rows
from ehr_fhir.json_text import parse
from ehr_fhir.resource_links import list_references
from ehr_gateway.database import Connection, Database, Row
from ehr_gateway.schema.resources import INDEX_COLUMNS
from ehr_gateway.store.index_rows import IndexValues, group_by_table, insert_index
from ehr_gateway.store.inheritance import (
    WrittenRecord,
    read_node,
    read_outward_facts,
    settle_inheritance,
    unindexed_references,
)
from ehr_gateway.store.search_registry import SearchRegistry, load_registry
from ehr_gateway.store.stored_facts import StoredFacts, facts_columns, update_facts
from ehr_gateway.store.version_rows import replace_rules
from ehr_privacy.consent import (
    SOURCE_TABLES,
    Record,
    RuleRow,
    apply_held_facts,
    record_facts,
    stored_rule_rows,
)

__all__ = ["RecomputeProgress", "read_progress", "recompute_batch", "schedule_recompute"]

# The setting that holds the last `pk` recomputed, from `schedule_recompute` to the last batch.
_POSITION_SETTING = "recompute"
# Versions in a batch. Chosen: a few tenths of a second, so that progress shows and a kill costs
# little work.
_BATCH_VERSIONS = 500
_FACTS, _INHERITANCE = "facts", "inheritance"


@dataclass(frozen=True)
class RecomputeProgress:
    """The last position recomputed, and the last one there is."""

    position: int
    last: int


@dataclass(frozen=True)
class _StoredRows:
    """What the tables hold of a batch now, each by `pk`."""

    # Of each index table, rows of (parameter's number, values...).
    index: Mapping[str, Mapping[int, set[tuple[Any, ...]]]]


@dataclass(frozen=True)
class _Position:
    """The last `pk` of a pass over the resources."""

    phase: str
    pk: int


@dataclass
class _BatchChanges:
    """What a batch writes."""

    # Each version's pk, and its facts before and after.
    facts: list[tuple[int, Record, Record]] = field(default_factory=list)
    # Of each index table, rows of (pk, parameter's number, values...).
    removed_index: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    added_index: list[tuple[int, IndexValues]] = field(default_factory=list)
    rules: list[tuple[Record, list[RuleRow]]] = field(default_factory=list)


def schedule_recompute(bind: sqlalchemy.Connection) -> None:
    """Have `ehr upgrade` recompute all resources after its revisions, from the first one on."""
    bind.execute(
        sqlalchemy.text(
            "INSERT INTO setting (name, value) VALUES (:name, :value)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
        ),
        {"name": _POSITION_SETTING, "value": orjson.dumps(0)},
    )


def read_progress(database: Database) -> RecomputeProgress | None:
    """Return how far a recomputation is; None when none is scheduled."""
    with database.read_transaction() as connection:
        position = _read_position(connection)
        last = _read_last(connection)
    return None if position is None else RecomputeProgress(position.pk, last)


def recompute_batch(
    database: Database, parameter_ids: Mapping[tuple[str, str], int], limit: int = _BATCH_VERSIONS
) -> RecomputeProgress | None:
    """Recompute the next batch and return how far that is; None when nothing is left."""
    with database.read_transaction() as connection:
        position = _read_position(connection)
        if position is None:
            return None
        registry = load_registry(connection, None, parameter_ids)
        last = _read_last(connection)
        rows = _select_batch(connection, position, limit)
        changes = _BatchChanges()
        if position.phase == _FACTS:
            changes = _compare_batch(connection, registry, rows)
    reached = int(rows[-1]["pk"]) if len(rows) == limit else None
    with database.write_transaction() as connection:
        # Unless another process has recomputed this batch meanwhile.
        if _read_position(connection) == position:
            _write_changes(connection, changes)
            if position.phase == _INHERITANCE:
                _settle_batch(connection, parameter_ids, rows)
            _save_position(connection, _advance(position, reached))
    return RecomputeProgress(last if reached is None else reached, last)


def _select_batch(connection: Connection, position: _Position, limit: int) -> list[Row]:
    current = " AND r.current = 1" if position.phase == _INHERITANCE else ""
    return connection.execute(
        "SELECT r.pk, r.version, r.current, r.body,"  # noqa: S608
        f" {facts_columns(connection.dialect)} FROM resource r"
        f" WHERE r.pk > ? AND r.deleted = 0{current} ORDER BY r.pk LIMIT ?",
        (position.pk, limit),
    ).fetchall()


def _settle_batch(
    connection: Connection, parameter_ids: Mapping[tuple[str, str], int], rows: list[Row]
) -> None:
    """Let some records inherit, and those that name them, whichever batch they are in."""
    nodes = [(row["pk"], read_node(row)) for row in rows]
    targets = {key for _, node in nodes for key in node.targets.all}
    settle_inheritance(
        connection,
        parameter_ids,
        [WrittenRecord(pk, node, before={}) for pk, node in nodes],
        read_outward_facts(connection, targets),
    )


def _advance(position: _Position, reached: int | None) -> _Position | None:
    if reached is not None:
        return _Position(position.phase, reached)
    return _Position(_INHERITANCE, 0) if position.phase == _FACTS else None


def _read_last(connection: Connection) -> int:
    return int(connection.execute("SELECT MAX(pk) FROM resource").fetchone()[0] or 0)


def _read_position(connection: Connection) -> _Position | None:
    row = connection.execute(
        "SELECT value FROM setting WHERE name = ?", (_POSITION_SETTING,)
    ).fetchone()
    if row is None:
        return None
    value = orjson.loads(row["value"])
    # A plain number is a position of the first pass.
    return _Position(_FACTS, value) if isinstance(value, int) else _Position(*value)


def _save_position(connection: Connection, position: _Position | None) -> None:
    if position is None:
        connection.execute("DELETE FROM setting WHERE name = ?", (_POSITION_SETTING,))
    else:
        connection.execute(
            "UPDATE setting SET value = ? WHERE name = ?",
            (orjson.dumps([position.phase, position.pk]), _POSITION_SETTING),
        )


def _compare_batch(
    connection: Connection, registry: SearchRegistry, rows: list[Row]
) -> _BatchChanges:
    """Recompute some versions and return how the stored rows differ."""
    changes = _BatchChanges()
    if rows:
        stored = _read_stored(connection, rows[0]["pk"], rows[-1]["pk"])
    for row in rows:
        try:
            _compare_version(registry, row, stored, changes)
        except EhrError as error:
            raise Unprocessable(
                f"{row['type']}/{row['id']}, version {row['version']}, cannot be read by the rules "
                "of this version. The upgrade has stopped and goes on from here; until then the "
                "backup and the version that made it can be used."
            ) from error
    return changes


def _read_stored(connection: Connection, first: int, last: int) -> _StoredRows:
    return _StoredRows(
        {
            table: _read_by_pk(connection, f"idx_{table}", ("param", *columns), first, last)
            for table, columns in INDEX_COLUMNS.items()
        },
    )


def _read_by_pk(
    connection: Connection, table: str, columns: tuple[str, ...], first: int, last: int
) -> dict[int, set[tuple[Any, ...]]]:
    statement = f"SELECT pk, {', '.join(columns)} FROM {table} WHERE pk BETWEEN ? AND ?"  # noqa: S608
    by_pk: dict[int, set[tuple[Any, ...]]] = {}
    for pk, *values in connection.execute(statement, (first, last)):
        by_pk.setdefault(pk, set()).add(tuple(values))
    return by_pk


def _compare_version(
    registry: SearchRegistry, row: Row, stored: _StoredRows, changes: _BatchChanges
) -> None:
    pk, resource, before = row["pk"], parse(row["body"]), StoredFacts.from_row(row)
    references = [reference for _, reference in list_references(resource)]
    record = record_facts(resource, row["author"], references=references)
    if row["current"]:
        record = apply_held_facts(record, before.held)
    if record != before.record:
        changes.facts.append((pk, before.record, record))
    # Only the current version is searched and gives rules.
    if row["current"]:
        added = registry.extract_rows(row["type"], row["body"])
        rows = extract_rows(resource)
        rows += [*unindexed_references(row["type"], references, rows), *added]
        values = group_by_table(registry.ids, row["type"], rows)
        _compare_index(pk, values, stored, changes)
        if row["type"] in SOURCE_TABLES:
            changes.rules.append((record, stored_rule_rows(resource)))


def _compare_index(
    pk: int, values: IndexValues, stored: _StoredRows, changes: _BatchChanges
) -> None:
    added: IndexValues = {}
    for table, by_pk in stored.index.items():
        before, after = by_pk.get(pk, set()), set(values.get(table, ()))
        if before - after:
            removed = changes.removed_index.setdefault(table, [])
            removed += [(pk, *index_row) for index_row in before - after]
        if after - before:
            added[table] = list(after - before)
    if added:
        changes.added_index.append((pk, added))


def _write_changes(connection: Connection, changes: _BatchChanges) -> None:
    for pk, before, after in changes.facts:
        update_facts(connection, pk, before, after)
    for table, rows in changes.removed_index.items():
        _delete_rows(connection, f"idx_{table}", ("param", *INDEX_COLUMNS[table]), rows)
    insert_index(connection, changes.added_index)
    for record, rules in changes.rules:
        replace_rules(connection, record, rules, has_previous=True, event=None)


def _delete_rows(
    connection: Connection, table: str, columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]
) -> None:
    condition = " AND ".join(f"{name} = ?" for name in ("pk", *columns))
    connection.executemany(f"DELETE FROM {table} WHERE {condition}", rows)  # noqa: S608
