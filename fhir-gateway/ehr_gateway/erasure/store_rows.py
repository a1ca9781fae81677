"""Rows of erased patients: versions, index, rules, requests, accounts, notices and audit content.

All in one transaction of the caller's. What the database's files still hold of the deleted rows is
taken out afterwards (`database_files`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ehr_fhir.json_text import parse
from ehr_gateway.accounts.eid_people import CLIENT_ID, pairwise_subject
from ehr_gateway.audit_log.erase import erase_patient_events
from ehr_gateway.audit_log.recorder import AuditContext
from ehr_gateway.bulk_data.exports import end_exports_naming_patients
from ehr_gateway.bulk_data.imports import erase_imports
from ehr_gateway.database import Connection, Row
from ehr_gateway.erasure.erased_patients import insert_erased
from ehr_gateway.schema.resources import INDEX_COLUMNS
from ehr_gateway.store import full_text
from ehr_gateway.store.decision_changes import last_decision_change, mark_rules_of_consent
from ehr_gateway.store.index_rows import group_by_table, replace_index
from ehr_gateway.store.store import Store, Version
from ehr_gateway.store.version_rows import insert_version
from ehr_gateway.subscriptions.rows import erase_subscriptions
from ehr_gateway.terminology.closure_tables import erase_tables
from ehr_gateway.transaction.prepared_resource import prepare_stored
from ehr_privacy.consent import SOURCE_TABLES, TABLES, Record
from ehr_privacy.consent.held_facts import UPDATE
from ehr_privacy.erasure import (
    ErasedVersions,
    VersionPatients,
    alias_records,
    choose_versions,
    cut_references,
    rename_erased,
    walk_strings,
)

__all__ = ["ErasedContent", "collect_content", "delete_derived_rows", "delete_patient_rows"]
__all__ += ["find_versions"]

# Keys in one IN (...): below the limits of both databases.
_BATCH = 300
# Rows in memory at once. Chosen.
_ROWS = 10_000
_BY_LOGIN = (
    "account", "account_change", "auth_code", "launch", "login_session", "passkey",
    "recovery_code", "totp",
)  # fmt: skip
_SELECT_VERSIONS = (
    "SELECT pk, type, id, version, author, body, position FROM resource WHERE type = ? AND id = ?"
)
# Names of types are shorter; without a bound an attacker's text takes quadratic time.
_RECORD_NAME = re.compile(r"([A-Z][A-Za-z]{1,40})/[A-Za-z0-9.\-]{1,64}")
# Where a clinician's app was started for a patient, with the key of each table.
_KEY_BY_CONTEXT_TABLE = {"auth_code": "code", "launch": "key", "token_family": "id"}


@dataclass
class ErasedContent:
    """What an erasure takes of the store, counted."""

    versions: ErasedVersions
    # Versions that are deleted, and those of others that lose a reference.
    deleted: int = 0
    references: int = 0
    accounts: int = 0
    audit_events: int = 0


def find_versions(connection: Connection, patients: Collection[str]) -> ErasedVersions:
    """Return the versions that an erasure of some patients takes."""
    keys: set[tuple[str, str]] = set()
    for patient in patients:
        rows = connection.execute(
            "SELECT DISTINCT r.type, r.id FROM record_patient p JOIN resource r ON r.pk = p.pk"
            " WHERE p.patient = :patient"
            " UNION SELECT type, id FROM resource WHERE type = 'Patient' AND id = :patient",
            {"patient": patient},
        ).fetchall()
        keys |= {(row["type"], row["id"]) for row in rows}
    return choose_versions(_read_versions(connection, sorted(keys)), patients)


def _read_versions(
    connection: Connection, keys: Iterable[tuple[str, str]]
) -> Iterator[VersionPatients]:
    for kind, identity in keys:
        rows = connection.execute(
            "SELECT r.version, p.patient FROM resource r LEFT JOIN record_patient p ON p.pk = r.pk"
            " WHERE r.type = ? AND r.id = ?",
            (kind, identity),
        ).fetchall()
        patients: dict[int, set[str]] = {}
        for row in rows:
            patients.setdefault(row["version"], set()).update(
                () if row["patient"] is None else (row["patient"],)
            )
        for version, about in patients.items():
            yield VersionPatients(kind, identity, version, frozenset(about))


def collect_content(connection: Connection, versions: ErasedVersions) -> Iterator[bytes]:
    """Yield the bodies of the versions that an erasure takes."""
    for row in _select_rows(connection, versions):
        if row["body"]:
            yield bytes(row["body"])


def delete_patient_rows(
    store: Store,
    connection: Connection,
    audit_context: AuditContext,
    patients: Sequence[str],
    *,
    erasure: str,
    key: bytes,
    hashes: Collection[str],
    query: str,
) -> ErasedContent:
    """Delete every row about some patients, put them on the list, and empty their audit events.

    `hashes` are their hashes by `key`, `erasure` the id under which the audit log has it.
    """
    content = ErasedContent(find_versions(connection, patients))
    last_decision = last_decision_change(connection)
    last_position = int(connection.execute("SELECT max(position) FROM resource").fetchone()[0] or 0)
    targets = {f"{kind}/{identity}" for kind, identity in content.versions.records}
    targets |= {f"Patient/{patient}" for patient in patients}
    # Events are found by the patient's account, so they come first.
    for patient in patients:
        content.audit_events += erase_patient_events(
            connection, audit_context, patient, query=query, is_journaled=False, records=targets
        )
    _delete_rules(connection, content.versions, patients)
    _delete_versions(connection, content)
    aliases = alias_records(key, targets)
    content.references = _cut_references_of_others(store, connection, targets, aliases)
    _delete_marks(connection, content.versions, patients)
    _rename_in_decisions(connection, aliases)
    _rename_in_causes(connection, aliases)
    _delete_requests(connection, targets, patients)
    end_exports_naming_patients(connection)
    names = {*patients, *(identity for _, identity in content.versions.records)}
    # Their files may hold something of the patient, and what was checked of them is out of date.
    fault = "A patient was erased while the import ran: send what is left."
    erase_imports(connection, names, fault)
    erase_tables(connection, names)
    erase_subscriptions(connection, patients, content.versions.records)
    content.accounts = _delete_accounts(connection, patients, audit_context.at_ms)
    insert_erased(connection, hashes, last_decision)
    _insert_position_marker(store, connection, erasure, audit_context.at_ms, last_position)
    return content


def _select_rows(connection: Connection, versions: ErasedVersions) -> Iterator[Row]:
    """Yield the rows of `resource` of the versions that an erasure takes."""
    for record in sorted(versions.records):
        yield from connection.execute(_SELECT_VERSIONS, record).fetchall()
    for version in sorted(versions.versions):
        yield from connection.execute(f"{_SELECT_VERSIONS} AND version = ?", version).fetchall()


def _delete_versions(connection: Connection, content: ErasedContent) -> None:
    pks = []
    for row in _select_rows(connection, content.versions):
        pks.append(row["pk"])
        if row["body"]:
            words = prepare_stored(parse(row["body"]), row["author"]).words
            full_text.delete_words(connection, row["type"], row["pk"], row["position"], words)
    tables = [f"idx_{kind}" for kind in INDEX_COLUMNS]
    for table in (*tables, "record_patient", "record_label", "resource"):
        _delete_in(connection, table, "pk", pks)
    content.deleted = len(pks)


def _delete_rules(
    connection: Connection, versions: ErasedVersions, patients: Collection[str]
) -> None:
    for kind, tables in SOURCE_TABLES.items():
        ids = [identity for of_kind, identity in versions.records if of_kind == kind]
        if kind == "Consent":
            for identity in ids:
                # Copies of it may close the accounts of the same person.
                mark_rules_of_consent(connection, identity)
        for table in tables:
            _delete_in(connection, table, "consent", ids)
    for table, columns in TABLES.items():
        names = {column.name for column in columns}
        for name in ("patient", "other"):
            if name in names:
                _delete_in(connection, table, name, patients)
    _delete_in(connection, "consent_opening", "patient", patients)
    consents = [identity for kind, identity in versions.records if kind == "Consent"]
    _delete_in(connection, "consent_opening", "consent", consents)


def _delete_marks(
    connection: Connection, versions: ErasedVersions, patients: Collection[str]
) -> None:
    """Delete what is kept beside records: held facts, marks of the feed, marks of loads."""
    for kind, identity in versions.records:
        connection.execute(
            "DELETE FROM quality_decision WHERE type = ? AND logical_id = ?", (kind, identity)
        )
        for table in ("held_fact", "decision_change", "load_ledger", "quality_finding"):
            connection.execute(
                f"DELETE FROM {table} WHERE type = ? AND id = ?",  # noqa: S608 constant names
                (kind, identity),
            )
        source = f"{kind}/{identity}"
        # What others' records inherited from it they keep, as when they no longer name it.
        connection.execute(
            "INSERT INTO held_fact (type, id, kind, value, source)"
            " SELECT type, id, kind, value, CAST(:update AS TEXT) FROM held_fact"
            " WHERE source = :source AND kind <> 'patient' ON CONFLICT DO NOTHING",
            {"update": UPDATE, "source": source},
        )
        connection.execute("DELETE FROM held_fact WHERE source = ?", (source,))
    for patient in patients:
        connection.execute("DELETE FROM held_fact WHERE kind = 'patient' AND value = ?", (patient,))
        connection.execute(
            "DELETE FROM decision_change WHERE type = 'Patient' AND id = ?", (patient,)
        )


def _cut_references_of_others(
    store: Store,
    connection: Connection,
    targets: Collection[str],
    aliases: Mapping[str, str],
) -> int:
    """Cut references to erased records out of all versions of others' records."""
    keys: set[tuple[str, str]] = set()
    for target in sorted(targets):
        kind, _, identity = target.partition("/")
        rows = connection.execute(
            "SELECT DISTINCT r.type, r.id FROM idx_reference i JOIN resource r ON r.pk = i.pk"
            " WHERE i.target_id = ? AND i.target_type = ?",
            (identity, kind),
        ).fetchall()
        keys |= {(row["type"], row["id"]) for row in rows}
        if kind == "Patient":
            keys |= _find_records_naming(connection, target)
    count = 0
    for kind, identity in sorted(keys):
        rows = connection.execute(
            "SELECT * FROM resource WHERE type = ? AND id = ?", (kind, identity)
        ).fetchall()
        for row in rows:
            if row["body"]:
                count += _cut_references_of_version(store, connection, row, targets, aliases)
    return count


