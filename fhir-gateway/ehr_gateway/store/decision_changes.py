"""Changes of what decides about a record that come with no version of it.

A reader of the change feed keeps, of each patient, the rule rows about research and, of each
record, the facts in force. Rules change with Consents, with memberships and with merged accounts;
facts change with what third parties say and with what a record names. Each such change is put down
here in the transaction that makes it, once per patient or record: a later change takes the place of
the one before under a higher number, so a reader that asks for what came after a number misses
none, and reads the state of now.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ehr_fhir.errors import Unavailable
from ehr_gateway.database import Connection, Row
from ehr_gateway.store.steward_decisions import StewardDecision, list_steward_decisions
from ehr_gateway.store.stored_facts import StoredFacts, facts_columns, mark_record
from ehr_privacy.consent import TABLES, Record
from ehr_privacy.consent.research import RESEARCH_TABLES

__all__ = [
    "DecisionChange",
    "last_decision_change",
    "last_erasure",
    "list_changed_subjects",
    "list_decision_changes",
    "mark_accounts",
    "mark_author_person",
    "mark_quality",
    "mark_rules_of_consent",
]

# Chosen: far below the limits of both databases on parameters of a statement.
_KEYS_PER_STATEMENT = 100
_MARK = (
    "INSERT INTO decision_change (kind, type, id, number)"
    " SELECT 'rules', 'Patient', patient, (SELECT COALESCE(MAX(number), 0) FROM decision_change)"
    " + ROW_NUMBER() OVER (ORDER BY patient) FROM ({patients}) found WHERE 1 = 1"
    " ON CONFLICT (kind, type, id) DO UPDATE SET number = excluded.number"
)
_OF_CONSENT = _MARK.format(
    patients=" UNION ".join(
        f"SELECT patient FROM {table} WHERE consent = :consent"  # noqa: S608 - names of tables
        for table in RESEARCH_TABLES
    )
)
_OF_AUTHOR = _MARK.format(
    patients="SELECT DISTINCT patient FROM consent_restriction WHERE author_person = :person"
)


@dataclass(frozen=True)
class DecisionChange:
    """One change: a patient's rules, a record's facts, or decisions about it, as they are now.

    Or an erasure: then `id` is the keyed hash of the patient, and there is nothing else to tell.
    `version` is the record's current one; `rules` are rows of `RESEARCH_TABLES`, each with the name
    of its table, and the memberships of the people that they name as authors.
    """

    number: int
    type: str
    id: str
    rules: tuple[Mapping[str, Any], ...] | None = None
    record: Record | None = None
    version: int | None = None
    # What stewards decided of versions of the record that had faults.
    quality: tuple[StewardDecision, ...] | None = None
    is_erasure: bool = False


def mark_rules_of_consent(connection: Connection, consent: str) -> None:
    """Mark the patients to whom rule rows of a Consent apply: before they change, and after."""
    connection.execute(_OF_CONSENT, {"consent": consent})


def mark_accounts(connection: Connection, accounts: Iterable[str]) -> None:
    """Mark patients whose accounts are merged anew."""
    for account in sorted(set(accounts)):
        connection.execute(
            _MARK.format(patients="SELECT CAST(:patient AS TEXT) AS patient"), {"patient": account}
        )


def mark_author_person(connection: Connection, person: str) -> None:
    """Mark the patients who closed what a person wrote, when that person's memberships change."""
    connection.execute(_OF_AUTHOR, {"person": person})


def mark_quality(connection: Connection, kind: str, identity: str) -> None:
    """Mark a record of which a steward decided something."""
    mark_record(connection, "quality", kind, identity)


def last_decision_change(connection: Connection) -> int:
    """Return the number of the newest change, 0 if there is none."""
    row = connection.execute("SELECT MAX(number) FROM decision_change").fetchone()
    return int(row[0] or 0)


