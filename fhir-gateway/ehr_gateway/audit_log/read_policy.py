"""Who may read which rows of the log: all, those about oneself, those about a person in one's care.

A carer sees of an event only what he might read himself: records that are closed to him are left
out of it, and an event that is about nothing else is not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ehr_fhir.errors import Forbidden, Invalid, NotFound
from ehr_gateway.access import Access
from ehr_gateway.audit_log.queries import AuditFilter, AuditRow, find
from ehr_gateway.database import Connection
from ehr_privacy.consent import covers_interaction

__all__ = ["SEES_ALL", "Reading", "one_row", "reading"]

SEES_ALL = frozenset({"steward", "auditor"})
_BATCH = 100
_NONE = AuditFilter(patients=())
_TREATING = frozenset({"clinician", "system"})


@dataclass(frozen=True)
class Reading:
    """What one requester may read of the log."""

    wanted: AuditFilter
    access: Access
    # Whether single records must be looked at.
    part: bool = False

    def rows(self, connection: Connection, count: int) -> list[AuditRow]:
        """Return the newest rows first, at most `count`."""
        if not self.part:
            return find(connection, self.wanted, count)
        shown: list[AuditRow] = []
        wanted = self.wanted
        while len(shown) < count:
            rows = find(connection, wanted, _BATCH)
            shown += self._shown(connection, rows)
            if len(rows) < _BATCH:
                break
            wanted = replace(wanted, before=rows[-1].id)
        return shown[:count]

    def _shown(self, connection: Connection, rows: Sequence[AuditRow]) -> list[AuditRow]:
        domains = _readable(connection, self.access, {one for row in rows for one in row.entities})
        shown = []
        for row in rows:
            kept = tuple(one for one in row.entities if one in domains)
            if row.entities and not kept:
                continue
            seen = sorted({found for one in kept if (found := domains[one])})
            if self.wanted.domain is not None and self.wanted.domain not in seen:
                continue
            row = replace(row, entities=kept, domains=tuple(seen))
            if row.role in _TREATING:
                # Which line permitted depends on every record seen, the closed ones too.
                row = replace(row, reason=None, consent=None)
            shown.append(row)
        return shown


def reading(
    access: Access, connection: Connection, wanted: AuditFilter, interaction: str
) -> Reading:
    """Narrow what is asked for to what the requester may read; Forbidden for who may read none."""
    requester = access.requester
    if not covers_interaction(requester.scopes, interaction, "AuditEvent", in_patient=True):
        raise Forbidden("The access token's scopes do not cover AuditEvent.")
    if requester.role in SEES_ALL:
        return Reading(wanted, access)
    if requester.role == "carer":
        return _carers(access, connection, wanted)
    if requester.role != "patient" or requester.patient is None:
        raise Forbidden("The audit log is for the patient, the carer, the steward and the auditor.")
    # Of another patient nothing; the answer is the same whether there is such a one or not.
    other = wanted.patient not in (None, requester.patient)
    return Reading(_NONE if other else replace(wanted, patient=requester.patient), access)


def one_row(access: Access, connection: Connection, logical_id: str) -> AuditRow:
    """Return one row that the requester may read; NotFound when there is none."""
    rows = reading(access, connection, AuditFilter(id=logical_id), "read").rows(connection, 1)
    if not rows:
        raise NotFound("There is no such AuditEvent.")
    return rows[0]


def _carers(access: Access, connection: Connection, wanted: AuditFilter) -> Reading:
    if wanted.reason is not None:
        raise Invalid("reason is not for carers.", issue_code="not-supported")
    rows = connection.execute(
        "SELECT DISTINCT patient FROM consent_carer WHERE person = :person AND can_view = 1"
        " AND since <= :now AND (until IS NULL OR :now < until)",
        {"person": access.requester.person, "now": access.now_ms},
    )
    patients = {str(row[0]) for row in rows}
    if access.requester.patient is not None:
        patients &= {access.requester.patient}
    if wanted.patient is not None:
        patients &= {wanted.patient}
    return Reading(replace(wanted, patient=None, patients=tuple(sorted(patients))), access, True)


def _readable(
    connection: Connection, access: Access, references: Iterable[str]
) -> dict[str, str | None]:
    """Return the references that the requester may read now, each with its domain."""
    found: dict[str, str | None] = {}
    by_type: dict[str, list[str]] = {}
    for reference in references:
        kind, _, identity = reference.partition("/")
        by_type.setdefault(kind, []).append(identity)
    for kind, identities in by_type.items():
        for start in range(0, len(identities), _BATCH):
            some = identities[start : start + _BATCH]
            params = {f"id_{n}": one for n, one in enumerate(some)}
            marks = ", ".join(f":{name}" for name in params)
            rows = connection.execute(
                f"SELECT r.id, r.domain FROM resource r WHERE r.type = :kind AND r.id IN ({marks})"  # noqa: S608
                f" AND r.current = 1 AND r.deleted = 0 AND {access.read_predicate.sql}",
                {**access.read_predicate.params, **params, "kind": kind},
            )
            found |= {f"{kind}/{row['id']}": row["domain"] for row in rows}
    return found
