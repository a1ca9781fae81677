"""Read policy of the log: which rows a requester may read, and what of them.

Stewards and auditors read everything, patients what is about them. A carer reads the events of the
patients they represent, without records that are closed to the carer; an event about nothing else
is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import orjson

from ehr_fhir.errors import Forbidden, Invalid, NotFound
from ehr_gateway.access import Access
from ehr_gateway.audit_log.listed_patients import list_size
from ehr_gateway.audit_log.queries import AuditFilter, AuditRow, find_rows
from ehr_gateway.audit_log.reasons import COUNTED
from ehr_gateway.database import Connection

__all__ = ["ROLES_READING_ALL", "ReadableRows", "find_readable_row", "restrict_to_requester"]

ROLES_READING_ALL = frozenset({"steward", "auditor"})
_BATCH = 100
_NO_ROWS = AuditFilter(patients=())
_TREATING_ROLES = frozenset({"clinician", "system"})


@dataclass(frozen=True)
class ReadableRows:
    """The rows that a requester may read."""

    audit_filter: AuditFilter
    access: Access
    # Whether records are removed from rows one by one (carers).
    is_partial: bool = False

    def rows(self, connection: Connection, count: int) -> list[AuditRow]:
        """Return at most `count` rows, newest first."""
        if not self.is_partial:
            return find_rows(connection, self.audit_filter, count)
        readable_rows: list[AuditRow] = []
        audit_filter = self.audit_filter
        while len(readable_rows) < count:
            rows = find_rows(connection, audit_filter, _BATCH)
            readable_rows += self._redact(connection, rows)
            if len(rows) < _BATCH:
                break
            audit_filter = replace(audit_filter, before=rows[-1].id)
        return readable_rows[:count]

    def _redact(self, connection: Connection, rows: Sequence[AuditRow]) -> list[AuditRow]:
        domains = _find_readable_records(
            connection, self.access, {reference for row in rows for reference in row.entities}
        )
        readable_rows = []
        for row in rows:
            if row.reason == COUNTED:
                # It tells that there is such a record, which may be closed to the carer.
                continue
            readable = tuple(reference for reference in row.entities if reference in domains)
            if list_size(row.entities) is not None:
                # That the patient was on a list, and not of which records: some may be closed to
                # the carer.
                readable = row.entities
            if row.entities and not readable:
                continue
            row_domains = sorted(
                {domain for reference in readable if (domain := domains.get(reference))}
            )
            if self.audit_filter.domain is not None and self.audit_filter.domain not in row_domains:
                continue
            row = replace(
                row, entities_json=orjson.dumps(readable).decode(), domains=tuple(row_domains)
            )
            if row.role in _TREATING_ROLES:
                # The reason depends on every record shown, closed ones included, so it would tell.
                row = replace(row, reason=None, consent=None)
            readable_rows.append(row)
        return readable_rows


def restrict_to_requester(
    access: Access, connection: Connection, audit_filter: AuditFilter, interaction: str
) -> ReadableRows:
    """Restrict a filter to what the requester may read; Forbidden for a role that may read none."""
    requester = access.requester
    access.require_scope(interaction, "AuditEvent")
    if requester.role in ROLES_READING_ALL:
        return ReadableRows(audit_filter, access)
    if requester.role == "carer":
        return _restrict_to_carer(access, connection, audit_filter)
    if requester.role != "patient" or requester.patient is None:
        raise Forbidden("The audit log is for the patient, the carer, the steward and the auditor.")
    # Nothing of another patient. The same answer whether that patient exists or not.
    asked = audit_filter.patients or (audit_filter.patient,)
    is_other_patient = not set(asked) & {None, requester.patient}
    return ReadableRows(
        _NO_ROWS
        if is_other_patient
        else replace(audit_filter, patient=requester.patient, patients=None),
        access,
    )


def find_readable_row(access: Access, connection: Connection, logical_id: str) -> AuditRow:
    """Return a row by id if the requester may read it, else NotFound."""
    rows = restrict_to_requester(access, connection, AuditFilter(id=logical_id), "read").rows(
        connection, 1
    )
    if not rows:
        raise NotFound("There is no such AuditEvent.")
    return rows[0]


def _restrict_to_carer(
    access: Access, connection: Connection, audit_filter: AuditFilter
) -> ReadableRows:
    if audit_filter.reason is not None:
        raise Invalid("reason is not for carers.", issue_code="not-supported")
    rows = connection.execute(
        "SELECT DISTINCT patient FROM consent_carer WHERE person = :person AND can_view = 1"
        " AND since <= :now AND (until IS NULL OR :now < until)",
        {"person": access.requester.person, "now": access.now_ms},
    )
    patients = {str(row[0]) for row in rows}
    if access.requester.patient is not None:
        patients &= {access.requester.patient}
    if audit_filter.patient is not None:
        patients &= {audit_filter.patient}
    if audit_filter.patients is not None:
        patients &= set(audit_filter.patients)
    return ReadableRows(
        replace(audit_filter, patient=None, patients=tuple(sorted(patients))), access, True
    )


def _find_readable_records(
    connection: Connection, access: Access, references: Iterable[str]
) -> dict[str, str | None]:
    """Return the references that the requester may read now, with their domains."""
    domains: dict[str, str | None] = {}
    by_type: dict[str, list[str]] = {}
    for reference in references:
        kind, slash, identity = reference.partition("/")
        if not slash:
            # A list, or a set of people.
            continue
        by_type.setdefault(kind, []).append(identity)
    for kind, identities in by_type.items():
        for start in range(0, len(identities), _BATCH):
            batch = identities[start : start + _BATCH]
            params = {f"id_{n}": reference for n, reference in enumerate(batch)}
            placeholders = ", ".join(f":{name}" for name in params)
            rows = connection.execute(
                "SELECT r.id, r.domain FROM resource r WHERE r.type = :kind"  # noqa: S608
                f" AND r.id IN ({placeholders})"
                f" AND r.current = 1 AND r.deleted = 0 AND {access.read_predicate.sql}",
                {**access.read_predicate.params, **params, "kind": kind},
            )
            domains |= {f"{kind}/{row['id']}": row["domain"] for row in rows}
    return domains
