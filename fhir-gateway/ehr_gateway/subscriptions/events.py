"""The events of a subscription: judged by consent, numbered, and told.

An event waits without a number. When the subscriber is first told of it, consent is asked whether
they may see the record at this moment: if they may, it gets the next number, else it is dropped as
if it had never been. One that was told already keeps its number, and is left out as long as the
record is closed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ehr_gateway.access import Access
from ehr_gateway.audit_log.recorder import AuditContext, build_disclosure_rows, record_rows
from ehr_gateway.database import Connection, Row
from ehr_gateway.store.disclosure import Disclosure, reader_parameters
from ehr_gateway.store.store import Version
from ehr_gateway.subscriptions.rows import StoredSubscription

__all__ = [
    "Judged",
    "ToldEvent",
    "commit_told",
    "has_waiting",
    "judge_told",
    "judge_waiting",
    "number_waiting",
]

# Events that are looked at for one answer, told and dropped ones together. Chosen: one statement
# of some tens of microseconds each.
_MOST_JUDGED = 1000


@dataclass(frozen=True)
class ToldEvent:
    """An event with its number, and the version that it is about."""

    number: int
    at_ms: int
    version: Version


@dataclass(frozen=True)
class Judged:
    """What consent made of some waiting events, for one moment."""

    # Those to tell, with the numbers that they have or get.
    told: tuple[ToldEvent, ...] = ()
    # Positions of those that get a number, and of those that are dropped.
    numbered: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()
    # The newest number that is settled with this: told, or told before and closed now.
    settled: int = 0
    # Whether more are waiting.
    has_more: bool = False

    @property
    def numbers(self) -> Mapping[int, int]:
        """The number of each event to tell, by its position."""
        return {event.version.position: event.number for event in self.told}


def judge_waiting(
    connection: Connection, access: Access, stored: StoredSubscription, most: int
) -> Judged:
    """Judge what was not acknowledged, oldest first, until `most` events may be told."""
    rows = connection.execute(
        "SELECT position, number, at_ms FROM subscription_event WHERE subscription = ?"
        " AND (number IS NULL OR number > ?) ORDER BY position LIMIT ?",
        (stored.id, stored.acknowledged, _MOST_JUDGED + 1),
    ).fetchall()
    told: list[ToldEvent] = []
    numbered: list[int] = []
    dropped: list[int] = []
    last, settled = stored.last_number, stored.acknowledged
    for place, row in enumerate(rows):
        if len(told) == most or place == _MOST_JUDGED:
            return Judged(tuple(told), tuple(numbered), tuple(dropped), settled, has_more=True)
        version = _find_visible(connection, access, row["position"])
        if row["number"] is None and version is None:
            dropped.append(row["position"])
            continue
        number = row["number"]
        if number is None:
            last += 1
            number = last
            numbered.append(row["position"])
        settled = max(settled, number)
        if version is not None:
            told.append(ToldEvent(number, row["at_ms"], version))
    return Judged(tuple(told), tuple(numbered), tuple(dropped), settled)


def judge_told(
    connection: Connection,
    access: Access,
    stored: StoredSubscription,
    *,
    since: int,
    until: int | None,
) -> list[ToldEvent]:
    """Return events with numbers in a range, both ends included, of records that are open now.

    Those that are closed take no place of the others: there are up to 1000.
    """
    told: list[ToldEvent] = []
    last = stored.last_number if until is None else until
    while len(told) < _MOST_JUDGED:
        rows = connection.execute(
            "SELECT position, number, at_ms FROM subscription_event WHERE subscription = ?"
            " AND number >= ? AND number <= ? ORDER BY number LIMIT ?",
            (stored.id, since, last, _MOST_JUDGED - len(told)),
        ).fetchall()
        if not rows:
            break
        for row in rows:
            version = _find_visible(connection, access, row["position"])
            if version is not None:
                told.append(ToldEvent(row["number"], row["at_ms"], version))
        since = rows[-1]["number"] + 1
    return told


def commit_told(
    connection: Connection,
    stored: StoredSubscription,
    judged: Judged,
    audit_context: AuditContext | None,
) -> None:
    """Give numbers, drop what is closed and put on record what is told, before it is told.

    `audit_context` is None where nothing of a record is told yet.
    """
    numbers = judged.numbers
    connection.executemany(
        "UPDATE subscription_event SET number = ? WHERE subscription = ? AND position = ?",
        [(numbers[position], stored.id, position) for position in judged.numbered],
    )
    connection.executemany(
        "DELETE FROM subscription_event WHERE subscription = ? AND position = ?",
        [(stored.id, position) for position in judged.dropped],
    )
    if judged.numbered:
        connection.execute(
            "UPDATE subscription SET last_number = ? WHERE id = ?",
            (stored.last_number + len(judged.numbered), stored.id),
        )
    if audit_context is not None and judged.told:
        versions = [event.version for event in judged.told]
        record_rows(connection, build_disclosure_rows(connection, audit_context, versions))


def number_waiting(
    connection: Connection, access: Access, stored: StoredSubscription
) -> StoredSubscription:
    """Number what waits and is open now, for an answer that tells how many events there are.

    Of very many those that waited longest, so that no other write waits for long.
    """
    # Those with a number were told already.
    waiting = replace(stored, acknowledged=stored.last_number)
    judged = judge_waiting(connection, access, waiting, _MOST_JUDGED)
    commit_told(connection, stored, judged, None)
    return replace(stored, last_number=stored.last_number + len(judged.numbered))


def has_waiting(connection: Connection, stored: StoredSubscription) -> bool:
    """Say whether an event waits for its first telling, or for being acknowledged."""
    row = connection.execute(
        "SELECT 1 FROM subscription_event WHERE subscription = ?"
        " AND (number IS NULL OR number > ?) LIMIT 1",
        (stored.id, stored.acknowledged),
    ).fetchone()
    return row is not None


def _find_visible(connection: Connection, access: Access, position: int) -> Version | None:
    """Return a version if the requester may read it and the newest version of its record."""
    visible, current = access.read_predicate, access.later_version_predicate("read")
    requester = access.requester
    row: Row | None = connection.execute(
        f"SELECT r.*{Disclosure.columns(connection.dialect)} FROM resource r"  # noqa: S608
        f" WHERE r.position = :position AND ({visible.sql})"
        " AND EXISTS (SELECT 1 FROM resource later WHERE later.type = r.type AND later.id = r.id"
        f" AND later.current = 1 AND ({current.sql}))",
        {
            "position": position,
            **reader_parameters(requester.person, requester.organization, access.now_ms),
            **visible.params,
            **current.params,
        },
    ).fetchone()
    if row is None or not access.covers("read", row["type"]):
        return None
    return Version.from_row(row, has_disclosure=True)