def _find_records_naming(connection: Connection, target: str) -> set[tuple[str, str]]:
    """Return the records that name a patient anywhere, whether a search would find it or not."""
    sought = target.encode()
    condition = {
        "sqlite": "instr(body, :sought) > 0",
        "postgresql": "position(CAST(:sought AS bytea) IN body) > 0",
    }[connection.dialect]
    rows = connection.execute(
        f"SELECT DISTINCT type, id FROM resource WHERE {condition}",  # noqa: S608 constant
        {"sought": sought},
    ).fetchall()
    return {(row["type"], row["id"]) for row in rows}


def _cut_references_of_version(
    store: Store,
    connection: Connection,
    row: Row,
    targets: Collection[str],
    aliases: Mapping[str, str],
) -> int:
    resource = parse(row["body"])
    count = cut_references(resource, targets, aliases)
    if not count:
        return 0
    before = prepare_stored(parse(row["body"]), row["author"])
    prepared = prepare_stored(resource, row["author"])
    body = prepared.body(row["version"], row["last_updated"])
    connection.execute("UPDATE resource SET body = ? WHERE pk = ?", (body, row["pk"]))
    full_text.delete_words(connection, row["type"], row["pk"], row["position"], before.words)
    version = replace(Version.from_row(row), body=body)
    if row["current"]:
        registry = store.registry(connection)
        values = (*prepared.rows, *registry.extract_rows(version.type, body))
        replace_index(
            connection, [(version.pk, group_by_table(registry.ids, version.type, values))]
        )
    if row["current"] or connection.dialect == "sqlite":
        full_text.write_words(connection, [(version, prepared.words)])
    return count


