"""Turn the versions of the feed into events of the subscriptions that they concern.

Outside of any write's transaction, in the order of the feed. The place up to which the feed was
matched moves in the transaction that stores the events, so that a process that is killed neither
loses an event nor makes one twice. One process leads; another takes over when it stands still.
"""

from __future__ import annotations

import logging
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ehr_fhir.errors import EhrError
from ehr_fhir.json_text import parse
from ehr_gateway.database import Connection, encode_texts, in_list
from ehr_gateway.gateway import Gateway
from ehr_gateway.store.version_positions import newest_position
from ehr_gateway.subscriptions.content import parse_stored
from ehr_gateway.subscriptions.index import Listener, SubscriptionIndex
from ehr_gateway.subscriptions.rows import LIVE_STATES, StoredSubscription
from ehr_gateway.subscriptions.services import SubscriptionServices
from ehr_gateway.subscriptions.topics import Change

__all__ = ["FeedMatcher"]

_LOG = logging.getLogger(__name__)
# Versions that are matched in one step. Chosen: bodies of some kilobytes each are in memory.
_STEP = 500
# How long a process leads without a sign of life. Chosen: what is matched meanwhile is late by it.
LEASE_MS = 10_000
# Events older than this are forgotten. Chosen: twice as long as anybody is away.
_KEPT_MS = 30 * 86_400_000
_SWEEP_MS = 3_600_000


@dataclass(frozen=True)
class _Feed:
    """How far the feed was matched, and who leads until when."""

    position: int
    revision: int
    leader: str | None
    until_ms: int


@dataclass(frozen=True)
class _Event:
    """A version that concerns a subscription."""

    subscription: str
    position: int
    type: str
    id: str
    at_ms: int


