"""Subscriptions as rows: made, found, changed, ended, forgotten."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ehr_fhir.json_text import parse, serialize
from ehr_gateway.database import Connection, Row
from ehr_gateway.store.version_positions import newest_position
from ehr_gateway.subscriptions.content import Wish
from ehr_gateway.subscriptions.secrets import ChannelSecrets
from ehr_gateway.tokens.access_tokens import Subject

__all__ = [
    "LIVE_STATES",
    "Authority",
    "StoredSubscription",
    "count_of_owner",
    "delete_subscription",
    "end_subscription",
    "erase_subscriptions",
    "find_subscription",
    "insert_subscription",
    "list_subscriptions",
    "replace_subscription",
    "seal_owner",
    "switch_all_off",
]

# The states in which events are waited for.
LIVE_STATES = ("requested", "active", "error")
# What may be the id of a record, in a text.
_NAMES = re.compile(r"[A-Za-z0-9.\-]{1,64}")
_NEW_REVISION = "(SELECT revision FROM subscription_feed WHERE one = 1)"


@dataclass(frozen=True)
class Authority:
    """By whose token a subscription was made: the subject, scopes, token family; until when."""

    subject: Subject
    scope: str
    family: str
    # When it ends by itself, because nothing renews the token.
    until_ms: int | None


@dataclass(frozen=True)
class StoredSubscription:
    """One subscription as it is stored."""

    id: str
    owner: str
    authority: Authority
    version: int
    updated_ms: int
    resource: Mapping[str, Any]
    sealed_headers: str | None
    channel: str
    state: str
    error: str | None
    since_position: int
    last_number: int
    acknowledged: int
    failures: int
    failing_ms: int | None
    sent_ms: int | None
    due_ms: int | None
    revision: int

    @property
    def is_live(self) -> bool:
        """Whether events are waited for."""
        return self.state in LIVE_STATES

    @classmethod
    def from_row(cls, row: Row) -> StoredSubscription:
        """Build it from a row with all columns."""
        authority = Authority(
            Subject(**json.loads(row["subject"])), row["scope"], row["family"], row["until_ms"]
        )
        names = (
            "version", "updated_ms", "channel", "state", "error", "since_position", "last_number",
            "acknowledged", "failures", "failing_ms", "sent_ms", "due_ms", "revision",
        )  # fmt: skip
        return cls(
            id=row["id"],
            owner=row["owner"],
            authority=authority,
            resource=parse(row["resource"].encode()),
            sealed_headers=row["headers"],
            **{name: row[name] for name in names},
        )


def seal_owner(owner: Sequence[str | None]) -> str:
    """Return an owner as the column has it."""
    return json.dumps(list(owner))


def insert_subscription(
    connection: Connection,
    secrets: ChannelSecrets,
    identity: str,
    owner: Sequence[str | None],
    authority: Authority,
    wish: Wish,
    now_ms: int,
) -> None:
    """Store a new subscription to what is written from now on."""
    values = {
        "id": identity,
        "owner": seal_owner(owner),
        "patient": authority.subject.patient if authority.subject.role == "patient" else None,
        "version": 1,
        "since_position": newest_position(connection),
        "last_number": 0,
        "acknowledged": 0,
        **_changing_values(connection, secrets, authority, wish, now_ms),
    }
    columns, places = ", ".join(values), ", ".join(f":{name}" for name in values)
    connection.execute(
        f"INSERT INTO subscription ({columns}) VALUES ({places})",  # noqa: S608 constant names
        values,
    )


def replace_subscription(
    connection: Connection,
    secrets: ChannelSecrets,
    stored: StoredSubscription,
    authority: Authority,
    wish: Wish,
    now_ms: int,
) -> None:
    """Store what a subscription asks for now. Events and their numbers go on.

    One that was off waits for what is written from now on.
    """
    values = _changing_values(connection, secrets, authority, wish, now_ms)
    values["version"] = stored.version + 1
    values["since_position"] = (
        stored.since_position if stored.is_live else newest_position(connection)
    )
    changes = ", ".join(f"{name} = :{name}" for name in values)
    connection.execute(
        f"UPDATE subscription SET {changes} WHERE id = :id",  # noqa: S608 constant names
        {**values, "id": stored.id},
    )


def find_subscription(connection: Connection, identity: str) -> StoredSubscription | None:
    """Return a subscription by its id."""
    row = connection.execute("SELECT * FROM subscription WHERE id = ?", (identity,)).fetchone()
    return None if row is None else StoredSubscription.from_row(row)


def list_subscriptions(
    connection: Connection, owner: Sequence[str | None], after: str = "", most: int = 1000
) -> list[StoredSubscription]:
    """Return an owner's subscriptions after an id, in the order of ids."""
    rows = connection.execute(
        "SELECT * FROM subscription WHERE owner = ? AND id > ? ORDER BY id LIMIT ?",
        (seal_owner(owner), after, most),
    ).fetchall()
    return [StoredSubscription.from_row(row) for row in rows]


