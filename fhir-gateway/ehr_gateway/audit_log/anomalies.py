"""Anomaly detection: flags unusual accesses in new rows of the log, for a steward's worklist.

It goes on from a position in the database, whichever process ran last. A flag has a key that is the
same each time it is found, so that two processes insert it once. It holds who accessed which record
by log-in and id, and no patient's name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.audit_log.anomaly_rules import AnomalyRules, load_rules
from ehr_gateway.audit_log.family_names import family_names, patient_family_names
from ehr_gateway.database import Connection, Database, Row
from ehr_gateway.ids import uuid7
from ehr_gateway.schema.audit_log import ALL_ROWS

__all__ = ["AnomalyFlag", "find_flags", "flag_anomalies"]

_ZONE = JURISDICTION.zone
# Rows in one transaction (chosen).
_BATCH_ROWS = 5_000
_POSITION_NAME = "audit-watched"
_HOUR, _DAY = 3_600_000, 86_400_000
# The accesses that the rules examine: a clinician was shown something of a patient.
_CLINICIAN_ACCESS = (
    "role = 'clinician' AND outcome = '0' AND patient IS NOT NULL"
    " AND (reason IS NULL OR reason NOT IN ('named', 'counted', 'opened'))"
)
# Resource types that show that a patient visited an organisation.
_VISIT_TYPES = "('Encounter', 'Appointment', 'EpisodeOfCare')"


@dataclass(frozen=True)
class AnomalyFlag:
    """One anomaly. `key` is the same each time it is found."""

    key: str
    rule: str
    login: str
    display: str
    organization: str | None
    patient: str | None
    since_ms: int
    until_ms: int
    number: int


def flag_anomalies(database: Database, clock: Callable[[], int]) -> int:
    """Examine the rows since the last position; return the number of new flags."""
    new = 0
    while True:
        with database.read_transaction() as connection:
            position = _read_position(connection)
            rows = connection.execute(
                "SELECT seq, at_ms, login, display, organization, patient, reason"  # noqa: S608
                f" FROM {ALL_ROWS} WHERE seq > ? AND {_CLINICIAN_ACCESS} ORDER BY seq LIMIT ?",
                (position, _BATCH_ROWS),
            ).fetchall()
            is_last = len(rows) < _BATCH_ROWS
            if not is_last:
                # A list has many rows of one place; the next batch begins with what may be cut.
                rows = [row for row in rows if row["seq"] < rows[-1]["seq"]]
            flags = list(find_flags(connection, rows, load_rules()))
            last = connection.execute("SELECT max(seq) FROM audit").fetchone()[0] or 0
        reached = last if is_last else rows[-1]["seq"]
        if reached > position:
            with database.write_transaction() as connection:
                new += _insert_flags(connection, flags, clock())
                _write_position(connection, reached)
        if is_last:
            return new


def find_flags(
    connection: Connection, rows: Sequence[Row], rules: AnomalyRules
) -> Iterator[AnomalyFlag]:
    """Yield the flags of the rules for new rows."""
    by_person: dict[tuple[str, str | None], list[Row]] = defaultdict(list)
    for row in rows:
        by_person[row["login"], row["organization"]].append(row)
    for accesses in by_person.values():
        if thresholds := rules.thresholds_of("many-patients"):
            yield from _flag_many_patients(
                connection, accesses, "many-patients", thresholds["minutes"] * 60_000, thresholds
            )
        if thresholds := rules.thresholds_of("emergency-burst"):
            window = thresholds["hours"] * _HOUR
            yield from _flag_many_patients(
                connection, accesses, "emergency-burst", window, thresholds, "emergency"
            )
        if thresholds := rules.thresholds_of("after-hours"):
            yield from _flag_after_hours(connection, accesses, thresholds)
        yield from _flag_unknown_patients(connection, accesses, rules)


def _flag_many_patients(
    connection: Connection,
    accesses: Sequence[Row],
    rule: str,
    window: int,
    thresholds: Mapping[str, int],
    reason: str | None = None,
) -> Iterator[AnomalyFlag]:
    """Flag a sliding window with too many different patients."""
    last, first = accesses[-1], accesses[0]
    rows = _select_accesses(connection, first, first["at_ms"] - window, last["at_ms"] + 1, reason)
    begin, counts = 0, defaultdict[str, int](int)
    most, since, until = 0, 0, 0
    for row in rows:
        counts[row["patient"]] += 1
        while rows[begin]["at_ms"] <= row["at_ms"] - window:
            oldest = rows[begin]["patient"]
            counts[oldest] -= 1
            if not counts[oldest]:
                del counts[oldest]
            begin += 1
        if len(counts) > most:
            most, since, until = len(counts), rows[begin]["at_ms"], row["at_ms"]
    if most >= thresholds["patients"]:
        # The day is part of the key: a flag that grows during a day stays the same flag.
        yield _build_flag(rule, last, None, since, until, most, str(_day_number(until)))


def _flag_after_hours(
    connection: Connection, accesses: Sequence[Row], thresholds: Mapping[str, int]
) -> Iterator[AnomalyFlag]:
    nights = {_night_bounds(row["at_ms"], thresholds) for row in accesses} - {None}
    for night in sorted(night for night in nights if night is not None):
        since, until = night
        rows = _select_accesses(connection, accesses[0], since, until, None)
        patients = {row["patient"] for row in rows}
        if len(patients) >= thresholds["patients"]:
            yield _build_flag(
                "after-hours", accesses[0], None, rows[0]["at_ms"], rows[-1]["at_ms"],
                len(patients), str(since),
            )  # fmt: skip


def _flag_unknown_patients(
    connection: Connection, accesses: Sequence[Row], rules: AnomalyRules
) -> Iterator[AnomalyFlag]:
    visit_rule, name_rule = rules.thresholds_of("no-visit"), rules.thresholds_of("own-family-name")
    for (patient, day), rows in _group_by_patient_and_day(accesses).items():
        last = rows[-1]
        has_visit = _has_visit(connection, last, visit_rule["days"] if visit_rule else 36_500)
        times = (rows[0]["at_ms"], last["at_ms"], len(rows), f"{patient}|{day}")
        disclosed = [row for row in rows if row["reason"] != "own-record"]
        if visit_rule and disclosed and not has_visit:
            yield _build_flag("no-visit", last, patient, *times)
        if name_rule and not (name_rule["only_without_visit"] and has_visit):
            family = family_names(last["display"])
            if family and family & _read_patient_family_names(connection, patient):
                yield _build_flag("own-family-name", last, patient, *times)


def _group_by_patient_and_day(rows: Iterable[Row]) -> dict[tuple[str, int], list[Row]]:
    groups: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["patient"], _day_number(row["at_ms"])].append(row)
    return groups


def _select_accesses(
    connection: Connection, person: Row, since: int, until: int, reason: str | None
) -> list[Row]:
    rows: list[Row] = connection.execute(
        f"SELECT at_ms, patient FROM {ALL_ROWS} WHERE login = :login"  # noqa: S608 constant condition
        " AND coalesce(organization, '') = coalesce(:organization, '')"
        f" AND at_ms >= :since AND at_ms < :until AND {_CLINICIAN_ACCESS}"
        " AND coalesce(:reason, reason, '') = coalesce(reason, '') ORDER BY at_ms",
        {
            "login": person["login"], "organization": person["organization"], "since": since,
            "until": until, "reason": reason,
        },
    ).fetchall()  # fmt: skip
    return rows


def _has_visit(connection: Connection, row: Row, days: int) -> bool:
    visit = connection.execute(
        "SELECT 1 FROM record_patient p JOIN resource r ON r.pk = p.pk"  # noqa: S608
        f" WHERE p.patient = :patient AND r.type IN {_VISIT_TYPES} AND r.author = :organization"
        " AND r.current = 1 AND r.deleted = 0"
        " AND coalesce(r.clinical_date, r.last_updated) >= :since LIMIT 1",
        {
            "patient": row["patient"], "organization": row["organization"],
            "since": row["at_ms"] - days * _DAY,
        },
    ).fetchone()  # fmt: skip
    return visit is not None


def _read_patient_family_names(connection: Connection, patient: str) -> set[str]:
    row = connection.execute(
        "SELECT body FROM resource WHERE type = 'Patient' AND id = ? AND current = 1", (patient,)
    ).fetchone()
    return patient_family_names(orjson.loads(row["body"] or b"{}")) if row else set()


def _build_flag(
    rule: str, row: Row, patient: str | None, since: int, until: int, number: int, about: str
) -> AnomalyFlag:
    login, organization = row["login"], row["organization"]
    key = f"{rule}|{login}|{organization or ''}|{about}"
    return AnomalyFlag(
        key, rule, login, row["display"], organization, patient, since, until, number
    )


def _insert_flags(connection: Connection, flags: Iterable[AnomalyFlag], now_ms: int) -> int:
    new = 0
    for flag in flags:
        if flag.patient is not None and not _is_named(connection, flag.patient):
            continue
        existing = connection.execute(
            "SELECT id FROM audit_flag WHERE flag_key = ?", (flag.key,)
        ).fetchone()
        if existing:
            connection.execute(
                "UPDATE audit_flag SET until_ms = ?, number = ? WHERE flag_key = ? AND number < ?",
                (flag.until_ms, flag.number, flag.key, flag.number),
            )
            continue
        new += 1
        connection.execute(
            "INSERT INTO audit_flag (id, flag_key, rule, login, display, organization, patient,"
            " since_ms, until_ms, number, found_ms, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
            " 'open') ON CONFLICT DO NOTHING",
            (
                uuid7().hex, flag.key, flag.rule, flag.login, flag.display, flag.organization,
                flag.patient, flag.since_ms, flag.until_ms, flag.number, now_ms,
            ),
        )  # fmt: skip
    return new


def _is_named(connection: Connection, patient: str) -> bool:
    """Say whether the log names a patient still: one who was erased since it was read is not."""
    row = connection.execute(
        f"SELECT 1 FROM {ALL_ROWS} WHERE patient = ? LIMIT 1",  # noqa: S608 constant name
        (patient,),
    )
    return row.fetchone() is not None


def _read_position(connection: Connection) -> int:
    row = connection.execute(
        "SELECT value FROM setting WHERE name = ?", (_POSITION_NAME,)
    ).fetchone()
    return int(bytes(row["value"])) if row else 0


def _write_position(connection: Connection, seq: int) -> None:
    connection.execute(
        "INSERT INTO setting VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (_POSITION_NAME, str(seq).encode()),
    )


def _day_number(at_ms: int) -> int:
    return datetime.fromtimestamp(at_ms / 1000, _ZONE).toordinal()


def _night_bounds(at_ms: int, thresholds: Mapping[str, int]) -> tuple[int, int] | None:
    """Return begin and end of the night that an instant is in; None by day."""
    at = datetime.fromtimestamp(at_ms / 1000, _ZONE)
    begin, end = thresholds["from_hour"], thresholds["until_hour"]
    if end <= at.hour < begin:
        return None
    evening = at if at.hour >= begin else at - timedelta(days=1)
    first = evening.replace(hour=begin, minute=0, second=0, microsecond=0)
    hours = (end - begin) % 24
    return int(first.timestamp() * 1000), int(first.timestamp() * 1000) + hours * _HOUR
