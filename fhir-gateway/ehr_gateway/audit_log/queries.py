"""Queries of the log: rows by a filter, newest first, and their number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import orjson

from ehr_gateway.audit_log.counted_sets import membership_condition
from ehr_gateway.database import Connection
from ehr_gateway.schema.audit_log import CONTENT_COLUMNS, LISTED_ROWS

__all__ = ["AuditFilter", "AuditRow", "count_rows", "find_rows"]

_COLUMNS = f"seq, {', '.join(CONTENT_COLUMNS)}"


@dataclass(frozen=True)
class AuditRow:
    """One row of the log, as stored."""

    seq: int
    id: str
    at_ms: int
    request_id: str
    login: str
    display: str
    role: str
    organization: str | None
    purpose: str
    client: str
    address: str | None
    interaction: str
    patient: str | None
    # A JSON array of references. A page of visits reads a thousand rows of hundreds of references,
    # and needs few of them taken apart.
    entities_json: str
    domains: tuple[str, ...]
    query: str | None
    outcome: str
    reason: str | None
    consent: str | None

    @cached_property
    def entities(self) -> tuple[str, ...]:
        """Return the references of what the event concerned."""
        return tuple(orjson.loads(self.entities_json))

    def names_type(self, resource_type: str) -> bool:
        """Say whether a resource of a type is among the entities."""
        return f'"{resource_type}/' in self.entities_json


@dataclass(frozen=True)
class AuditFilter:
    """A filter of rows; None means any. The interval of times is half open."""

    id: str | None = None
    patient: str | None = None
    # Any of several patients: those whom a carer represents.
    patients: tuple[str, ...] | None = None
    login: str | None = None
    # None of these log-ins.
    except_logins: tuple[str, ...] = ()
    organization: str | None = None
    reason: str | None = None
    outcome: str | None = None
    interaction: str | None = None
    domain: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    before: str | None = None


_CONDITIONS = {
    "id": "id = :id",
    "patient": "patient = :patient",
    "login": "login = :login",
    "organization": "organization = :organization",
    "reason": "reason = :reason",
    "outcome": "outcome = :outcome",
    "interaction": "interaction = :interaction",
    # Whole words only. REPLACE is in both databases and, unlike SQLite's LIKE, case-sensitive.
    "domain": "replace(' ' || domains || ' ', ' ' || :domain || ' ', '') <> ' ' || domains || ' '",
    "since_ms": "at_ms >= :since_ms",
    "until_ms": "at_ms < :until_ms",
    "before": "(at_ms, seq) < (SELECT at_ms, seq FROM audit WHERE id = :before)",
}


def find_rows(connection: Connection, audit_filter: AuditFilter, count: int) -> list[AuditRow]:
    """Return at most `count` rows, newest first.

    Of patients, with the rows of lists they were on; of one patient, with the rows that counted
    them among many. These then bear the patient's id, and what a list showed of this patient.
    """
    where, params = _build_where(audit_filter)
    rows = _select_rows(connection, "audit", where, params, count)
    if audit_filter.patient is None and not audit_filter.patients:
        return rows
    rows += _select_rows(connection, LISTED_ROWS, where, params, count)
    if (counted := _counted_where(connection, audit_filter)) is not None:
        rows += [
            replace(row, patient=audit_filter.patient)
            for row in _select_rows(connection, "audit", *counted, count)
        ]
    return sorted(rows, key=lambda row: (row.at_ms, row.seq), reverse=True)[:count]


def count_rows(connection: Connection, audit_filter: AuditFilter) -> int:
    """Return the number of rows of a filter."""
    where, params = _build_where(audit_filter)
    number = _count_rows(connection, "audit", where, params)
    if audit_filter.patient is not None or audit_filter.patients:
        number += _count_rows(connection, LISTED_ROWS, where, params)
    if (counted := _counted_where(connection, audit_filter)) is not None:
        number += _count_rows(connection, "audit", *counted)
    return number


def _count_rows(connection: Connection, source: str, where: str, params: dict[str, object]) -> int:
    sql = f"SELECT count(*) FROM {source} WHERE {where}"  # noqa: S608 constant conditions
    return int(connection.execute(sql, params).fetchone()[0])


def _select_rows(
    connection: Connection, source: str, where: str, params: dict[str, object], count: int
) -> list[AuditRow]:
    sql = (
        f"SELECT {_COLUMNS} FROM {source} WHERE {where}"  # noqa: S608 constant conditions
        " ORDER BY at_ms DESC, seq DESC LIMIT :count"
    )
    rows = connection.execute(sql, {**params, "count": count}).fetchall()
    return [_row_from_values(dict(row)) for row in rows]


def _counted_where(
    connection: Connection, audit_filter: AuditFilter
) -> tuple[str, dict[str, object]] | None:
    """Return the condition for the rows that counted the filter's patient among many, if any."""
    if audit_filter.patient is None:
        return None
    membership = membership_condition(connection, audit_filter.patient)
    if membership is None:
        return None
    where, params = _build_where(replace(audit_filter, patient=None))
    return f"{where} AND {membership[0]}", {**params, **membership[1]}


def _row_from_values(values: dict[str, object]) -> AuditRow:
    values["entities_json"] = values.pop("entities")
    values["domains"] = tuple(str(values["domains"]).split())
    return AuditRow(**values)  # type: ignore[arg-type]  # the columns are the fields


def _build_where(audit_filter: AuditFilter) -> tuple[str, dict[str, object]]:
    params = {name: getattr(audit_filter, name) for name in _CONDITIONS}
    kept: dict[str, object] = {name: value for name, value in params.items() if value is not None}
    conditions = ["1 = 1", *(_CONDITIONS[name] for name in kept)]
    if audit_filter.patients is not None:
        placeholders = [f":patient_{n}" for n in range(len(audit_filter.patients))]
        conditions.append(f"patient IN ({', '.join(placeholders)})" if placeholders else "1 = 0")
        kept |= {f"patient_{n}": patient for n, patient in enumerate(audit_filter.patients)}
    if audit_filter.except_logins:
        names = [f":except_{n}" for n in range(len(audit_filter.except_logins))]
        conditions.append(f"login NOT IN ({', '.join(names)})")
        kept |= {f"except_{n}": login for n, login in enumerate(audit_filter.except_logins)}
    return " AND ".join(conditions), kept
