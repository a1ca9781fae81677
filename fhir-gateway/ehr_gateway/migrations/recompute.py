"""Work out anew what the tables hold of each resource: index rows, facts, consent rules.

For a revision after which the same resource gives other values. Done in batches, each of them one
transaction that begins where the last one ended; only what differs is written. Until the last batch
the store stays closed, so nobody sees half of it.

The words of the full-text index are left as they are: SQLite's cannot be taken out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import sqlalchemy

from ehr_fhir.index.rows import extract_rows
from ehr_fhir.json_text import parse
from ehr_gateway.database import Connection, Database, Row
from ehr_gateway.schema.resources import INDEX_COLUMNS
from ehr_gateway.store.search_registry import SearchRegistry, load_registry
from ehr_gateway.store.version_rows import (
    FACT_COLUMNS,
    IndexValues,
    fact_values,
    group_by_table,
    insert_index,
    replace_rules,
)
from ehr_privacy.consent import SOURCE_TABLES, Record, record_facts, rule_rows

__all__ = ["RECOMPUTE_SETTING", "recompute_step", "schedule_recompute"]

RECOMPUTE_SETTING = "recompute"
# Versions of a batch. Chosen: some tenths of a second, so that progress is seen and a killed
# upgrade loses little.
_VERSIONS_PER_STEP = 500
_UPDATE_FACTS = (
    f"UPDATE resource SET {', '.join(f'{name} = ?' for name in FACT_COLUMNS)} WHERE pk = ?"  # noqa: S608
)


@dataclass
class _Changes:
    """What one batch writes."""

    facts: list[tuple[Any, ...]] = field(default_factory=list)
    patients_out: list[tuple[int, str]] = field(default_factory=list)
    patients_in: list[tuple[int, str]] = field(default_factory=list)
    # table -> rows of (pk, parameter's number, values...)
    index_out: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    index_in: list[tuple[int, IndexValues]] = field(default_factory=list)
    rules: list[tuple[Record, Mapping[str, Any]]] = field(default_factory=list)


def schedule_recompute(bind: sqlalchemy.Connection) -> None:
    """Let the upgrade recompute every resource, from the first one, when its revisions are done."""
    bind.execute(
        sqlalchemy.text(
            "INSERT INTO setting (name, value) VALUES (:name, :value)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
        ),
        {"name": RECOMPUTE_SETTING, "value": b"0"},
    )


def recompute_step(
    database: Database, ids: Mapping[tuple[str, str], int], most: int = _VERSIONS_PER_STEP
) -> tuple[int, int] | None:
    """Do the next batch; return how far it came, of how many positions. None: all is done."""
    with database.read_transaction() as connection:
        position = _position(connection)
        if position is None:
            return None
        registry = load_registry(connection, None, ids)
        rows = connection.execute(
            f"SELECT pk, type, current, author, body, {', '.join(FACT_COLUMNS)} FROM resource"  # noqa: S608
            " WHERE pk > ? AND deleted = 0 ORDER BY pk LIMIT ?",
            (position, most),
        ).fetchall()
        changes = _compare(connection, registry, rows)
    with database.write_transaction() as connection:
        _write(connection, changes)
        if len(rows) == most:
            position = int(rows[-1]["pk"])
            connection.execute(
                "UPDATE setting SET value = ? WHERE name = ?",
                (orjson.dumps(position), RECOMPUTE_SETTING),
            )
        else:
            position = registry.latest_pk
            connection.execute("DELETE FROM setting WHERE name = ?", (RECOMPUTE_SETTING,))
    return position, registry.latest_pk


def _position(connection: Connection) -> int | None:
    row = connection.execute(
        "SELECT value FROM setting WHERE name = ?", (RECOMPUTE_SETTING,)
    ).fetchone()
    return None if row is None else int(orjson.loads(row["value"]))


def _compare(connection: Connection, registry: SearchRegistry, rows: list[Row]) -> _Changes:
    """Work out what the rows of some versions should be, and how those in the tables differ."""
    changes = _Changes()
    if not rows:
        return changes
    span = rows[0]["pk"], rows[-1]["pk"]
    patients = _grouped(connection, "record_patient", ("patient",), span)
    stored = {
        table: _grouped(connection, f"idx_{table}", ("param", *columns), span)
        for table, columns in INDEX_COLUMNS.items()
    }
    for row in rows:
        pk, resource = row["pk"], parse(row["body"])
        record = record_facts(resource, row["author"])
        if fact_values(record) != tuple(row[name] for name in FACT_COLUMNS):
            changes.facts.append((*fact_values(record), pk))
        has = {patient for (patient,) in patients.get(pk, ())}
        changes.patients_out += [(pk, one) for one in sorted(has - record.patients)]
        changes.patients_in += [(pk, one) for one in sorted(record.patients - has)]
        if row["current"]:
            found = (*extract_rows(resource), *registry.extract_rows(row["type"], row["body"]))
            wanted = group_by_table(registry.ids, row["type"], found)
            has_rows = {table: by_pk.get(pk, set()) for table, by_pk in stored.items()}
            _compare_index(pk, wanted, has_rows, changes)
            if row["type"] in SOURCE_TABLES:
                changes.rules.append((record, resource))
    return changes


def _compare_index(
    pk: int, wanted: IndexValues, stored: Mapping[str, set[tuple[Any, ...]]], changes: _Changes
) -> None:
    missing = {}
    for table, has in stored.items():
        should = set(wanted.get(table, ()))
        if has - should:
            changes.index_out.setdefault(table, []).extend((pk, *one) for one in has - should)
        if should - has:
            missing[table] = list(should - has)
    if missing:
        changes.index_in.append((pk, missing))


def _grouped(
    connection: Connection, table: str, columns: tuple[str, ...], span: tuple[int, int]
) -> dict[int, set[tuple[Any, ...]]]:
    """Return pk -> the rows of a table, of the versions from one pk to another."""
    statement = f"SELECT pk, {', '.join(columns)} FROM {table} WHERE pk BETWEEN ? AND ?"  # noqa: S608
    found: dict[int, set[tuple[Any, ...]]] = {}
    for pk, *values in connection.execute(statement, span):
        found.setdefault(pk, set()).add(tuple(values))
    return found


def _write(connection: Connection, changes: _Changes) -> None:
    connection.executemany(_UPDATE_FACTS, changes.facts)
    _delete(connection, "record_patient", ("patient",), changes.patients_out)
    connection.executemany(
        "INSERT INTO record_patient (pk, patient) VALUES (?, ?)", changes.patients_in
    )
    for table, rows in changes.index_out.items():
        _delete(connection, f"idx_{table}", ("param", *INDEX_COLUMNS[table]), rows)
    insert_index(connection, changes.index_in)
    for record, resource in changes.rules:
        replace_rules(connection, record, rule_rows(resource), has_previous=True)


def _delete(
    connection: Connection, table: str, columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]
) -> None:
    condition = " AND ".join(f"{name} = ?" for name in ("pk", *columns))
    connection.executemany(f"DELETE FROM {table} WHERE {condition}", rows)  # noqa: S608