def count_of_owner(connection: Connection, owner: Sequence[str | None]) -> int:
    """Count an owner's subscriptions."""
    row = connection.execute(
        "SELECT COUNT(*) FROM subscription WHERE owner = ?", (seal_owner(owner),)
    ).fetchone()
    return int(row[0])


def delete_subscription(connection: Connection, identity: str) -> None:
    """Delete a subscription with its events."""
    _delete(connection, [identity])


def end_subscription(connection: Connection, identity: str, error: str) -> None:
    """Switch a subscription off, for a reason by its code; its events stay for a while."""
    _begin_revision(connection)
    connection.execute(
        f"UPDATE subscription SET state = 'off', error = ?, due_ms = NULL,"  # noqa: S608 constant
        f" revision = {_NEW_REVISION} WHERE id = ?",
        (error, identity),
    )


def switch_all_off(connection: Connection, error: str, now_ms: int) -> None:
    """Switch every subscription off, as after a restore, and forget what they waited for.

    What was ended since the backup must not go on; who is still there asks again. Nobody knows
    which numbers were told since, and a receiver drops what comes under one of them as told
    already: so the next ones begin at the time, which no number of events reaches.
    """
    _begin_revision(connection)
    connection.execute(
        f"UPDATE subscription SET state = 'off', error = ?, due_ms = NULL,"  # noqa: S608 constant
        f" revision = {_NEW_REVISION} WHERE state <> 'off'",
        (error,),
    )
    connection.execute(
        "UPDATE subscription SET last_number = :now, acknowledged = :now", {"now": now_ms}
    )
    # Positions after the backup's are given again, to other versions.
    for table in ("subscription_event", "subscription_binding"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 constant names
    connection.execute(
        "UPDATE subscription_feed SET position = ?, leader = NULL, until_ms = 0",
        (newest_position(connection),),
    )


def erase_subscriptions(
    connection: Connection, patients: Collection[str], records: Collection[tuple[str, str]]
) -> None:
    """Delete what tells of erased patients: their apps' subscriptions, those naming them, events.

    `records` are the type and id of each of their records.
    """
    # Also where there is nobody to tell: no worker keeps events of versions that it read before.
    connection.execute("UPDATE subscription_feed SET revision = revision + 1")
    erased = {*patients, *(identity for _, identity in records)}
    identities = []
    for row in connection.execute("SELECT id, patient, resource FROM subscription").fetchall():
        filters = parse(row["resource"].encode()).get("_criteria", {})
        if (
            row["patient"] in patients
            or erased.intersection(_NAMES.findall(serialize(filters).decode()))
            or set(patients).intersection(_NAMES.findall(row["resource"]))
        ):
            identities.append(row["id"])
    _delete(connection, identities)
    for kind, identity in records:
        connection.execute(
            "DELETE FROM subscription_event WHERE type = ? AND id = ?", (kind, identity)
        )


def _delete(connection: Connection, identities: Sequence[str]) -> None:
    connection.executemany(
        "DELETE FROM subscription_event WHERE subscription = ?", [(one,) for one in identities]
    )
    # The index of a worker finds out when it looks for the row of one that matched.
    connection.executemany("DELETE FROM subscription WHERE id = ?", [(one,) for one in identities])


def _begin_revision(connection: Connection) -> None:
    """Raise the revision, of which the indexes of all workers learn with their next look.

    It also keeps a worker from passing over versions by an index that does not know the change.
    """
    connection.execute(
        "INSERT INTO subscription_feed (one, position, revision, until_ms) VALUES (1, ?, 1, 0)"
        " ON CONFLICT (one) DO UPDATE SET revision = subscription_feed.revision + 1",
        (newest_position(connection),),
    )


def _changing_values(
    connection: Connection,
    secrets: ChannelSecrets,
    authority: Authority,
    wish: Wish,
    now_ms: int,
) -> dict[str, Any]:
    """Return the columns that an update sets as a create does."""
    _begin_revision(connection)
    ends = [end for end in (authority.until_ms, wish.end_ms) if end is not None]
    # A websocket is verified by its binding token.
    live_state = "requested" if wish.channel == "rest-hook" else "active"
    revision = connection.execute("SELECT revision FROM subscription_feed WHERE one = 1")
    return {
        "subject": json.dumps(asdict(authority.subject)),
        "login": authority.subject.login,
        "client": authority.subject.client,
        "family": authority.family,
        "scope": authority.scope,
        "until_ms": min(ends, default=None),
        "updated_ms": now_ms,
        "resource": serialize(wish.resource).decode(),
        "headers": secrets.seal_headers(wish.headers),
        "channel": wish.channel,
        "state": "off" if wish.is_off else live_state,
        "error": None,
        "failures": 0,
        "failing_ms": None,
        # A handshake comes first.
        "sent_ms": None,
        "due_ms": now_ms if wish.channel == "rest-hook" and not wish.is_off else None,
        "revision": int(revision.fetchone()[0]),
    }
