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
from ehr_privacy.consent import RECORD_COLUMNS, SOURCE_TABLES, Record, RuleRow

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
    kind: f"SELECT param, {', '.join(columns)} FROM idx_{kind} WHERE pk = ?"  # noqa: S608
    for kind, columns in INDEX_COLUMNS.items()
}
_INDEX_DELETE = {
    kind: f"DELETE FROM idx_{kind} WHERE pk = ? AND param = ?"  # noqa: S608
    f" AND {' AND '.join(f'{column} = ?' for column in columns)}"
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
    rows_by_table = _collect_rows(versions)
    if connection.dialect == "postgresql":
        if rows_by_table:
            statement = _postgresql_statement(tuple(sorted(rows_by_table)), replaces=False)
            connection.execute(statement, {"rows": orjson.dumps(rows_by_table).decode()})
        return
    for table, rows in rows_by_table.items():
        connection.executemany(_INDEX_INSERT[table], rows)


def replace_index(connection: Connection, versions: Iterable[tuple[int, IndexValues]]) -> None:
    """Write how the index rows of several versions differ from those that are there."""
    by_pk = dict(versions)
    if not by_pk:
        return
    if connection.dialect == "postgresql":
        rows = orjson.dumps(_collect_rows(by_pk.items())).decode()
        statement = _postgresql_statement(tuple(INDEX_COLUMNS), replaces=True)
        connection.execute(statement, {"rows": rows, "pks": list(by_pk)})
        return
    for pk, by_table in by_pk.items():
        for table in INDEX_COLUMNS:
            before = {tuple(row) for row in connection.execute(_INDEX_SELECT[table], (pk,))}
            after = set(by_table.get(table, ()))
            if before != after:
                deleted, added = before - after, after - before
                connection.executemany(_INDEX_DELETE[table], [(pk, *row) for row in deleted])
                connection.executemany(_INDEX_INSERT[table], sorted((*row, pk) for row in added))


def remove_index(connection: Connection, version: Version) -> None:
    """Delete the index rows and the words of a version."""
    if connection.dialect == "postgresql":
        connection.execute(_REMOVE_POSTGRESQL, {"pk": version.pk})
        return
    # On SQLite the words stay (`full_text`).
    for table in INDEX_COLUMNS:
        connection.execute(f"DELETE FROM idx_{table} WHERE pk = ?", (version.pk,))  # noqa: S608


def _collect_rows(versions: Iterable[tuple[int, IndexValues]]) -> IndexValues:
    """Return rows of (parameter's number, values..., pk) by table, sorted by key.

    So that rows of the same B-tree page are inserted together.
    """
    rows_by_table: IndexValues = defaultdict(list)
    for pk, by_table in versions:
        for table, rows in by_table.items():
            rows_by_table[table] += [(*row, pk) for row in rows]
    for rows in rows_by_table.values():
        rows.sort()
    return dict(rows_by_table)


@cache
def _postgresql_statement(tables: tuple[str, ...], *, replaces: bool) -> str:
    """Return the statement that writes the rows of some index tables in one round trip.

    Its parameters: the rows as a JSON object of arrays by table; if it `replaces`, the pks whose
    other rows it deletes.
    """
    parts = []
    for table in tables:
        columns = ("param", *INDEX_COLUMNS[table], "pk")
        values = ", ".join(
            f"CAST(v ->> {number} AS {_POSTGRESQL_TYPES[index_column_type(table, name)]}) AS {name}"
            for number, name in enumerate(columns)
        )
        names = ", ".join(columns)
        parts.append(
            f"new_{table} AS MATERIALIZED (SELECT {values}"  # noqa: S608
            f" FROM jsonb_array_elements(CAST(:rows AS jsonb) -> '{table}') v)"
        )
        if replaces:
            same = " AND ".join(f"n.{name} = i.{name}" for name in columns)
            parts.append(
                f"deleted_{table} AS (DELETE FROM idx_{table} i WHERE i.pk = ANY(:pks)"  # noqa: S608
                f" AND NOT EXISTS (SELECT 1 FROM new_{table} n WHERE {same}))"
            )
        parts.append(
            f"added_{table} AS (INSERT INTO idx_{table} ({names})"  # noqa: S608
            f" SELECT {names} FROM new_{table} ON CONFLICT DO NOTHING)"
        )
    return f"WITH {', '.join(parts)} SELECT 1"


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
