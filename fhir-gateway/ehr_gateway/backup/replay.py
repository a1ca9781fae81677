"""Replay of the journal: what was closed since the backup is closed again, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from ehr_fhir.errors import EhrError
from ehr_fhir.json_text import parse
from ehr_gateway.audit_log.erase import erase_patient_events
from ehr_gateway.audit_log.recorder import AuditContext
from ehr_gateway.database import DATABASE_ERRORS, Connection
from ehr_gateway.journal.entries import Entry
from ehr_gateway.journal.redo_actions import FACTOR_TABLES
from ehr_gateway.store import full_text, search_registry
from ehr_gateway.store.store import Store, Version
from ehr_gateway.store.version_rows import (
    group_by_table,
    insert_index,
    insert_version,
    remove_index,
    replace_rules,
)
from ehr_gateway.transaction.prepared_resource import prepare_resource
from ehr_privacy.consent import record_facts

__all__ = ["ReplayResult", "describe_redo_action", "replay_entries"]

_RedoValues = Mapping[str, Any]


@dataclass
class ReplayResult:
    """What was closed again, and what could not be."""

    replayed: int = 0
    failed: list[str] = field(default_factory=list)


def replay_entries(
    store: Store, connection: Connection, entries: Iterable[Entry], audit_context: AuditContext
) -> ReplayResult:
    """Make each closing again in the caller's transaction; one that cannot be made is named."""
    result = ReplayResult()
    for entry in entries:
        for closing in entry.closings:
            connection.execute("SAVEPOINT closing")
            try:
                _replay(store, connection, closing, entry.at_ms, audit_context)
                result.replayed += 1
            except (EhrError, KeyError, TypeError, ValueError, *DATABASE_ERRORS):
                connection.execute("ROLLBACK TO SAVEPOINT closing")
                result.failed.append(describe_redo_action(closing))
            connection.execute("RELEASE SAVEPOINT closing")
    return result


def describe_redo_action(closing: _RedoValues) -> str:
    """Name what a closing is about, by its kind and id.

    >>> describe_redo_action({"kind": "version", "type": "Consent", "id": "c-1"})
    'Consent/c-1'
    >>> describe_redo_action({"kind": "account", "login": "dr.lee"})
    'account dr.lee'
    """
    if closing["kind"] == "version":
        return f"{closing['type']}/{closing['id']}"
    names = (closing.get(name) for name in ("login", "client", "patient"))
    return f"{closing['kind']} {next((name for name in names if name), '')}"


def _replay(
    store: Store,
    connection: Connection,
    closing: _RedoValues,
    at_ms: int,
    audit_context: AuditContext,
) -> None:
    if closing["kind"] == "version":
        _replay_version(store, connection, closing, at_ms)
    elif closing["kind"] == "erasure":
        erase_patient_events(connection, audit_context, str(closing["patient"]))
    else:
        _HANDLERS[closing["kind"]](connection, closing)


def _replay_version(store: Store, connection: Connection, closing: _RedoValues, at_ms: int) -> None:
    row = connection.execute(
        "SELECT * FROM resource WHERE type = ? AND id = ? AND current = 1",
        (closing["type"], closing["id"]),
    ).fetchone()
    current = Version.from_row(row) if row else None
    deletes = closing["method"] == "DELETE"
    if deletes and (current is None or current.deleted):
        return
    if current is not None and not current.deleted:
        remove_index(connection, current)
    latest = connection.execute("SELECT last_updated FROM resource ORDER BY pk DESC LIMIT 1")
    latest_row = latest.fetchone()
    # Time never runs backwards in the feed.
    number = current.version + 1 if current else 1
    last_updated = max(at_ms, latest_row[0] if latest_row else 0)
    if deletes and current is not None:
        record = record_facts(orjson.loads(current.body), current.author)
        version = insert_version(
            connection, record, b"", version=number, last_updated_ms=last_updated, method="DELETE"
        )
        replace_rules(connection, record, (), has_previous=True)
    else:
        prepared = prepare_resource(parse(closing["body"].encode()), closing["author"])
        version = insert_version(
            connection,
            prepared.record,
            prepared.body(number, last_updated),
            version=number,
            last_updated_ms=last_updated,
            method=closing["method"],
        )
        registry = store.registry(connection)
        values = (*prepared.rows, *registry.extract_rows(version.type, version.body))
        insert_index(connection, [(version.pk, group_by_table(registry.ids, version.type, values))])
        full_text.insert_words(connection, [(version.pk, version.type, prepared.words)])
        replace_rules(connection, prepared.record, prepared.rules, has_previous=current is not None)
    if version.type == "SearchParameter":
        search_registry.apply_search_parameter(
            connection, version.id, version.body, deleted=version.deleted
        )


def _replay_account(connection: Connection, closing: _RedoValues) -> None:
    _replace_rows(connection, "account", closing["login"], closing["account"])


def _replay_factors(connection: Connection, closing: _RedoValues) -> None:
    for table in FACTOR_TABLES:
        _replace_rows(connection, table, closing["login"], closing[table])


def _replay_client(connection: Connection, closing: _RedoValues) -> None:
    connection.execute("DELETE FROM client WHERE id = ?", (closing["client"],))


def _replace_rows(
    connection: Connection, table: str, login: str, rows: Sequence[Mapping[str, Any]]
) -> None:
    connection.execute(f"DELETE FROM {table} WHERE login = ?", (login,))  # noqa: S608
    for row in rows:
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        # Names of columns as this program wrote them, under a seal.
        connection.execute(
            f"INSERT INTO {table} ({names}) VALUES ({marks})",  # noqa: S608
            tuple(row.values()),
        )


_HANDLERS: Mapping[str, Callable[[Connection, _RedoValues], None]] = {
    "account": _replay_account,
    "factors": _replay_factors,
    "client": _replay_client,
}
