"""The monitor: looks through new rows of the log and flags unusual access for a steward.

It goes on where it stopped, whoever ran last; a flag is found again under the same key, so that two
processes at once make no second one. A flag names who looked and at which record, never a name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.audit_log.anomaly_rules import WatchRules, load_rules
from ehr_gateway.audit_log.family_names import family_names, patient_family_names
from ehr_gateway.database import Connection, Database, Row
from ehr_gateway.ids import uuid7

__all__ = ["Flag", "flags_of", "watch"]

_ZONE = JURISDICTION.zone
_MOST = 5_000
_MARK = "audit-watched"
_HOUR, _DAY = 3_600_000, 86_400_000
# The accesses that rules look at: people who treat, and saw something of a patient.
_SEEN = "role = 'clinician' AND outcome = '0' AND patient IS NOT NULL"
# What shows that an organisation knows a patient.
_VISITS = "('Encounter', 'Appointment', 'EpisodeOfCare')"


@dataclass(frozen=True)
class Flag:
    """One thing to look at; `key` is the same however often it is found."""

    key: str
    rule: str
    login: str
    display: str
    organization: str | None
    patient: str | None
    since_ms: int
    until_ms: int
    number: int


def watch(database: Database, clock: Callable[[], int]) -> int:
    """Look through the rows that nobody looked through yet; return how many flags are new."""
    new = 0
    while True:
        with database.read_transaction() as connection:
            mark = _mark(connection)
            rows = connection.execute(
                "SELECT seq, at_ms, login, display, organization, patient, reason FROM audit"  # noqa: S608
                f" WHERE seq > ? AND {_SEEN} ORDER BY seq LIMIT ?",
                (mark, _MOST),
            ).fetchall()
            flags = list(flags_of(connection, rows, load_rules()))
            last = connection.execute("SELECT max(seq) FROM audit").fetchone()[0] or 0
        reached = rows[-1]["seq"] if len(rows) == _MOST else last
        if reached > mark:
            with database.write_transaction() as connection:
                new += _keep(connection, flags, clock())
                _set_mark(connection, reached)
        if len(rows) < _MOST:
            return new


def flags_of(connection: Connection, rows: Sequence[Row], rules: WatchRules) -> Iterator[Flag]:
    """Yield what the rules flag in the light of some rows, new ones."""
    by_person: dict[tuple[str, str | None], list[Row]] = defaultdict(list)
    for row in rows:
        by_person[row["login"], row["organization"]].append(row)
    for seen in by_person.values():
        if figures := rules.of("many-patients"):
            yield from _crowd(
                connection, seen, "many-patients", figures["minutes"] * 60_000, figures
            )
        if figures := rules.of("emergency-burst"):
            window = figures["hours"] * _HOUR
            yield from _crowd(connection, seen, "emergency-burst", window, figures, "emergency")
        if figures := rules.of("after-hours"):
            yield from _nights(connection, seen, figures)
        yield from _strangers(connection, seen, rules)


def _crowd(
    connection: Connection,
    seen: Sequence[Row],
    rule: str,
    window: int,
    figures: Mapping[str, int],
    reason: str | None = None,
) -> Iterator[Flag]:
    """Flag a window with too many different patients."""
    last, first = seen[-1], seen[0]
    rows = _of_person(connection, first, first["at_ms"] - window, last["at_ms"] + 1, reason)
    begin, inside = 0, defaultdict[str, int](int)
    most, since, until = 0, 0, 0
    for row in rows:
        inside[row["patient"]] += 1
        while rows[begin]["at_ms"] <= row["at_ms"] - window:
            gone = rows[begin]["patient"]
            inside[gone] -= 1
            if not inside[gone]:
                del inside[gone]
            begin += 1
        if len(inside) > most:
            most, since, until = len(inside), rows[begin]["at_ms"], row["at_ms"]
    if most >= figures["patients"]:
        # One a day and person: a flag that grows stays the same flag.
        yield _flag(rule, last, None, since, until, most, str(_day(until)))


def _nights(
    connection: Connection, seen: Sequence[Row], figures: Mapping[str, int]
) -> Iterator[Flag]:
    nights = {_night(row["at_ms"], figures) for row in seen} - {None}
    for night in sorted(night for night in nights if night is not None):
        since, until = night
        rows = _of_person(connection, seen[0], since, until, None)
        patients = {row["patient"] for row in rows}
        if len(patients) >= figures["patients"]:
            yield _flag(
                "after-hours", seen[0], None, rows[0]["at_ms"], rows[-1]["at_ms"], len(patients),
                str(since),
            )  # fmt: skip


def _strangers(connection: Connection, seen: Sequence[Row], rules: WatchRules) -> Iterator[Flag]:
    visit, named = rules.of("no-visit"), rules.of("own-family-name")
    for (patient, day), rows in _by_patient_and_day(seen).items():
        last = rows[-1]
        knows = _has_visit(connection, last, visit["days"] if visit else 36_500)
        times = (rows[0]["at_ms"], last["at_ms"], len(rows), f"{patient}|{day}")
        shared = [row for row in rows if row["reason"] != "own-record"]
        if visit and shared and not knows:
            yield _flag("no-visit", last, patient, *times)
        if named and not (named["only_without_visit"] and knows):
            family = family_names(last["display"])
            if family and family & _patient_names(connection, patient):
                yield _flag("own-family-name", last, patient, *times)


def _by_patient_and_day(rows: Iterable[Row]) -> dict[tuple[str, int], list[Row]]:
    found: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in rows:
        found[row["patient"], _day(row["at_ms"])].append(row)
    return found


def _of_person(
    connection: Connection, who: Row, since: int, until: int, reason: str | None
) -> list[Row]:
    rows: list[Row] = connection.execute(
        "SELECT at_ms, patient FROM audit WHERE login = :login"  # noqa: S608 constant condition
        " AND coalesce(organization, '') = coalesce(:organization, '')"
        f" AND at_ms >= :since AND at_ms < :until AND {_SEEN}"
        " AND coalesce(:reason, reason, '') = coalesce(reason, '') ORDER BY at_ms",
        {
            "login": who["login"], "organization": who["organization"], "since": since,
            "until": until, "reason": reason,
        },
    ).fetchall()  # fmt: skip
    return rows


def _has_visit(connection: Connection, row: Row, days: int) -> bool:
    found = connection.execute(
        "SELECT 1 FROM record_patient p JOIN resource r ON r.pk = p.pk"  # noqa: S608
        f" WHERE p.patient = :patient AND r.type IN {_VISITS} AND r.author = :organization"
        " AND r.current = 1 AND r.deleted = 0"
        " AND coalesce(r.clinical_date, r.last_updated) >= :since LIMIT 1",
        {
            "patient": row["patient"], "organization": row["organization"],
            "since": row["at_ms"] - days * _DAY,
        },
    ).fetchone()  # fmt: skip
    return found is not None


def _patient_names(connection: Connection, patient: str) -> set[str]:
    row = connection.execute(
        "SELECT body FROM resource WHERE type = 'Patient' AND id = ? AND current = 1", (patient,)
    ).fetchone()
    return patient_family_names(orjson.loads(row["body"] or b"{}")) if row else set()


def _flag(
    rule: str, row: Row, patient: str | None, since: int, until: int, number: int, about: str
) -> Flag:
    login, organization = row["login"], row["organization"]
    key = f"{rule}|{login}|{organization or ''}|{about}"
    return Flag(key, rule, login, row["display"], organization, patient, since, until, number)


def _keep(connection: Connection, flags: Iterable[Flag], now_ms: int) -> int:
    new = 0
    for flag in flags:
        known = connection.execute(
            "SELECT id FROM audit_flag WHERE flag_key = ?", (flag.key,)
        ).fetchone()
        if known:
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


def _mark(connection: Connection) -> int:
    row = connection.execute("SELECT value FROM setting WHERE name = ?", (_MARK,)).fetchone()
    return int(bytes(row["value"])) if row else 0


def _set_mark(connection: Connection, seq: int) -> None:
    connection.execute(
        "INSERT INTO setting VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (_MARK, str(seq).encode()),
    )


def _day(at_ms: int) -> int:
    return datetime.fromtimestamp(at_ms / 1000, _ZONE).toordinal()


def _night(at_ms: int, figures: Mapping[str, int]) -> tuple[int, int] | None:
    """Return begin and end of the night an instant is in, or None by day."""
    at = datetime.fromtimestamp(at_ms / 1000, _ZONE)
    begin, end = figures["from_hour"], figures["until_hour"]
    if end <= at.hour < begin:
        return None
    evening = at if at.hour >= begin else at - timedelta(days=1)
    first = evening.replace(hour=begin, minute=0, second=0, microsecond=0)
    hours = (end - begin) % 24
    return int(first.timestamp() * 1000), int(first.timestamp() * 1000) + hours * _HOUR
