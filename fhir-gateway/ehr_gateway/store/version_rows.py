"""Insert and delete the rows of one version: resource, index, words, consent rules.

Permission is checked by the caller (`transaction`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import orjson

from ehr_fhir.index.rows import IndexRow
from ehr_gateway.database import Connection
from ehr_gateway.schema.resources import INDEX_COLUMNS, index_column_type
from ehr_gateway.store.grant_endings import (
    RuleEvent,
    apply_rule_event,
    read_rows,
    without_ended,
)
from ehr_gateway.store.merging import linked_accounts, update_merged_rules
from ehr_gateway.store.parameter_ids import UNINDEXED_PARAMETER
from ehr_gateway.store.store import Version
from ehr_gateway.store.stored_facts import read_stored_facts, update_patients_and_labels
from ehr_privacy.consent import BY_ROW, RECORD_COLUMNS, SOURCE_TABLES, Record, RuleRow

__all__ = [
    "FACT_COLUMNS",
    "IndexValues",
    "group_by_table",
    "insert_index",
    "insert_version",
    "remove_index",
    "replace_index",
    "replace_rules",
]

Parameters = Mapping[tuple[str, str], int]
# Index table -> rows of (parameter's number, values...).
IndexValues = dict[str, list[tuple[Any, ...]]]

# What consent judges a version by, beside its patients and labels: `Record.column_values`.
FACT_COLUMNS = tuple(column.name for column in RECORD_COLUMNS)
_INDEX_INSERT = {
    kind: f"INSERT INTO idx_{kind} (param, {', '.join(columns)}, pk)"  # noqa: S608
    f" VALUES (?, ?, {', '.join('?' * len(columns))}) ON CONFLICT DO NOTHING"
    for kind, columns in INDEX_COLUMNS.items()
}
_INDEX_SELECT = {
    kind: f"SELECT param, {', '.join(columns)}, pk FROM idx_{kind} WHERE pk = ?"  # noqa: S608
    for kind, columns in INDEX_COLUMNS.items()
}
# All tables in one round trip, each as a JSON array of rows.
_INDEX_ARRAYS = {
    kind: f"SELECT CAST(json_agg(json_build_array(param, {', '.join(columns)}, pk)) AS text)"  # noqa: S608
    f" FROM idx_{kind} WHERE pk = ANY(:pks)"
    for kind, columns in INDEX_COLUMNS.items()
}
_INDEX_SELECT_POSTGRESQL = (
    f"SELECT {', '.join(f'({select}) AS {kind}' for kind, select in _INDEX_ARRAYS.items())}"
)
_INDEX_DELETE = {
    kind: f"DELETE FROM idx_{kind} WHERE param = ?"  # noqa: S608
    f" AND {' AND '.join(f'{column} = ?' for column in columns)} AND pk = ?"
    for kind, columns in INDEX_COLUMNS.items()
}
_REMOVE_POSTGRESQL = (
    "WITH "  # noqa: S608
    + ", ".join(
        f"d_{kind} AS (DELETE FROM idx_{kind} WHERE pk = :pk)"  # noqa: S608
        for kind in INDEX_COLUMNS
    )
    + " DELETE FROM full_text WHERE pk = :pk"
)
_POSTGRESQL_TYPES = {"integer": "int8", "real": "float8", "text": "text"}
# The columns of a row that the next version replaces; type and id stay.
_VERSION_COLUMNS = (
    *("author", "version", "deleted", "last_updated", "method"),
    *FACT_COLUMNS,
    "body",
)
_NEXT_POSITION = "(SELECT COALESCE(MAX(position), 0) + 1 FROM resource)"
_INSERT = (
    f"INSERT INTO resource (type, id, {', '.join(_VERSION_COLUMNS)}, current, position)"  # noqa: S608
    f" VALUES (?, ?, {', '.join('?' * len(_VERSION_COLUMNS))}, 1, {_NEXT_POSITION})"
    " RETURNING pk, position"
)
# With the patients and the labels, in one round trip.
_INSERT_POSTGRESQL = (
    f"WITH inserted AS ({_INSERT}),"  # noqa: S608
    " people AS (INSERT INTO record_patient (pk, patient)"
    " SELECT i.pk, patient FROM inserted i, unnest(CAST(? AS text[])) patient),"
    " labels AS (INSERT INTO record_label (pk, label, added)"
    " SELECT i.pk, label, CAST(label = ANY(CAST(? AS text[])) AS int)"
    " FROM inserted i, unnest(CAST(? AS text[])) label)"
    " SELECT pk, position FROM inserted"
)
_COPIED_COLUMNS = f"type, id, {', '.join(_VERSION_COLUMNS)}, position"
_ARCHIVE = (
    f"INSERT INTO resource ({_COPIED_COLUMNS}, current)"  # noqa: S608
    f" SELECT {_COPIED_COLUMNS}, 0 FROM resource WHERE pk = ? RETURNING pk"
)
_ARCHIVE_POSTGRESQL = (
    f"WITH archived AS ({_ARCHIVE}),"  # noqa: S608
    " labels AS (INSERT INTO record_label (pk, label, added)"
    " SELECT a.pk, l.label, l.added FROM archived a, record_label l WHERE l.pk = ?)"
    " INSERT INTO record_patient (pk, patient)"
    " SELECT a.pk, p.patient FROM archived a, record_patient p WHERE p.pk = ?"
)
_REPLACE = (
    f"UPDATE resource SET {', '.join(f'{name} = ?' for name in _VERSION_COLUMNS)},"  # noqa: S608
    f" position = {_NEXT_POSITION} WHERE pk = ? RETURNING position"
)


def insert_version(
    connection: Connection,
    record: Record,
    body: bytes,
    *,
    last_updated_ms: int,
    method: str,
    previous: Version | None = None,
) -> Version:
    """Insert a version as the current one, with the facts that the consent condition reads.

    `previous`: the current version until now. Its row becomes the new version's, and what it held
    is kept in a row of its own; its index rows are those of the new version until `replace_index`.
    """
    deleted = method == "DELETE"
    number = previous.version + 1 if previous else 1
    values = (
        record.author, number, int(deleted), last_updated_ms, method, *record.column_values, body,
    )  # fmt: skip
    if previous is None:
        pk, position = _insert_first(connection, record, values)
    else:
        facts = previous.facts or read_stored_facts(connection, record.type, record.id)
        _archive_version(connection, previous.pk)
        pk = previous.pk
        row = connection.execute(_REPLACE, (*values, pk)).fetchone()
        position = int(row["position"])
        if facts is not None:
            update_patients_and_labels(connection, pk, facts.record, record)
    return Version(
        pk, record.type, record.id, number, last_updated_ms, deleted, body, method, record.author,
        position,
    )  # fmt: skip


def _insert_first(
    connection: Connection, record: Record, values: Sequence[object]
) -> tuple[int, int]:
    """Insert the first version of a resource; return its pk and position."""
    values = (record.type, record.id, *values)
    if connection.dialect == "postgresql":
        people = (sorted(record.patients), sorted(record.added_labels), sorted(record.labels))
        row = connection.execute(_INSERT_POSTGRESQL, (*values, *people)).fetchone()
        return int(row["pk"]), int(row["position"])
    row = connection.execute(_INSERT, values).fetchone()
    pk = int(row["pk"])
    nobody = Record(type=record.type, id=record.id)
    update_patients_and_labels(connection, pk, nobody, record)
    return pk, int(row["position"])


def _archive_version(connection: Connection, pk: int) -> None:
    """Copy a current version into a row of its own, under its position."""
    if connection.dialect == "postgresql":
        # In one round trip.
        connection.execute(_ARCHIVE_POSTGRESQL, (pk, pk, pk))
        return
    archived = connection.execute(_ARCHIVE, (pk,)).fetchone()["pk"]
    for table, columns in (("record_patient", "patient"), ("record_label", "label, added")):
        connection.execute(
            f"INSERT INTO {table} (pk, {columns}) SELECT ?, {columns} FROM {table} WHERE pk = ?",  # noqa: S608
            (archived, pk),
        )


def group_by_table(
    parameters: Parameters, resource_type: str, rows: Iterable[IndexRow]
) -> IndexValues:
    """Group index rows by table, each as (parameter's number, values...)."""
    by_table: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for table, code, values, contained_type in rows:
        if contained_type:
            # What a contained resource holds is found through the one that contains it alone: its
            # parameters have negative numbers, which no search for its own type looks up.
            number = -parameters[contained_type, code]
        else:
            number = parameters[resource_type, code] if code else UNINDEXED_PARAMETER
        by_table[table].append((number, *values))
    return dict(by_table)


def insert_index(connection: Connection, versions: Iterable[tuple[int, IndexValues]]) -> None:
    """Insert the index rows of several versions, each given as (pk, rows by table)."""
    _write_index(connection, _collect_rows(versions), {})


def replace_index(connection: Connection, versions: Iterable[tuple[int, IndexValues]]) -> None:
    """Write how the index rows of several versions differ from those that are there."""
    by_pk = dict(versions)
    if not by_pk:
        return
    before, after = _select_index(connection, list(by_pk)), _collect_rows(by_pk.items())
    _write_index(connection, _subtract_rows(after, before), _subtract_rows(before, after))


def remove_index(connection: Connection, version: Version) -> None:
    """Delete the index rows and the words of a version."""
    if connection.dialect == "postgresql":
        connection.execute(_REMOVE_POSTGRESQL, {"pk": version.pk})
        return
    # On SQLite the words stay (`full_text`).
    for table in INDEX_COLUMNS:
        connection.execute(f"DELETE FROM idx_{table} WHERE pk = ?", (version.pk,))  # noqa: S608


def _collect_rows(versions: Iterable[tuple[int, IndexValues]]) -> IndexValues:
    """Return rows of (parameter's number, values..., pk) by table."""
    rows_by_table: IndexValues = defaultdict(list)
    for pk, by_table in versions:
        for table, rows in by_table.items():
            rows_by_table[table] += [(*row, pk) for row in rows]
    return dict(rows_by_table)


def _subtract_rows(rows_by_table: IndexValues, others: IndexValues) -> IndexValues:
    """Return the rows that are not among others, of the tables that have such rows."""
    remaining = {
        table: [*{*rows}.difference(others.get(table, ()))] for table, rows in rows_by_table.items()
    }
    return {table: rows for table, rows in remaining.items() if rows}


def _select_index(connection: Connection, pks: Sequence[int]) -> IndexValues:
    """Return the index rows that versions have, as `_collect_rows` gives them."""
    if connection.dialect == "postgresql":
        row = connection.execute(_INDEX_SELECT_POSTGRESQL, {"pks": pks}).fetchone()
        return {
            table: [tuple(values) for values in orjson.loads(row[table] or b"[]")]
            for table in INDEX_COLUMNS
        }
    return {
        table: [tuple(row) for pk in pks for row in connection.execute(select, (pk,))]
        for table, select in _INDEX_SELECT.items()
    }


def _write_index(connection: Connection, added: IndexValues, deleted: IndexValues) -> None:
    """Insert and delete index rows, sorted by key: rows of a B-tree page follow each other."""
    for rows in (*added.values(), *deleted.values()):
        rows.sort()
    if connection.dialect == "postgresql":
        if added or deleted:
            statement = _write_statement(tuple(sorted(added)), tuple(sorted(deleted)))
            rows_as_json = {"added": added, "deleted": deleted}
            connection.execute(statement, (orjson.dumps(rows_as_json).decode(),))
        return
    for table, rows in deleted.items():
        connection.executemany(_INDEX_DELETE[table], rows)
    for table, rows in added.items():
        connection.executemany(_INDEX_INSERT[table], rows)


@cache
def _write_statement(added: tuple[str, ...], deleted: tuple[str, ...]) -> str:
    """Return PostgreSQL's statement that inserts into and deletes from some index tables.

    In one round trip. Its parameter is a JSON object of rows by table, by `added` and `deleted`.
    """
    parts = ["given AS MATERIALIZED (SELECT CAST(? AS jsonb) AS rows)"]
    for table in added:
        names = ", ".join(("param", *INDEX_COLUMNS[table], "pk"))
        parts.append(
            f"added_{table} AS (INSERT INTO idx_{table} ({names})"  # noqa: S608
            f" SELECT * FROM ({_select_given('added', table)}) v ON CONFLICT DO NOTHING)"
        )
    for table in deleted:
        columns = ("param", *INDEX_COLUMNS[table], "pk")
        same = " AND ".join(f"i.{name} = v.{name}" for name in columns)
        parts.append(
            f"deleted_{table} AS (DELETE FROM idx_{table} i"  # noqa: S608
            f" USING ({_select_given('deleted', table)}) v WHERE {same})"
        )
    return f"WITH {', '.join(parts)} SELECT 1"


def _select_given(change: str, table: str) -> str:
    values = ", ".join(
        f"CAST(r ->> {number} AS {_POSTGRESQL_TYPES[index_column_type(table, name)]}) AS {name}"
        for number, name in enumerate(("param", *INDEX_COLUMNS[table], "pk"))
    )
    rows = f"jsonb_array_elements(rows -> '{change}' -> '{table}') r"
    return f"SELECT {values} FROM given, {rows} {BY_ROW}"  # noqa: S608


def replace_rules(
    connection: Connection,
    record: Record,
    rules: Sequence[RuleRow],
    *,
    has_previous: bool,
    event: RuleEvent | None,
) -> None:
    """Replace the consent rule rows of a resource.

    `has_previous`: whether an earlier version may have left rule rows. `event`: when that happens,
    which may end grants for good; None if the resource itself does not change.
    """
    accounts_before = linked_accounts(connection, record.id) if record.type == "Patient" else []
    rules = without_ended(connection, record.id, rules)
    before = read_rows(connection, record) if has_previous and event else []
    if has_previous:
        for table in SOURCE_TABLES.get(record.type, ()):
            connection.execute(f"DELETE FROM {table} WHERE consent = ?", (record.id,))  # noqa: S608
    for rule in rules:
        columns = ", ".join(rule.values)
        placeholders = ", ".join(f":{name}" for name in rule.values)
        statement = f"INSERT INTO {rule.table} ({columns}) VALUES ({placeholders})"  # noqa: S608
        connection.execute(statement, dict(rule.values))
    if event is not None and record.type in ("Consent", "Organization"):
        apply_rule_event(connection, record, before, rules, event)
    update_merged_rules(connection, record, rules, accounts_before)