def last_erasure(connection: Connection) -> int:
    """Return the number of the newest erasure, 0 if nobody was ever erased."""
    row = connection.execute("SELECT MAX(number) FROM decision_change WHERE kind = 'erasure'")
    return int(row.fetchone()[0] or 0)


def list_decision_changes(connection: Connection, after: int, limit: int) -> list[DecisionChange]:
    """Return up to `limit` changes after a number, in order, each with the state of now."""
    changes = connection.execute(
        "SELECT kind, type, id, number FROM decision_change WHERE number > ?"
        " ORDER BY number LIMIT ?",
        (after, limit),
    ).fetchall()
    patients = [change["id"] for change in changes if change["kind"] == "rules"]
    rules = _read_rules(connection, patients)
    return [_read_change(connection, change, rules) for change in changes]


def _read_change(
    connection: Connection,
    change: Row,
    rules: Mapping[str, list[Mapping[str, Any]]],
) -> DecisionChange:
    number, kind, identity = change["number"], change["type"], change["id"]
    if change["kind"] == "erasure":
        return DecisionChange(number, kind, identity, is_erasure=True)
    if change["kind"] == "rules":
        return DecisionChange(number, kind, identity, tuple(rules[identity]))
    if change["kind"] == "quality":
        decided = list_steward_decisions(connection, kind, identity)
        return DecisionChange(number, kind, identity, quality=tuple(decided))
    return _read_facts(connection, number, kind, identity)


def list_changed_subjects(connection: Connection, after: int, limit: int) -> list[tuple[str, str]]:
    """Return type and id of up to `limit` patients and records of changes after a number.

    Unavailable where one of them is an erasure: whom it took nobody can tell a reader any more.
    """
    rows = connection.execute(
        "SELECT kind, type, id FROM decision_change WHERE number > ? ORDER BY number LIMIT ?",
        (after, limit),
    ).fetchall()
    if any(row["kind"] == "erasure" for row in rows):
        raise Unavailable("The lake has yet to apply an erasure: try again later.")
    return [(row["type"], row["id"]) for row in rows]


def _read_rules(
    connection: Connection, patients: list[str]
) -> defaultdict[str, list[Mapping[str, Any]]]:
    """Return patient -> the rows that decide about research, in the order of their values."""
    rules: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for start in range(0, len(patients), _KEYS_PER_STATEMENT):
        batch = patients[start : start + _KEYS_PER_STATEMENT]
        places = ", ".join("?" * len(batch))
        for table in RESEARCH_TABLES:
            columns = ", ".join(column.name for column in TABLES[table])
            rows = connection.execute(
                f"SELECT {columns} FROM {table} WHERE patient IN ({places})"  # noqa: S608
                f" ORDER BY {columns}",
                tuple(batch),
            ).fetchall()
            for row in rows:
                rules[row["patient"]].append({"table": table, **dict(row)})
        columns = ", ".join(f"m.{column.name}" for column in TABLES["consent_membership"])
        rows = connection.execute(
            f"SELECT DISTINCT x.patient AS of_patient, {columns}"  # noqa: S608
            " FROM consent_restriction x JOIN consent_membership m"
            f" ON m.practitioner = x.author_person WHERE x.patient IN ({places})"
            f" ORDER BY {columns}",
            tuple(batch),
        ).fetchall()
        for row in rows:
            values = dict(row)
            patient = values.pop("of_patient")
            rules[patient].append({"table": "consent_membership", **values})
    return rules


def _read_facts(connection: Connection, number: int, kind: str, identity: str) -> DecisionChange:
    row = connection.execute(
        f"SELECT r.version, {facts_columns(connection.dialect)} FROM resource r"  # noqa: S608
        " WHERE r.type = ? AND r.id = ? AND r.current = 1",
        (kind, identity),
    ).fetchone()
    record = StoredFacts.from_row(row).record
    return DecisionChange(number, kind, identity, record=record, version=row["version"])