def _rename_in_decisions(connection: Connection, aliases: Mapping[str, str]) -> None:
    """Put aliases for erased records into others' facts and rules, which stay as closed as before.

    What a record stated of an erased episode it keeps as a held fact, since its body says so no
    more.
    """
    for row in _read_episodes(connection) if _has_encounter(aliases) else ():
        if rename_erased(row, aliases):
            connection.execute(
                "UPDATE resource SET episodes = :episodes, added_episodes = :added_episodes"
                " WHERE pk = :pk",
                {name: row[name] for name in ("episodes", "added_episodes", "pk")},
            )
            held = set((row["episodes"] or "").split("|")) & set(aliases.values())
            for alias in sorted(held) if row["current"] else ():
                connection.execute(
                    "INSERT INTO held_fact (type, id, kind, value, source)"
                    " VALUES (?, ?, 'episode', ?, ?) ON CONFLICT DO NOTHING",
                    (row["type"], row["id"], alias, UPDATE),
                )
    for name, alias in aliases.items():
        kind, _, identity = name.partition("/")
        if kind == "Encounter":
            connection.execute(
                "UPDATE held_fact SET value = ? WHERE kind = 'episode' AND value = ?",
                (alias, identity),
            )
    for table, columns in TABLES.items():
        names = {column.name for column in columns}
        for name, alias in aliases.items():
            kind, _, identity = name.partition("/")
            if "record_id" in names:
                connection.execute(
                    f"UPDATE {table} SET record_id = ?"  # noqa: S608 constant names
                    " WHERE record_type = ? AND record_id = ?",
                    (alias, kind, identity),
                )
            if "episode" in names and kind == "Encounter":
                connection.execute(
                    f"UPDATE {table} SET episode = ? WHERE episode = ?",  # noqa: S608 constant
                    (alias, identity),
                )


