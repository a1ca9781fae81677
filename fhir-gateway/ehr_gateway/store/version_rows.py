"""Insert and delete the rows of one version: resource, index, words, consent rules.

Permission is checked by the caller (`transaction`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ehr_fhir.index.rows import IndexRow
from ehr_gateway.database import Connection
from ehr_gateway.schema.resources import INDEX_COLUMNS
from ehr_gateway.store import full_text
from ehr_gateway.store.grant_endings import (
    RuleEvent,
    apply_rule_event,
    read_rows,
    without_ended,
)
from ehr_gateway.store.merging import linked_accounts, update_merged_rules
from ehr_gateway.store.parameter_ids import UNINDEXED_PARAMETER
from ehr_gateway.store.store import Version
from ehr_privacy.consent import RECORD_COLUMNS, SOURCE_TABLES, Record, RuleRow

__all__ = [
    "FACT_COLUMNS",
    "IndexValues",
    "group_by_table",
    "insert_index",
    "insert_version",
    "remove_index",
    "replace_rules",
]

Parameters = Mapping[tuple[str, str], int]
# Index table -> rows of (parameter's number, values...).
IndexValues = dict[str, list[tuple[Any, ...]]]

# What consent judges a version by, beside its patients and labels: `Record.column_values`.
FACT_COLUMNS = tuple(column.name for column in RECORD_COLUMNS)
_INSERT = (
    "INSERT INTO resource (type, id, version, current, deleted, last_updated, method, author,"  # noqa: S608
    f" {', '.join(FACT_COLUMNS)}, body) VALUES"
    f" (?, ?, ?, 1, ?, ?, ?, ?, {', '.join('?' * len(FACT_COLUMNS))}, ?) RETURNING pk"
)
_INDEX_INSERT = {
    kind: f"INSERT INTO idx_{kind} (param, {', '.join(columns)}, pk)"  # noqa: S608
    f" VALUES (?, ?, {', '.join('?' * len(columns))}) ON CONFLICT DO NOTHING"
    for kind, columns in INDEX_COLUMNS.items()
}
_INDEX_DELETE = [f"DELETE FROM idx_{kind} WHERE pk = ?" for kind in INDEX_COLUMNS]  # noqa: S608


def insert_version(
    connection: Connection,
    record: Record,
    body: bytes,
    *,
    version: int,
    last_updated_ms: int,
    method: str,
) -> Version:
    """Insert a version as the current one, with the facts that the consent condition reads."""
    deleted = method == "DELETE"
    if version > 1:
        # First: the index `resource_current` allows one current version of a resource.
        connection.execute(
            "UPDATE resource SET current = 0 WHERE type = ? AND id = ? AND current = 1",
            (record.type, record.id),
        )
    cursor = connection.execute(
        _INSERT,
        (
            record.type, record.id, version, int(deleted), last_updated_ms, method, record.author,
            *record.column_values, body,
        ),
    )  # fmt: skip
    pk = int(cursor.fetchone()[0])
    connection.executemany(
        "INSERT INTO record_patient (pk, patient) VALUES (?, ?)",
        [(pk, patient) for patient in sorted(record.patients)],
    )
    if record.labels:
        connection.executemany(
            "INSERT INTO record_label (pk, label, added) VALUES (?, ?, ?)",
            [(pk, label, int(label in record.added_labels)) for label in sorted(record.labels)],
        )
    return Version(
        pk, record.type, record.id, version, last_updated_ms, deleted, body, method, record.author
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
    rows_by_table: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for pk, by_table in versions:
        for table, rows in by_table.items():
            rows_by_table[table] += [(*row, pk) for row in rows]
    for table, rows in rows_by_table.items():
        # Sorted by key, so that rows of the same B-tree page are inserted together.
        rows.sort()
        connection.executemany(_INDEX_INSERT[table], rows)


def remove_index(connection: Connection, version: Version) -> None:
    """Delete the index rows and the words of a version."""
    for delete in _INDEX_DELETE:
        connection.execute(delete, (version.pk,))
    full_text.remove_words(connection, version.pk)


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
