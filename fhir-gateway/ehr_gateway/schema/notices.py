"""The tables of the outbox."""

from __future__ import annotations

from sqlalchemy import Column, Index, MetaData, Table, text

from ehr_gateway.database.tables import INTEGER, TEXT

METADATA = MetaData()
_OPEN = text("routed = 0")

# One row a notice and reader. It holds who, where, when and what kind of step: nothing clinical,
# and no code: that is worked out when the message is written.
NOTICE = Table(
    "notice",
    METADATA,
    Column("id", TEXT, primary_key=True),
    # What it was made for; made once, however often it is asked for.
    Column("cause", TEXT, nullable=False, unique=True),
    Column("kind", TEXT, nullable=False),
    Column("patient", TEXT, nullable=False),
    # The patient as Patient/id, or a carer as person/id.
    Column("reader", TEXT, nullable=False),
    Column("person", TEXT, nullable=False),
    Column("organization", TEXT),
    # The request whose code is told, if any; and until when what is told of holds.
    Column("request", TEXT),
    Column("until_ms", INTEGER),
    Column("made_ms", INTEGER, nullable=False),
    # Whether the deliveries are on the books.
    Column("routed", INTEGER, nullable=False),
    Index("notice_reader", "reader", "made_ms"),
    Index("notice_open", "routed", sqlite_where=_OPEN, postgresql_where=_OPEN),
)
_WAITS = text("state = 'waiting'")
NOTICE_DELIVERY = Table(
    "notice_delivery",
    METADATA,
    Column("notice", TEXT, primary_key=True),
    Column("channel", TEXT, primary_key=True),
    # waiting, sent, failed, no-address
    Column("state", TEXT, nullable=False),
    Column("tries", INTEGER, nullable=False),
    Column("next_ms", INTEGER, nullable=False),
    Column("sent_ms", INTEGER),
    # The kind of the last fault, never its text.
    Column("fault", TEXT),
    Index("notice_delivery_due", "next_ms", sqlite_where=_WAITS, postgresql_where=_WAITS),
)
NOTICE_PREFERENCE = Table(
    "notice_preference",
    METADATA,
    Column("reader", TEXT, primary_key=True),
    Column("language", TEXT),
    Column("email", TEXT),
    Column("each_access", INTEGER, nullable=False),
)
NOTICE_PLACE = Table(
    "notice_place",
    METADATA,
    Column("name", TEXT, primary_key=True),
    # How far the audit log was read for accesses to tell of.
    Column("seq", INTEGER, nullable=False),
)
