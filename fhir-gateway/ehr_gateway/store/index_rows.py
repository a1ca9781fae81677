"""Write the index rows of versions: those that are new, and of an update those that differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import orjson

from ehr_fhir.index.rows import IndexRow
from ehr_gateway.database import Connection
from ehr_gateway.schema.resources import INDEX_COLUMNS, index_column_type
from ehr_gateway.store.parameter_ids import UNINDEXED_PARAMETER
from ehr_gateway.store.store import Version
from ehr_privacy.consent import BY_ROW

__all__ = [
    "IndexValues",
    "group_by_table",
    "insert_index",
    "remove_index",
    "replace_index",
]

Parameters = Mapping[tuple[str, str], int]
# Index table -> rows of (parameter's number, values...).
IndexValues = dict[str, list[tuple[Any, ...]]]

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
