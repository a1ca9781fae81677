"""Replay of the journal: repeat, in order, the changes since the backup that restricted access.

Each redo action runs under a savepoint of its own, so one that fails does not undo the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ehr_fhir.errors import EhrError
from ehr_fhir.json_text import parse
from ehr_fhir.resource_links import list_references
from ehr_gateway.accounts.memberships import add_membership
from ehr_gateway.audit_log.erase import erase_patient_events
from ehr_gateway.audit_log.recorder import AuditContext
from ehr_gateway.database import DATABASE_ERRORS, Connection
from ehr_gateway.journal.entries import Entry
from ehr_gateway.journal.redo_actions import FACTOR_TABLES, digest_content
from ehr_gateway.store import full_text, search_registry
from ehr_gateway.store.decision_changes import mark_quality
from ehr_gateway.store.grant_endings import RuleEvent
from ehr_gateway.store.index_rows import group_by_table, remove_index, replace_index
from ehr_gateway.store.inheritance import (
    WrittenRecord,
    read_outward_facts,
    settle_inheritance,
)
from ehr_gateway.store.store import Store, Version
from ehr_gateway.store.stored_facts import (
    read_last_body,
    read_stored_facts,
    replace_held_facts,
    update_facts,
)
from ehr_gateway.store.version_rows import insert_version, replace_rules
from ehr_gateway.transaction.prepared_resource import prepare_stored
from ehr_privacy.consent import HeldFact, apply_held_facts, record_facts
from ehr_privacy.consent.inherited_facts import FactNode, fact_targets, outward_facts

__all__ = ["ReplayResult", "describe_redo_action", "replay_entries"]

# A redo action as parsed from JSON.
_RedoValues = Mapping[str, Any]


@dataclass
class ReplayResult:
    """How many redo actions were repeated, and the names of those that could not be."""

    replayed: int = 0
    failed: list[str] = field(default_factory=list)
    # Erasures of patients since the backup, for `erase_again`.
    purges: list[Mapping[str, Any]] = field(default_factory=list)


def replay_entries(
    store: Store,
    connection: Connection,
    entries: Iterable[Entry],
    audit_context: AuditContext,
    *,
    audit_size: int,
) -> ReplayResult:
    """Repeat the redo actions of some entries in the caller's transaction.

    `audit_size` is the length of the backup's audit log. Events behind it come from the database
    that is replaced: an erasure leaves those that are later than itself.

    An action that fails is rolled back and named in the result.
    """
    result = ReplayResult()
    for entry in entries:
        for redo_action in entry.redo_actions:
            connection.execute("SAVEPOINT redo_action")
            try:
                if redo_action["kind"] == "purge":
                    # Once all is repeated: entries before it may bring the patient back.
                    result.purges.append(redo_action)
                elif redo_action["kind"] == "erasure":
                    erase_patient_events(
                        connection,
                        audit_context,
                        str(redo_action["patient"]),
                        until_ms=entry.at_ms,
                        size=audit_size,
                    )
                else:
                    _replay_action(store, connection, redo_action, entry.at_ms)
                result.replayed += 1
            except (EhrError, KeyError, TypeError, ValueError, *DATABASE_ERRORS):
                connection.execute("ROLLBACK TO SAVEPOINT redo_action")
                result.failed.append(describe_redo_action(redo_action))
            connection.execute("RELEASE SAVEPOINT redo_action")
    return result


def describe_redo_action(redo_action: _RedoValues) -> str:
    """Return what a redo action is about: the kind and id of what it changes.

    >>> describe_redo_action({"kind": "version", "type": "Consent", "id": "c-1"})
    'Consent/c-1'
    >>> describe_redo_action({"kind": "account", "login": "dr.lee"})
    'account dr.lee'
    """
    if redo_action["kind"] in ("version", "facts", "quality-decision"):
        return f"{redo_action['type']}/{redo_action['id']}"
    ids = (redo_action.get(key) for key in ("login", "client", "patient", "suspension"))
    return f"{redo_action['kind']} {next((identity for identity in ids if identity), '')}"


def _replay_action(
    store: Store,
    connection: Connection,
    redo_action: _RedoValues,
    at_ms: int,
) -> None:
    if redo_action["kind"] == "version":
        _replay_version(store, connection, redo_action, at_ms)
    elif redo_action["kind"] == "facts":
        _replay_facts(store, connection, redo_action)
    else:
        _REPLAY_BY_KIND[redo_action["kind"]](connection, redo_action)


def _replay_version(
    store: Store, connection: Connection, redo_action: _RedoValues, at_ms: int
) -> None:
    row = connection.execute(
        "SELECT * FROM resource WHERE type = ? AND id = ? AND current = 1",
        (redo_action["type"], redo_action["id"]),
    ).fetchone()
    current = Version.from_row(row) if row else None
    is_deletion = redo_action["method"] == "DELETE"
    if is_deletion and (current is None or current.deleted):
        # Created after the backup, or deleted before it: there is nothing to delete.
        return
    registry = store.registry(connection)
    latest = registry.latest
    event = RuleEvent(at_ms, latest.position)
    # Times in the feed never decrease, even when the clock was set back.
    last_updated_ms = max(at_ms, latest.last_updated_ms)
    before = read_stored_facts(connection, redo_action["type"], redo_action["id"])
    held = frozenset(HeldFact(*fact) for fact in redo_action.get("held", ()))
    if is_deletion and before is not None:
        # A deletion marker keeps the facts in force.
        record = before.record
        if current is not None:
            remove_index(connection, current)
        version = insert_version(
            connection,
            record,
            b"",
            last_updated_ms=last_updated_ms,
            method="DELETE",
            previous=current,
        )
        replace_rules(connection, record, (), has_previous=True, event=event)
    else:
        prepared = prepare_stored(parse(redo_action["body"].encode()), redo_action["author"])
        record = apply_held_facts(prepared.record, held)
        version = insert_version(
            connection,
            record,
            prepared.body(current.version + 1 if current else 1, last_updated_ms),
            last_updated_ms=last_updated_ms,
            method=redo_action["method"],
            previous=current,
        )
        values = (*prepared.rows, *registry.extract_rows(version.type, version.body))
        rows = group_by_table(registry.ids, version.type, values)
        replace_index(connection, [(version.pk, rows)])
        full_text.write_words(connection, [(version, prepared.words)])
        replace_rules(
            connection,
            prepared.record,
            prepared.rules,
            has_previous=current is not None,
            event=event,
        )
        replace_held_facts(connection, record.type, record.id, before.held if before else (), held)
        written = WrittenRecord(
            version.pk,
            FactNode(record, held, prepared.fact_targets),
            outward_facts(before.record, before.held) if before else {},
            has_lost_reference=True,
        )
        _settle(store, connection, written)
    if version.type == "SearchParameter":
        search_registry.apply_search_parameter(
            connection, version.id, version.body, deleted=version.deleted
        )


def _replay_facts(store: Store, connection: Connection, redo_action: _RedoValues) -> None:
    kind, identity = redo_action["type"], redo_action["id"]
    before = read_stored_facts(connection, kind, identity)
    body = read_last_body(connection, kind, identity)
    if before is None or body is None:
        # Written after the backup.
        return
    held = frozenset(HeldFact(*fact) for fact in redo_action["held"])
    resource = parse(body)
    references = list_references(resource)
    names = [reference for _, reference in references]
    stated = record_facts(resource, before.record.author, references=names)
    record = apply_held_facts(stated, held)
    row = connection.execute(
        "SELECT pk FROM resource WHERE type = ? AND id = ? AND current = 1", (kind, identity)
    ).fetchone()
    replace_held_facts(connection, kind, identity, before.held, held)
    update_facts(connection, row["pk"], before.record, record)
    node = FactNode(record, held, fact_targets(record, references))
    handed_on = outward_facts(before.record, before.held)
    _settle(store, connection, WrittenRecord(row["pk"], node, handed_on, has_lost_reference=True))


def _settle(store: Store, connection: Connection, written: WrittenRecord) -> None:
    boundary = read_outward_facts(connection, written.node.targets.all)
    settle_inheritance(connection, store.parameter_ids, [written], boundary)


def _replay_account(connection: Connection, redo_action: _RedoValues) -> None:
    _replace_rows(connection, "account", redo_action["login"], redo_action["account"])


def _replay_membership(connection: Connection, redo_action: _RedoValues) -> None:
    add_membership(
        connection, redo_action["login"], redo_action["person"], redo_action["organization"]
    )


def _replay_factors(connection: Connection, redo_action: _RedoValues) -> None:
    for table in FACTOR_TABLES:
        _replace_rows(connection, table, redo_action["login"], redo_action[table])


def _replay_client(connection: Connection, redo_action: _RedoValues) -> None:
    connection.execute("DELETE FROM client WHERE id = ?", (redo_action["client"],))
    _insert_rows(connection, "client", redo_action.get("rows", ()))


def _replay_suspension(connection: Connection, redo_action: _RedoValues) -> None:
    connection.execute("DELETE FROM suspension WHERE id = ?", (redo_action["suspension"],))
    _insert_rows(connection, "suspension", redo_action["rows"])


def _replay_quality_decision(connection: Connection, redo_action: _RedoValues) -> None:
    """Decide again about a version with a fault, and tell the lake.

    Only about the content that was decided about: another one is a new question for a steward.
    """
    kind, identity = redo_action["type"], redo_action["id"]
    row = connection.execute(
        "SELECT version, body FROM resource WHERE type = ? AND id = ? AND current = 1"
        " AND deleted = 0",
        (kind, identity),
    ).fetchone()
    if row is None or digest_content(bytes(row["body"])) != redo_action["content"]:
        return
    decision = {**redo_action["decision"], "version": row["version"]}
    _insert_rows(connection, "quality_decision", [decision])
    _insert_rows(connection, "access_request", redo_action["requests"])
    mark_quality(connection, kind, identity)


def _replace_rows(
    connection: Connection, table: str, login: str, rows: Sequence[Mapping[str, Any]]
) -> None:
    connection.execute(f"DELETE FROM {table} WHERE login = ?", (login,))  # noqa: S608
    _insert_rows(connection, table, rows)


def _insert_rows(connection: Connection, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    for row in rows:
        columns, placeholders = ", ".join(row), ", ".join("?" * len(row))
        # The column names are safe to insert: they come from an authenticated entry.
        connection.execute(
            f"INSERT INTO {table} ({columns}) VALUES ({placeholders})",  # noqa: S608
            tuple(row.values()),
        )


_REPLAY_BY_KIND: Mapping[str, Callable[[Connection, _RedoValues], None]] = {
    "account": _replay_account,
    "membership": _replay_membership,
    "quality-decision": _replay_quality_decision,
    "factors": _replay_factors,
    "client": _replay_client,
    "suspension": _replay_suspension,
}
