"""Insert and replace the rows of one version: resource, patients, labels, consent rules.

Those of the search index are in `index_rows`.

Permission is checked by the caller (`transaction`).
"""

from __future__ import annotations

from collections.abc import Sequence

from ehr_gateway.database import Connection
from ehr_gateway.store.decision_changes import mark_author_person, mark_rules_of_consent
from ehr_gateway.store.grant_endings import (
    RuleEvent,
    apply_rule_event,
    read_rows,
    without_ended,
)
from ehr_gateway.store.merging import linked_accounts, update_merged_rules
from ehr_gateway.store.store import Version
from ehr_gateway.store.stored_facts import read_stored_facts, update_patients_and_labels
from ehr_privacy.consent import RECORD_COLUMNS, SOURCE_TABLES, Record, RuleRow

__all__ = ["FACT_COLUMNS", "insert_version", "replace_rules"]

# What consent judges a version by, beside its patients and labels: `Record.column_values`.
FACT_COLUMNS = tuple(column.name for column in RECORD_COLUMNS)
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
    if has_previous and record.type == "Consent":
        mark_rules_of_consent(connection, record.id)
    if has_previous and record.type == "PractitionerRole":
        _mark_members(connection, record.id)
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
    if rules and record.type == "Consent":
        mark_rules_of_consent(connection, record.id)
    if rules and record.type == "PractitionerRole":
        _mark_members(connection, record.id)


def _mark_members(connection: Connection, role: str) -> None:
    rows = connection.execute(
        "SELECT DISTINCT practitioner FROM consent_membership WHERE consent = ?", (role,)
    )
    for row in rows.fetchall():
        mark_author_person(connection, row["practitioner"])
