"""Grants, emergencies and carers' powers end for good: by an event, not by a Consent's dates.

The first time that a Consent opens something for an organisation, or gives a carer a power, is
recorded in `consent_opening`. Three events end it: its own Consent stops opening (inactive,
deleted, cut short); a sharing of the patient with the organisation, or the joining, ends; or one
begins anew where none was in force. The last two end grants alone: emergencies and carers need no
sharing. What ended gives no rule rows again, whatever a later version of any Consent says: the rows
are taken out in the transaction of the event, so no query has to look for it.

Grants of the same transaction as a sharing are given under it, in whatever order they stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ehr_gateway.database import Connection
from ehr_privacy.consent import Record, RuleRow
from ehr_privacy.consent.model import is_in_force

__all__ = ["RuleEvent", "apply_rule_event", "read_rows", "without_ended"]

# Tables of what a Consent opens, and the column that says for whom. `consent_opening` has it as
# `organization`, also where it is a carer.
_OPENED_FOR = {
    "consent_grant": "organization",
    "consent_emergency": "organization",
    "consent_carer": "person",
}
OPENING_TABLES = tuple(_OPENED_FOR)
_EVERYONE = "*"
# Organizations and Consents of these tables make and end sharing.
_SHARING_TABLES = {
    "Consent": ("consent_sharing", "consent_joining"),
    "Organization": ("consent_deemed",),
}
_IN_FORCE = " AND since <= :now AND (until IS NULL OR :now < until)"
_SHARED = (
    "SELECT 1 FROM consent_sharing WHERE patient = :patient"  # noqa: S608
    f" AND organization IN (:organization, '*') AND consent <> :consent{_IN_FORCE}"
    " UNION ALL SELECT 1 FROM consent_deemed"
    f" WHERE organization = :organization AND consent <> :consent{_IN_FORCE}"
)
_JOINED = (
    f"SELECT 1 FROM consent_joining WHERE patient = :patient AND consent <> :consent{_IN_FORCE}"  # noqa: S608
)


@dataclass(frozen=True)
class RuleEvent:
    """When rule rows are replaced: the instant, and the last position before the transaction."""

    now_ms: int
    position: int


@dataclass(frozen=True, order=True)
class _Term:
    """Whom a row of sharing or joining is about; `*` stands for every patient or organisation."""

    table: str
    patient: str
    organization: str


def without_ended(
    connection: Connection, consent: str, rules: Sequence[RuleRow], at_ms: int | None = None
) -> list[RuleRow]:
    """Return the rule rows of a resource without those of what had ended for good at an instant."""
    if not any(rule.table in OPENING_TABLES for rule in rules):
        return list(rules)
    ended = {
        (row["patient"], row["organization"])
        for row in connection.execute(
            "SELECT patient, organization, ended_ms FROM consent_opening WHERE consent = ?"
            " AND ended_ms IS NOT NULL",
            (consent,),
        )
        if at_ms is None or row["ended_ms"] <= at_ms
    }
    return [rule for rule in rules if rule.table not in OPENING_TABLES or _pair(rule) not in ended]


def apply_rule_event(
    connection: Connection,
    record: Record,
    before: Sequence[RuleRow],
    after: Sequence[RuleRow],
    event: RuleEvent,
) -> None:
    """Record what a Consent opens anew, and end what its new rows, or an Organization's, end."""
    _end_withdrawn(connection, record, before, after, event)
    _record_openings(connection, record, after, event)
    terms_before, terms_after = (_terms_in_force(rows, event) for rows in (before, after))
    for term in sorted(terms_before - terms_after):
        _end_grants(connection, term.patient, term.organization, event)
        _expire_requests(connection, term.patient, term.organization, event)
    for term in sorted(terms_after - terms_before):
        _end_grants_from_before(connection, record, term, event)


def read_rows(connection: Connection, record: Record) -> list[RuleRow]:
    """Return the rows of a resource that open something or share."""
    tables = _SHARING_TABLES.get(record.type, ())
    if record.type == "Consent":
        tables += OPENING_TABLES
    return [
        RuleRow(table, dict(row))
        for table in tables
        for row in connection.execute(
            f"SELECT * FROM {table} WHERE consent = ?",  # noqa: S608
            (record.id,),
        ).fetchall()
    ]


def _terms_in_force(rows: Iterable[RuleRow], event: RuleEvent) -> set[_Term]:
    return {
        _Term(
            row.table,
            str(row.values.get("patient", _EVERYONE)),
            str(row.values.get("organization", _EVERYONE)),
        )
        for row in rows
        if row.table not in OPENING_TABLES
        and any(row.table in tables for tables in _SHARING_TABLES.values())
        and is_in_force(row.values, event.now_ms)
    }