def _has_encounter(aliases: Mapping[str, str]) -> bool:
    return any(name.startswith("Encounter/") for name in aliases)


def _read_episodes(connection: Connection) -> Iterator[dict[str, Any]]:
    """Yield the rows of versions that belong to an episode, some thousands at a time."""
    after = 0
    while rows := connection.execute(
        "SELECT pk, type, id, current, episodes, added_episodes FROM resource"
        " WHERE pk > ? AND (episodes IS NOT NULL OR added_episodes IS NOT NULL)"
        " ORDER BY pk LIMIT ?",
        (after, _ROWS),
    ).fetchall():
        yield from map(dict, rows)
        after = rows[-1]["pk"]


def _rename_in_causes(connection: Connection, aliases: Mapping[str, str]) -> None:
    """Put aliases for erased records into the causes of others' notices and flags.

    A record that moved to the erased patient is named in what its patient of before was told.
    """
    for table, column in (("notice", "cause"), ("audit_flag", "flag_key")):
        rows = connection.execute(f"SELECT id, {column} AS cause FROM {table}")  # noqa: S608
        for row in rows.fetchall():
            renamed = _RECORD_NAME.sub(
                lambda found: (
                    f"{found[1]}/{aliases[found[0]]}" if found[0] in aliases else found[0]
                ),
                row["cause"],
            )
            if renamed != row["cause"]:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? WHERE id = ?",  # noqa: S608 constant names
                    (renamed, row["id"]),
                )


def _delete_requests(
    connection: Connection, targets: Collection[str], patients: Collection[str]
) -> None:
    """Delete requests, notices and flags about patients, but the erasures themselves."""
    for patient in patients:
        connection.execute(
            "DELETE FROM access_request WHERE patient = ? AND kind <> 'erasure'", (patient,)
        )
        connection.execute(
            "DELETE FROM health_link_opening WHERE link IN"
            " (SELECT id FROM health_link WHERE patient = ?)",
            (patient,),
        )
        connection.execute("DELETE FROM health_link WHERE patient = ?", (patient,))
    rows = connection.execute("SELECT id, details FROM access_request WHERE details <> '{}'")
    for row in rows.fetchall():
        if json.loads(row["details"]).get("record") in targets:
            connection.execute("DELETE FROM access_request WHERE id = ?", (row["id"],))
    delete_derived_rows(connection, patients)


