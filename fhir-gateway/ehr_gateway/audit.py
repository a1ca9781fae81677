"""The audit log: every request on record with what it disclosed, before its answer leaves.

Rows hold references and the names of parameters. Values from records never enter.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ehr_gateway.auth.tokens import Subject
from ehr_gateway.database import Connection
from ehr_gateway.ids import uuid7

_COLUMNS = (
    "id, at_ms, request_id, login, display, role, organization, purpose, client, interaction,"
    " patient, entities, query, outcome, reason"
)
_PATIENTS = "SELECT pk, patient FROM record_patient WHERE pk IN ({}) ORDER BY pk, patient"
_BATCH = 50
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

    @property
    def author(self) -> str | None:
        """The organisation whose record it is."""


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
    connection: Connection, occasion: Occasion, versions: Sequence[Disclosed]
) -> None:
    """Write the rows of a request that was answered: one per patient, and one for the rest."""
    patients = _patients(connection, [version.pk for version in versions])
    rows: dict[str | None, _Row] = {}
    for version in versions:
        for patient in patients.get(version.pk, (None,)):
            row = rows.setdefault(patient, _Row(patient))
            row.entities[f"{version.type}/{version.id}"] = None
            row.authors.add(version.author)
    for row in rows.values():
        row.reason = _reason(connection, occasion, row)
    _insert(connection, occasion, list(rows.values()) or [_Row(None)], SUCCESS)


def record_refusal(
    connection: Connection, occasion: Occasion, status: int, attempted: str | None
) -> None:
    """Write the row of a request that was refused or failed; no patient was shown to anyone."""
    outcome = REFUSED if status < 500 else FAILED
    entities: dict[str, None] = {attempted: None} if attempted else {}
    row = _Row(None, entities, reason=f"HTTP {status}")
    _insert(connection, occasion, [row], outcome)


def record_about(connection: Connection, occasion: Occasion, patient: str | None) -> None:
    """Write the row of a request that disclosed no record but concerned a patient, or nobody."""
    _insert(connection, occasion, [_Row(patient)], SUCCESS)


def find(connection: Connection, wanted: AuditFilter, count: int) -> list[AuditRow]:
    """Return the newest rows first, at most `count`."""
    where, params = _where(wanted)
    sql = f"SELECT {_COLUMNS} FROM audit WHERE {where} ORDER BY seq DESC LIMIT :count"  # noqa: S608
    rows = connection.execute(sql, {**params, "count": count}).fetchall()
    return [
        AuditRow(**{**dict(row), "entities": tuple(json.loads(row["entities"]))}) for row in rows
    ]


def total(connection: Connection, wanted: AuditFilter) -> int:
    """Count the rows asked for."""
    where, params = _where(wanted)
    sql = f"SELECT count(*) FROM audit WHERE {where}"  # noqa: S608 constant conditions
    return int(connection.execute(sql, params).fetchone()[0])


@dataclass
class _Row:
    """A row in the making: one patient, or what is about nobody."""

    patient: str | None
    entities: dict[str, None] = field(default_factory=dict)
    authors: set[str | None] = field(default_factory=set)
    reason: str | None = None


def _insert(connection: Connection, occasion: Occasion, rows: Iterable[_Row], outcome: str) -> None:
    subject = occasion.subject
    connection.executemany(
        f"INSERT INTO audit ({_COLUMNS})"  # noqa: S608 constant columns
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                uuid7().hex,
                occasion.at_ms,
                occasion.request_id,
                subject.login,
                subject.display,
                subject.role,
                subject.organization,
                occasion.purpose,
                subject.client,
                occasion.interaction,
                row.patient,
                json.dumps(list(row.entities)),
                occasion.query,
                outcome,
                row.reason,
            )
            for row in rows
        ],
    )


def _reason(connection: Connection, occasion: Occasion, row: _Row) -> str:
    """Say why the requester could see it: the line of the consent table that permitted."""
    subject = occasion.subject
    if row.patient is None:
        return "directory"
    if subject.role not in ("clinician", "system"):
        return "own" if subject.role == "patient" else subject.role
    if row.authors == {subject.organization}:
        return "own-record"
    emergency = connection.execute(
        "SELECT 1 FROM consent_emergency WHERE patient = ? AND person = ? AND organization = ?"
        " AND since <= ? AND (until IS NULL OR ? < until)",
        (row.patient, subject.person or subject.login, subject.organization)
        + (occasion.at_ms,) * 2,
    ).fetchone()
    return "emergency" if emergency else "shared"


def _patients(connection: Connection, pks: Sequence[int]) -> Mapping[int, Sequence[str]]:
    """Return the patients of each version that has any."""
    found: dict[int, list[str]] = {}
    # One or many: the same two statements each time, so that they are compiled once.
    size = 1 if len(pks) == 1 else _BATCH
    query = _PATIENTS.format(", ".join("?" * size))
    for start in range(0, len(pks), size):
        some = pks[start : start + size]
        padded = [*some, *[some[0]] * (size - len(some))]
        for pk, patient in connection.execute(query, padded):
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
