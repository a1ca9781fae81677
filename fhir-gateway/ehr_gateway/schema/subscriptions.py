"""Tables of subscriptions: who asked for which notifications, the events they wait for, leadership.

An event names a version by its position in the feed. Its number is given when the subscriber is
first told of it, after consent has judged it, so that what is closed leaves no gap in the numbers.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, MetaData, Table, text

from ehr_gateway.database.tables import INTEGER, TEXT

__all__ = ["METADATA"]

METADATA = MetaData()
_NUMBERED = text("number IS NOT NULL")

Table(
    "subscription",
    METADATA,
    Column("id", TEXT, primary_key=True),
    # Whose it is: log-in, client, organisation and patient of the token, as JSON.
    Column("owner", TEXT, nullable=False),
    # By whose authority each event is judged: the token's subject as JSON, its scopes and its
    # family, and when it was issued. The columns of log-in and client are for revocations.
    Column("subject", TEXT, nullable=False),
    Column("login", TEXT, nullable=False),
    Column("client", TEXT, nullable=False),
    Column("family", TEXT, nullable=False),
    Column("scope", TEXT, nullable=False),
    # The patient whose app it is; null of an organisation's system.
    Column("patient", TEXT),
    # When it ends: `Subscription.end`, or with the token where nothing renews that.
    Column("until_ms", INTEGER),
    Column("version", INTEGER, nullable=False),
    Column("updated_ms", INTEGER, nullable=False),
    # The resource as it was sent, without the headers of its channel, which are sealed.
    Column("resource", TEXT, nullable=False),
    Column("headers", TEXT),
    Column("channel", TEXT, nullable=False),
    # One of: requested, active, error, off. The error is a code of our own, never a text of the
    # endpoint's.
    Column("state", TEXT, nullable=False),
    Column("error", TEXT),
    # Events come from versions after this position of the feed.
    Column("since_position", INTEGER, nullable=False),
    # The newest event number that was told, and the newest that the endpoint acknowledged.
    Column("last_number", INTEGER, nullable=False),
    Column("acknowledged", INTEGER, nullable=False),
    # Deliveries that failed in a row, and since when.
    Column("failures", INTEGER, nullable=False),
    Column("failing_ms", INTEGER),
    # When something was last sent, and when there may be something to send; null when nothing is.
    Column("sent_ms", INTEGER),
    Column("due_ms", INTEGER),
    # Rises with each change of what it listens to; the workers' index reads what is newer.
    Column("revision", INTEGER, nullable=False),
    Index("subscription_owner", "owner", "id"),
    Index("subscription_due", "due_ms"),
    Index("subscription_revision", "revision"),
    Index("subscription_login", "login"),
    Index("subscription_client", "client"),
    Index("subscription_family", "family"),
)

Table(
    "subscription_event",
    METADATA,
    Column("subscription", TEXT, primary_key=True),
    # The version that it is about.
    Column("position", INTEGER, primary_key=True, autoincrement=False),
    # Null until the subscriber is first told of it.
    Column("number", INTEGER),
    Column("type", TEXT, nullable=False),
    Column("id", TEXT, nullable=False),
    Column("at_ms", INTEGER, nullable=False),
    Index(
        "subscription_event_number", "subscription", "number", unique=True,
        sqlite_where=_NUMBERED, postgresql_where=_NUMBERED,
    ),
    Index("subscription_event_record", "type", "id"),
    Index("subscription_event_age", "at_ms"),
    sqlite_with_rowid=False,
)  # fmt: skip

# One row: how far the feed was matched, by which process, until when that leads, and the newest
# revision of a subscription.
Table(
    "subscription_feed",
    METADATA,
    Column("one", INTEGER, primary_key=True, autoincrement=False),
    Column("position", INTEGER, nullable=False),
    Column("revision", INTEGER, nullable=False),
    Column("leader", TEXT),
    Column("until_ms", INTEGER, nullable=False),
)

# Tokens that bind a WebSocket to subscriptions, by their hash: for one use, soon.
Table(
    "subscription_binding",
    METADATA,
    Column("token", TEXT, primary_key=True),
    Column("owner", TEXT, nullable=False),
    # The ids, as a JSON list.
    Column("subscriptions", TEXT, nullable=False),
    Column("expires_ms", INTEGER, nullable=False),
    sqlite_with_rowid=False,
)
