"""Tables of the notice outbox: notices, their deliveries, and what their readers prefer."""

from __future__ import annotations

from sqlalchemy import Column, Index, MetaData, Table, text

from ehr_gateway.database.tables import INTEGER, TEXT

METADATA = MetaData()
_UNROUTED = text("routed = 0")
_UNREAD = text("read_ms IS NULL")

# One row per notice and reader. It holds nothing clinical and no one-time code: a code is computed
# when the message is rendered.
NOTICE = Table(
    "notice",
    METADATA,
    Column("id", TEXT, primary_key=True),
    # What the notice is about, and its reader. Unique, so each event gives a reader one notice.
    Column("cause", TEXT, nullable=False, unique=True),
    # The kind of the event, which selects the message's text.
    Column("kind", TEXT, nullable=False),
    Column("patient", TEXT, nullable=False),
    # "Patient/id", or "person/id" for a carer.
    Column("reader", TEXT, nullable=False),
    # The display name of the person who acted.
    Column("person", TEXT, nullable=False),
    Column("organization", TEXT),
    # The access request whose one-time code the message gives; null if it gives none.
    Column("request", TEXT),
    # When the access that the notice is about ends.
    Column("until_ms", INTEGER),
    Column("made_ms", INTEGER, nullable=False),
    # 1 once a delivery row for each of the reader's channels is inserted.
    Column("routed", INTEGER, nullable=False),
    # When its reader read it in the portal; null until then.
    Column("read_ms", INTEGER),
    Index("notice_reader", "reader", "made_ms"),
    Index("notice_unread", "reader", sqlite_where=_UNREAD, postgresql_where=_UNREAD),
    Index("notice_open", "routed", sqlite_where=_UNROUTED, postgresql_where=_UNROUTED),
)
# Partial indexes, so that finding due work does not depend on how many notices were ever sent.
_WAITING = text("state = 'waiting'")
NOTICE_DELIVERY = Table(
    "notice_delivery",
    METADATA,
    Column("notice", TEXT, primary_key=True),
    Column("channel", TEXT, primary_key=True),
    # One of: waiting, sent, failed, no-address.
    Column("state", TEXT, nullable=False),
    # Attempts so far, and when the next one is due.
    Column("tries", INTEGER, nullable=False),
    Column("next_ms", INTEGER, nullable=False),
    Column("sent_ms", INTEGER),
    # The type of the last error. Never its message, which may quote an address.
    Column("fault", TEXT),
    Index("notice_delivery_due", "next_ms", sqlite_where=_WAITING, postgresql_where=_WAITING),
)
NOTICE_PREFERENCE = Table(
    "notice_preference",
    METADATA,
    Column("reader", TEXT, primary_key=True),
    Column("language", TEXT),
    Column("email", TEXT),
    # 1 to be notified of every access, not only of exceptional ones.
    Column("each_access", INTEGER, nullable=False),
)
NOTICE_PLACE = Table(
    "notice_place",
    METADATA,
    Column("name", TEXT, primary_key=True),
    # The `seq` of the last audit event that was examined for accesses to notify about.
    Column("seq", INTEGER, nullable=False),
)
