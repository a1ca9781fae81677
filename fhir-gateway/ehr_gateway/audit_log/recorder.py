"""Build the audit log's rows: who asked, what was disclosed or written, with which outcome.

Rows hold references and the names of parameters, never a value of a record. A write records its
row in its own transaction (`record`); a read adds entries (`RequestContext.add_audit_entry`).
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import orjson

from ehr_gateway.audit_log.append import RowValues, append_rows, seal_rows
from ehr_gateway.audit_log.reasons import OPENED, SHARED, Reason, find_reason, reason_without_grants
from ehr_gateway.database import Connection, Dialect, encode_list, in_list
from ehr_gateway.ids import uuid7
from ehr_gateway.inquiry import Inquiry
from ehr_gateway.store.consequences import Consequence
from ehr_gateway.store.disclosure import GRANT_IN_FORCE, Disclosure, reader_parameters
from ehr_gateway.tokens.access_tokens import Subject

SUCCESS, REFUSED, FAILED = "0", "4", "8"
PLATFORM_LOGIN = "ehr-commons"
# Administration of the system (HL7 v3 PurposeOfUse).
PLATFORM_PURPOSE = "HSYSADMIN"


class DisclosedVersion(Protocol):
    """A version of a record that a response contains or a write created."""

    @property
    def position(self) -> int:
        """Its position in the feed, which no later version takes over."""

    @property
    def type(self) -> str:
        """Its resource type."""

    @property
    def id(self) -> str:
        """Its logical id."""

    @property
    def author(self) -> str | None:
        """The organisation whose record it is."""

    @property
    def disclosure(self) -> Disclosure | None:
        """Its patients, where it was read or written with them."""


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


def build_platform_context(program: str, interaction: str, now_ms: int) -> AuditContext:
    """Return the context of what one of the platform's programs does without a request."""
    return AuditContext(
        subject=Subject(PLATFORM_LOGIN, "eHR Commons", "system", program, PLATFORM_LOGIN),
        purpose=PLATFORM_PURPOSE,
        at_ms=now_ms,
        request_id=uuid.uuid4().hex,
        interaction=interaction,
    )


def record_rows(connection: Connection, rows: Sequence[RowValues]) -> None:
    """Append rows to the log in the caller's transaction."""
    append_rows(connection, seal_rows(rows))


def build_disclosure_rows(
    connection: Connection, audit_context: AuditContext, versions: Sequence[DisclosedVersion]
) -> list[RowValues]:
    """Build the rows of a successful request: one for each patient, one for records of none."""
    disclosures = _find_disclosures(connection, audit_context, versions)
    rows = _draft_disclosures(versions, disclosures)
    for row in rows:
        if row.patient is not None and row.has_grant:
            row.reason = find_reason(
                connection, audit_context.subject, audit_context.at_ms, row.patient, row.records
            )
    return _disclosure_values(audit_context, rows)


def build_known_rows(
    audit_context: AuditContext, versions: Sequence[DisclosedVersion]
) -> list[RowValues] | None:
    """Build the rows of a successful request without the store; None where it has to be asked."""
    disclosures: dict[int, Disclosure] = {}
    for version in versions:
        disclosure = version.disclosure
        if disclosure is None or disclosure.has_grant is not False:
            return None
        disclosures[version.position] = disclosure
    return _disclosure_values(audit_context, _draft_disclosures(versions, disclosures))


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


_DIRECTORY = Reason("directory")
_NO_DISCLOSURE = Disclosure((), None, has_grant=False)


@dataclass
class _RowDraft:
    """A row being built: of one patient, or of records of none."""

    patient: str | None
    entities: dict[str, None] = field(default_factory=dict)
    # (position, domain, author) of each record.
    records: list[tuple[int, str | None, str | None]] = field(default_factory=list)
    # Whether a grant or an emergency for this patient is in force.
    has_grant: bool = False
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


def _draft_disclosures(
    versions: Sequence[DisclosedVersion], disclosures: Mapping[int, Disclosure]
) -> list[_RowDraft]:
    rows: dict[str | None, _RowDraft] = {}
    for version in versions:
        disclosure = disclosures.get(version.position, _NO_DISCLOSURE)
        for patient in disclosure.patients or (None,):
            row = rows.get(patient)
            if row is None:
                row = rows[patient] = _RowDraft(patient)
            row.entities[f"{version.type}/{version.id}"] = None
            row.records.append(
                (version.position, disclosure.domain if patient else None, version.author)
            )
            row.has_grant = row.has_grant or bool(disclosure.has_grant)
    return list(rows.values()) or [_RowDraft(None)]


def _disclosure_values(audit_context: AuditContext, rows: Sequence[_RowDraft]) -> list[RowValues]:
    for row in rows:
        if row.patient is None:
            row.reason = _DIRECTORY
        elif row.reason is None:
            row.reason = reason_without_grants(audit_context.subject, row.records)
    return _to_values(audit_context, rows, SUCCESS)


def _find_disclosures(
    connection: Connection, audit_context: AuditContext, versions: Sequence[DisclosedVersion]
) -> Mapping[int, Disclosure]:
    """Return the patients of each version that has any, in one statement."""
    if not versions:
        return {}
    dialect, subject = connection.dialect, audit_context.subject
    parameters: dict[str, Any] = {}
    records = [(version.position, None, version.author) for version in versions]
    with_grants = reason_without_grants(subject, records) == SHARED
    known = {
        version.position: disclosure
        for version in versions
        if (disclosure := version.disclosure) is not None
    }
    is_told = not with_grants or all(one.has_grant is not None for one in known.values())
    if is_told and len(known) == len(versions):
        # Read with the versions, by the same reader in the same transaction.
        return known
    if with_grants:
        parameters.update(
            reader_parameters(
                subject.person or subject.login, subject.organization, audit_context.at_ms
            )
        )
    is_single = len(versions) == 1
    positions = [version.position for version in versions]
    parameters["positions"] = positions[0] if is_single else encode_list(dialect, positions)
    statement = _patients_statement(dialect, is_single=is_single, with_grants=with_grants)
    disclosures: dict[int, Disclosure] = {}
    for position, patient, domain, has_grant in connection.execute(statement, parameters):
        earlier = disclosures.get(position)
        patients = (*earlier.patients, patient) if earlier else (patient,)
        granted = bool(has_grant) or (earlier is not None and bool(earlier.has_grant))
        disclosures[position] = Disclosure(patients, domain, granted)
    return disclosures


@lru_cache
def _patients_statement(dialect: Dialect, *, is_single: bool, with_grants: bool) -> str:
    positions = "= :positions" if is_single else in_list(dialect, "positions")
    has_grant = GRANT_IN_FORCE if with_grants else "0"
    return (
        f"SELECT r.position, p.patient, r.domain, {has_grant} AS has_grant"  # noqa: S608
        " FROM resource r JOIN record_patient p ON p.pk = r.pk"
        f" WHERE r.position {positions} ORDER BY r.position, p.patient"
    )
