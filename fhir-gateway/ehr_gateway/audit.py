"""The audit log: every request on record with what it disclosed, before its answer leaves.

Rows hold references and the names of parameters. Values from records never enter.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ehr_gateway.auth.tokens import Subject

_COLUMNS = (
    "id, at_ms, request_id, login, display, role, organization, purpose, client, interaction,"
    " patient, entities, query, outcome, reason"
)
SUCCESS, REFUSED, FAILED = "0", "4", "8"


class Disclosed(Protocol):
    """A version of a record that an answer contains or a write made."""

    @property
    def pk(self) -> int:
        """Its key in the store."""

    @property
    def type(self) -> str:
        """Its resource type."""

    @property
    def id(self) -> str:
        """Its logical id."""


@dataclass(frozen=True)
class Occasion:
    """One request: who asked, when, for what."""

    subject: Subject
    purpose: str
    at_ms: int
    request_id: str
    interaction: str
    query: str | None = None


@dataclass(frozen=True)
class AuditRow:
    """One row of the log, as stored."""

    id: str
    at_ms: int
    request_id: str
    login: str
    display: str
    role: str
    organization: str | None
    purpose: str
    client: str
    interaction: str
    patient: str | None
    entities: tuple[str, ...]
    query: str | None
    outcome: str
    reason: str | None


@dataclass(frozen=True)
class AuditFilter:
    """Which rows are asked for; None means any. Times are half open."""

    id: str | None = None
    patient: str | None = None
    login: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    before: str | None = None


def record_disclosure(
    connection: sqlite3.Connection, occasion: Occasion, versions: Sequence[Disclosed]
) -> None:
    """Write the rows of a request that was answered: one per patient, and one for the rest."""
    by_patient: dict[str | None, dict[str, None]] = {}
    patients = _patients(connection, [version.pk for version in versions])
    for version in versions:
        for patient in patients.get(version.pk, [None]):
            by_patient.setdefault(patient, {})[f"{version.type}/{version.id}"] = None
    rows = by_patient or {None: {}}
    _insert(connection, occasion, [(who, list(what)) for who, what in rows.items()], SUCCESS, None)


def record_refusal(
    connection: sqlite3.Connection, occasion: Occasion, status: int, attempted: str | None
) -> None:
    """Write the row of a request that was refused or failed; no patient was shown to anyone."""
    outcome = REFUSED if status < 500 else FAILED
    entities = [attempted] if attempted else []
    _insert(connection, occasion, [(None, entities)], outcome, f"HTTP {status}")


def record_about(connection: sqlite3.Connection, occasion: Occasion, patient: str | None) -> None:
    """Write the row of a request that disclosed no record but concerned a patient, or nobody."""
    _insert(connection, occasion, [(patient, [])], SUCCESS, None)


def find(connection: sqlite3.Connection, wanted: AuditFilter, count: int) -> list[AuditRow]:
    """Return the newest rows first, at most `count`."""
    where, params = _where(wanted)
    sql = f"SELECT {_COLUMNS} FROM audit WHERE {where} ORDER BY seq DESC LIMIT :count"  # noqa: S608
    rows = connection.execute(sql, {**params, "count": count}).fetchall()
    return [
        AuditRow(**{**dict(row), "entities": tuple(json.loads(row["entities"]))}) for row in rows
    ]


def total(connection: sqlite3.Connection, wanted: AuditFilter) -> int:
    """Count the rows asked for."""
    where, params = _where(wanted)
    sql = f"SELECT count(*) FROM audit WHERE {where}"  # noqa: S608 constant conditions
    return int(connection.execute(sql, params).fetchone()[0])


def _insert(
    connection: sqlite3.Connection,
    occasion: Occasion,
    touched: Iterable[tuple[str | None, list[str]]],
    outcome: str,
    reason: str | None,
) -> None:
    subject = occasion.subject
    connection.executemany(
        f"INSERT INTO audit ({_COLUMNS})"  # noqa: S608 constant columns
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                uuid.uuid4().hex,
                occasion.at_ms,
                occasion.request_id,
                subject.login,
                subject.display,
                subject.role,
                subject.organization,
                occasion.purpose,
                subject.client,
                occasion.interaction,
                patient,
                json.dumps(entities),
                occasion.query,
                outcome,
                reason,
            )
            for patient, entities in touched
        ],
    )


def _patients(connection: sqlite3.Connection, pks: list[int]) -> dict[int, list[str | None]]:
    found: dict[int, list[str | None]] = {}
    if not pks:
        return found
    rows = connection.execute(
        "SELECT pk, patient FROM record_patient"
        " WHERE pk IN (SELECT value FROM json_each(?)) ORDER BY pk, patient",
        (json.dumps(pks),),
    )
    for pk, patient in rows:
        found.setdefault(pk, []).append(patient)
    return found


def _where(wanted: AuditFilter) -> tuple[str, dict[str, object]]:
    conditions = {
        "id": "id = :id",
        "patient": "patient = :patient",
        "login": "login = :login",
        "since_ms": "at_ms >= :since_ms",
        "until_ms": "at_ms < :until_ms",
        "before": "seq < (SELECT seq FROM audit WHERE id = :before)",
    }
    params = {name: getattr(wanted, name) for name in conditions}
    kept = {name: value for name, value in params.items() if value is not None}
    return " AND ".join(["1 = 1", *(conditions[name] for name in kept)]), kept