def _end_withdrawn(
    connection: Connection,
    record: Record,
    before: Sequence[RuleRow],
    after: Sequence[RuleRow],
    event: RuleEvent,
) -> None:
    opened, opens = (_openings(rows, event.now_ms) for rows in (before, after))
    for table, patient, opened_for in sorted(opened - opens):
        # Carers' powers of an older store have no row yet.
        connection.execute(
            "INSERT INTO consent_opening (consent, patient, organization, kind, position, ended_ms)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (consent, patient, organization)"
            " DO UPDATE SET ended_ms = coalesce(consent_opening.ended_ms, excluded.ended_ms)",
            (record.id, patient, opened_for, table, event.position, event.now_ms),
        )


def _record_openings(
    connection: Connection, record: Record, after: Sequence[RuleRow], event: RuleEvent
) -> None:
    rows = {(row.table, *_pair(row)) for row in after if row.table in OPENING_TABLES}
    for table, patient, opened_for in sorted(rows):
        connection.execute(
            "INSERT INTO consent_opening (consent, patient, organization, kind, position, ended_ms)"
            " VALUES (?, ?, ?, ?, ?, NULL) ON CONFLICT DO NOTHING",
            (record.id, patient, opened_for, table, event.position + 1),
        )


def _end_grants_from_before(
    connection: Connection, record: Record, term: _Term, event: RuleEvent
) -> None:
    """End the grants of each organisation that nothing else was shared with until now."""
    of_pair = _of_pair(term.patient, term.organization)
    candidates = connection.execute(
        "SELECT DISTINCT patient, organization FROM consent_opening WHERE kind = 'consent_grant'"  # noqa: S608
        f" AND ended_ms IS NULL AND position <= :position{of_pair}",
        {
            "position": event.position,
            "patient": term.patient,
            "organization": term.organization,
        },
    ).fetchall()
    lasting = _JOINED if term.table == "consent_joining" else _SHARED
    for row in candidates:
        values = {"patient": row["patient"], "consent": record.id, "now": event.now_ms}
        if term.table != "consent_joining":
            values["organization"] = row["organization"]
        if connection.execute(lasting, values).fetchone() is None:
            _end_grants(connection, row["patient"], row["organization"], event)


def _end_grants(connection: Connection, patient: str, organization: str, event: RuleEvent) -> None:
    ended = connection.execute(
        "UPDATE consent_opening SET ended_ms = :now WHERE kind = 'consent_grant'"  # noqa: S608
        f" AND ended_ms IS NULL AND position <= :position{_of_pair(patient, organization)}"
        " RETURNING consent, patient, organization",
        {
            "now": event.now_ms,
            "position": event.position,
            "patient": patient,
            "organization": organization,
        },
    ).fetchall()
    connection.executemany(
        "DELETE FROM consent_grant WHERE consent = ? AND patient = ? AND organization = ?",
        [(row["consent"], row["patient"], row["organization"]) for row in ended],
    )
    connection.executemany(
        "UPDATE access_request SET state = 'ended', until_ms = ? WHERE consent = ?"
        " AND state = 'active' AND until_ms > ?",
        [(event.now_ms, row["consent"], event.now_ms) for row in ended],
    )


def _expire_requests(
    connection: Connection, patient: str, organization: str, event: RuleEvent
) -> None:
    """Expire step-up requests that wait: a code told before the sharing ended opens nothing."""
    connection.execute(
        "UPDATE access_request SET state = 'expired', decided_ms = :now WHERE kind = 'step-up'"  # noqa: S608
        f" AND state = 'proposed'{_of_pair(patient, organization)}",
        {"now": event.now_ms, "patient": patient, "organization": organization},
    )


def _of_pair(patient: str, organization: str) -> str:
    """Return the conditions on a pair in which `*` stands for everyone.

    In the text and not in parameters, so that the index on the pair is used.
    """
    return "".join(
        f" AND {column} = :{column}"
        for column, value in (("patient", patient), ("organization", organization))
        if value != _EVERYONE
    )


def _openings(rows: Iterable[RuleRow], now_ms: int) -> set[tuple[str, str, str]]:
    return {
        (row.table, *_pair(row))
        for row in rows
        if row.table in OPENING_TABLES and is_in_force(row.values, now_ms)
    }


def _pair(row: RuleRow) -> tuple[str, str]:
    """Return the patient, and the organisation or person that a row opens something for."""
    return str(row.values["patient"]), str(row.values[_OPENED_FOR[row.table]])
