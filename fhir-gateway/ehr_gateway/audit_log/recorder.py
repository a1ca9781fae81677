"""Build the audit log's rows: who asked, what was disclosed or written, with which outcome.

Rows hold references and the names of parameters, never a value of a record. A write records its
row in its own transaction (`record`); a read adds entries (`RequestContext.add_audit_entry`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import orjson

from ehr_gateway.audit_log.append import RowValues, append_rows, seal_rows
from ehr_gateway.audit_log.reasons import OPENED, Reason, find_reason
from ehr_gateway.database import Connection
from ehr_gateway.ids import uuid7
from ehr_gateway.inquiry import Inquiry
from ehr_gateway.store.consequences import Consequence
from ehr_gateway.tokens.access_tokens import Subject

_SELECT_PATIENTS = (
    "SELECT p.pk, p.patient, r.domain FROM record_patient p JOIN resource r ON r.pk = p.pk"
    " WHERE p.pk IN ({}) ORDER BY p.pk, p.patient"
)
_BATCH = 50
SUCCESS, REFUSED, FAILED = "0", "4", "8"


class DisclosedVersion(Protocol):
    """A version of a record that a response contains or a write created."""

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
class AuditContext:
    """One request: who asked, when, from where, for what."""

    subject: Subject
    purpose: str
    at_ms: int
    request_id: str
    interaction: str
    query: str | None = None
    address: str | None = None
    # Whom the request asks about; it learns here who is on record already.
    inquiry: Inquiry = field(default_factory=Inquiry, compare=False)


def record_rows(connection: Connection, rows: Sequence[RowValues]) -> None:
    """Append rows to the log in the caller's transaction."""
    append_rows(connection, seal_rows(rows))


def build_disclosure_rows(
    connection: Connection, audit_context: AuditContext, versions: Sequence[DisclosedVersion]
) -> list[RowValues]:
    """Build the rows of a successful request: one for each patient, one for records of none."""
    patients = _find_patients(connection, [version.pk for version in versions])
    rows: dict[str | None, _RowDraft] = {}
    for version in versions:
        for patient, domain in patients.get(version.pk, _NO_PATIENT):
            row = rows.get(patient)
            if row is None:
                row = rows[patient] = _RowDraft(patient)
            row.entities[f"{version.type}/{version.id}"] = None
            row.records.append((version.pk, domain, version.author))
    for row in rows.values():
        row.reason = (
            _DIRECTORY
            if row.patient is None
            else find_reason(
                connection, audit_context.subject, audit_context.at_ms, row.patient, row.records
            )
        )
    return _to_values(audit_context, rows.values() or [_RowDraft(None, reason=_DIRECTORY)], SUCCESS)


def build_refusal_rows(
    audit_context: AuditContext, status: int, attempted: str | None
) -> list[RowValues]:
    """Build the row of a request that was refused or failed. It names no patient."""
    outcome = REFUSED if status < 500 else FAILED
    entities: dict[str, None] = {attempted: None} if attempted else {}
    row = _RowDraft(None, entities, reason=Reason(f"HTTP {status}"))
    return _to_values(audit_context, [row], outcome)


def build_event_rows(
    audit_context: AuditContext,
    patient: str | None,
    *,
    entities: Iterable[str] = (),
    domains: Iterable[str] = (),
    reason: str | None = None,
    consent: str | None = None,
    outcome: str = SUCCESS,
) -> list[RowValues]:
    """Build the row of an event that disclosed no record, about a patient or nobody.

    `entities` are references such as "Consent/x" that it concerns.
    """
    row = _RowDraft(
        patient, dict.fromkeys(entities), reason=Reason(reason, consent) if reason else None
    )
    row.records = [(0, domain, None) for domain in domains]
    return _to_values(audit_context, [row], outcome)


def build_opened_rows(
    audit_context: AuditContext, consequences: Iterable[Consequence]
) -> list[RowValues]:
    """Build the rows of records that a write opened though it wrote others: one for each patient.

    A restriction covered them by a label or an episode of a record that they name.
    """
    rows: dict[str, _RowDraft] = {}
    for consequence in consequences:
        if consequence.kind != "opened":
            continue
        for patient in sorted(consequence.patients):
            row = rows.setdefault(patient, _RowDraft(patient, reason=Reason(OPENED)))
            row.entities[consequence.name] = None
            row.records.append((0, consequence.record.domain, None))
    return _to_values(audit_context, rows.values(), SUCCESS)


_NO_PATIENT: Sequence[tuple[str | None, str | None]] = ((None, None),)
_DIRECTORY = Reason("directory")


@dataclass
class _RowDraft:
    """A row being built: of one patient, or of records of none."""

    patient: str | None
    entities: dict[str, None] = field(default_factory=dict)
    # (pk, domain, author) of each record.
    records: list[tuple[int, str | None, str | None]] = field(default_factory=list)
    reason: Reason | None = None

    @property
    def domains(self) -> str:
        return " ".join(sorted({domain for _, domain, _ in self.records if domain}))


def _to_values(
    audit_context: AuditContext, rows: Collection[_RowDraft], outcome: str
) -> list[RowValues]:
    subject = audit_context.subject
    audit_context.inquiry.recorded.update(row.patient for row in rows if row.patient)
    return [
        (
            uuid7().hex,
            audit_context.at_ms,
            audit_context.request_id,
            subject.login,
            subject.display,
            subject.role,
            subject.organization,
            audit_context.purpose,
            subject.client,
            audit_context.address,
            audit_context.interaction,
            row.patient,
            orjson.dumps(list(row.entities)).decode(),
            row.domains,
            audit_context.query,
            outcome,
            row.reason.code if row.reason else None,
            row.reason.consent if row.reason else None,
        )
        for row in rows
    ]


def _find_patients(
    connection: Connection, pks: Sequence[int]
) -> Mapping[int, Sequence[tuple[str | None, str | None]]]:
    """Return the patients of each version that has any, each with the version's domain."""
    patients: dict[int, list[tuple[str | None, str | None]]] = {}
    # Two statements only, for one key and for 50 (padded), so that the database caches their plans.
    size = 1 if len(pks) == 1 else _BATCH
    query = _SELECT_PATIENTS.format(", ".join("?" * size))
    for start in range(0, len(pks), size):
        batch = pks[start : start + size]
        padded = [*batch, *[batch[0]] * (size - len(batch))]
        for pk, patient, domain in connection.execute(query, padded):
            patients.setdefault(pk, []).append((patient, domain))
    return patients