class FeedMatcher:
    """Matches the feed while its process leads; not safe to share between threads."""

    def __init__(self, gateway: Gateway, services: SubscriptionServices) -> None:
        self._gateway = gateway
        self._services = services
        self.name = uuid.uuid4().hex
        self._index = SubscriptionIndex(services.topics)
        self._revision = -1
        # Before it nothing concerns anybody.
        self._first_position = 0
        self._swept_ms = 0

    def match(self) -> bool:
        """Match the next versions; return whether this process leads."""
        while self._take_lead():
            feed = self._read_feed()
            if feed is None or feed.leader != self.name:
                return False
            if feed.revision != self._revision:
                self._load(feed.revision)
            if not self._match_step(feed):
                self._sweep()
                return True
        return False

    def is_leader(self, connection: Connection, now_ms: int) -> bool:
        """Say, in a write transaction, whether this process leads, and goes on leading."""
        update = connection.execute(
            "UPDATE subscription_feed SET until_ms = ? WHERE one = 1 AND leader = ?",
            (now_ms + LEASE_MS, self.name),
        )
        return update.rowcount == 1

    def give_up(self) -> None:
        """Let another process lead at once."""
        with self._gateway.store.write_transaction() as connection:
            connection.execute(
                "UPDATE subscription_feed SET leader = NULL, until_ms = 0 WHERE leader = ?",
                (self.name,),
            )

    def _take_lead(self) -> bool:
        now = self._gateway.clock()
        feed = self._read_feed()
        if feed is None:
            # Nobody has ever subscribed.
            return False
        if feed.leader == self.name and feed.until_ms - now > LEASE_MS // 2:
            return True
        if feed.leader not in (None, self.name) and feed.until_ms > now:
            return False
        with self._gateway.store.write_transaction() as connection:
            update = connection.execute(
                "UPDATE subscription_feed SET leader = :name, until_ms = :until WHERE one = 1"
                " AND (leader IS NULL OR leader = :name OR until_ms <= :now)",
                {"name": self.name, "until": now + LEASE_MS, "now": now},
            )
        return update.rowcount == 1

    def _read_feed(self) -> _Feed | None:
        with self._gateway.store.read_transaction(single_statement=True) as connection:
            row = connection.execute(
                "SELECT position, revision, leader, until_ms FROM subscription_feed"
                " WHERE EXISTS (SELECT 1 FROM subscription)"
            ).fetchone()
        return None if row is None else _Feed(*row)

    def _load(self, revision: int) -> None:
        """Bring the index up to a revision."""
        with self._gateway.store.read_transaction() as connection:
            rows = connection.execute(
                "SELECT * FROM subscription WHERE revision > ? AND revision <= ?",
                (self._revision, revision),
            ).fetchall()
            first = connection.execute(
                "SELECT MIN(since_position) FROM subscription WHERE state <> 'off'"
            ).fetchone()
        for row in rows:
            stored = StoredSubscription.from_row(row)
            listener = self._build_listener(stored) if stored.is_live else None
            if listener is None:
                self._index.remove(stored.id)
            else:
                self._index.add(listener)
        self._first_position = int(first[0] or 0)
        self._revision = revision

    def _build_listener(self, stored: StoredSubscription) -> Listener | None:
        try:
            wish = parse_stored(stored.resource, self._services.topics, self._services.policy)
        except EhrError:
            # It was good when it was sent; what tells its owner is the next delivery.
            return None
        subject = stored.authority.subject
        return Listener(
            stored.id,
            wish.topic,
            wish.filters,
            stored.since_position,
            subject.patient if subject.role == "patient" else None,
        )

    def _match_step(self, feed: _Feed) -> bool:
        """Match some versions; return whether there may be more to do."""
        store = self._gateway.store
        start = max(feed.position, self._first_position)
        with store.read_transaction() as connection:
            newest = newest_position(connection)
            last = min(newest, start + _STEP)
            events = self._find_events(connection, start, last) if len(self._index) else []
        if newest <= feed.position:
            return False
        if store.embedded is not None:
            # A commit may be read before it is on disk. Lost in a power cut, its position would be
            # given to another version, which would then be passed over.
            store.embedded.flush()
        if not len(self._index):
            last = newest
        with store.write_transaction() as connection:
            moved = connection.execute(
                "UPDATE subscription_feed SET position = ? WHERE one = 1 AND position = ?"
                " AND revision = ? AND leader = ?",
                (last, feed.position, feed.revision, self.name),
            )
            if moved.rowcount == 1:
                self._insert(connection, events)
        return True

    def _find_events(self, connection: Connection, start: int, last: int) -> list[_Event]:
        dialect, types = connection.dialect, sorted(self._index.resource_types)
        rows = connection.execute(
            "SELECT r.position, r.type, r.id, r.version, r.deleted, r.last_updated, r.body"  # noqa: S608
            " FROM resource r WHERE r.position > :start AND r.position <= :last"
            f" AND r.type {in_list(dialect, 'types')} ORDER BY r.position",
            {"start": start, "last": last, "types": encode_texts(dialect, types)},
        ).fetchall()
        patients = self._find_patients(connection, start, last) if rows else {}
        now = datetime.fromtimestamp(self._gateway.clock() / 1000, UTC)
        events = []
        for row in rows:
            change = Change(
                row["type"],
                _find_previous(connection, row["type"], row["id"], row["version"]),
                None if row["deleted"] else parse(row["body"]),
            )
            if change.previous is None and change.current is None:
                continue
            position = row["position"]
            try:
                found = self._index.find(change, patients.get(position, ()), position, now)
            except Exception as error:
                # One version that cannot be judged does not hold up all that come after it.
                # Without the error's text, which may hold a value.
                _LOG.error("Version %s is no event: %s.", position, type(error).__name__)
                continue
            events += [
                _Event(listener.id, position, row["type"], row["id"], row["last_updated"])
                for listener in found
            ]
        return events

    @staticmethod
    def _find_patients(
        connection: Connection, start: int, last: int
    ) -> Mapping[int, Sequence[str]]:
        rows = connection.execute(
            "SELECT r.position, p.patient FROM resource r JOIN record_patient p ON p.pk = r.pk"
            " WHERE r.position > ? AND r.position <= ?",
            (start, last),
        )
        found: dict[int, list[str]] = defaultdict(list)
        for position, patient in rows:
            found[position].append(patient)
        return found

    def _insert(self, connection: Connection, events: Sequence[_Event]) -> None:
        if not events:
            return
        dialect, now = connection.dialect, self._gateway.clock()
        wanted = sorted({event.subscription for event in events})
        states = ", ".join(f"'{state}'" for state in LIVE_STATES)
        rows = connection.execute(
            f"SELECT id FROM subscription WHERE id {in_list(dialect, 'ids')}"  # noqa: S608
            f" AND state IN ({states})",
            {"ids": encode_texts(dialect, wanted)},
        ).fetchall()
        live = {row["id"] for row in rows}
        for identity in set(wanted) - live:
            # Deleted, which raises no revision.
            self._index.remove(identity)
        connection.executemany(
            "INSERT INTO subscription_event (subscription, position, type, id, at_ms)"
            " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [
                (event.subscription, event.position, event.type, event.id, event.at_ms)
                for event in events
                if event.subscription in live
            ],
        )
        # While an endpoint fails, its next attempt has a time of its own.
        connection.execute(
            "UPDATE subscription SET due_ms = :now WHERE channel = 'rest-hook' AND failures = 0"  # noqa: S608
            f" AND (due_ms IS NULL OR due_ms > :now) AND id {in_list(dialect, 'ids')}",
            {"now": now, "ids": encode_texts(dialect, sorted(live))},
        )

    def _sweep(self) -> None:
        """Forget old events and binding tokens, once in a while."""
        now = self._gateway.clock()
        if now - self._swept_ms < _SWEEP_MS:
            return
        self._swept_ms = now
        with self._gateway.store.write_transaction() as connection:
            connection.execute("DELETE FROM subscription_event WHERE at_ms < ?", (now - _KEPT_MS,))
            connection.execute("DELETE FROM subscription_binding WHERE expires_ms < ?", (now,))


def _find_previous(
    connection: Connection, kind: str, identity: str, version: int
) -> Mapping[str, object] | None:
    if version <= 1:
        return None
    row = connection.execute(
        "SELECT deleted, body FROM resource WHERE type = ? AND id = ? AND version = ?",
        (kind, identity, version - 1),
    ).fetchone()
    return None if row is None or row["deleted"] else parse(row["body"])