def delete_derived_rows(connection: Connection, patients: Collection[str]) -> None:
    """Delete what is derived from the log and from reads: notices, flags, cards, pairs."""
    for patient in patients:
        about = {"patient": patient, "reader": f"Patient/{patient}"}
        connection.execute(
            "DELETE FROM notice_delivery WHERE notice IN"
            " (SELECT id FROM notice WHERE patient = :patient OR reader = :reader)",
            about,
        )
        connection.execute("DELETE FROM notice WHERE patient = :patient OR reader = :reader", about)
        connection.execute("DELETE FROM notice_preference WHERE reader = :reader", about)
        connection.execute("DELETE FROM audit_flag WHERE patient = :patient", about)
        connection.execute("DELETE FROM cds_card WHERE patient = :patient", about)
        connection.execute(
            "DELETE FROM duplicate_candidate WHERE first = :patient OR second = :patient", about
        )


def _delete_accounts(connection: Connection, patients: Collection[str], now_ms: int) -> int:
    """Delete the patients' accounts, and where an app of anybody's was started for them."""
    accounts = [
        row
        for patient in patients
        for row in connection.execute(
            "SELECT login, eid, person FROM account WHERE patient = ?", (patient,)
        ).fetchall()
    ]
    logins = [row["login"] for row in accounts]
    families = [
        row["id"]
        for login in logins
        for row in connection.execute("SELECT id FROM token_family WHERE login = ?", (login,))
    ]
    _delete_in(connection, "refresh_token", "family", families)
    for table in (*_BY_LOGIN, "token_family", "audit_flag"):
        _delete_in(connection, table, "login", logins)
    _delete_in(connection, "account_change", "changed_by", logins)
    _delete_in(connection, "suspension", "subject", logins)
    _delete_enrolments(connection, {row["eid"] for row in accounts if row["eid"]})
    named = set(patients) | {f"Patient/{patient}" for patient in patients}
    for table, key in _KEY_BY_CONTEXT_TABLE.items():
        rows = connection.execute(
            f"SELECT {key} AS own_key, context FROM {table} WHERE context <> '{{}}'"  # noqa: S608
        ).fetchall()
        for row in rows:
            if named.isdisjoint(walk_strings(json.loads(row["context"]))):
                continue
            if table == "token_family":
                connection.execute(
                    "UPDATE token_family SET context = '{}', ended_ms = COALESCE(ended_ms, ?)"
                    " WHERE id = ?",
                    (now_ms, row["own_key"]),
                )
            else:
                connection.execute(
                    f"DELETE FROM {table} WHERE {key} = ?",  # noqa: S608 constant names
                    (row["own_key"],),
                )
    return len(logins)


def _delete_enrolments(connection: Connection, subjects: set[str]) -> None:
    """Delete people from the simulated electronic identity who have no account any more."""
    rows = connection.execute("SELECT hkid, subject FROM eid_person").fetchall() if subjects else ()
    for row in rows:
        # Accounts have the identifier that this client alone is told.
        subject = pairwise_subject(row["subject"], CLIENT_ID)
        others = connection.execute("SELECT 1 FROM account WHERE eid = ?", (subject,)).fetchone()
        if subject in subjects and others is None:
            connection.execute("DELETE FROM eid_person WHERE hkid = ?", (row["hkid"],))
            connection.execute("DELETE FROM eid_code WHERE account_id = ?", (row["subject"],))


def _insert_position_marker(
    store: Store, connection: Connection, erasure: str, now_ms: int, last_position: int
) -> None:
    """Store a deletion marker about nobody: no erased position of the feed is given again."""
    latest = store.registry(connection).latest
    version = insert_version(
        connection,
        Record(type="Basic", id=erasure),
        b"",
        last_updated_ms=max(now_ms, latest.last_updated_ms),
        method="DELETE",
    )
    if version.position <= last_position:
        connection.execute(
            "UPDATE resource SET position = ? WHERE pk = ?", (last_position + 1, version.pk)
        )


def _delete_in(connection: Connection, table: str, column: str, values: Collection[object]) -> None:
    chosen = list(values)
    for start in range(0, len(chosen), _BATCH):
        batch = chosen[start : start + _BATCH]
        connection.execute(
            f"DELETE FROM {table} WHERE {column} IN ({', '.join('?' * len(batch))})",  # noqa: S608
            tuple(batch),
        )
