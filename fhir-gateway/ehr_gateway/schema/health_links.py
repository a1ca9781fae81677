"""Tables of SMART Health Links: never an address, a key or a passcode, no file in the clear."""

from __future__ import annotations

from sqlalchemy import Column, Index, LargeBinary, MetaData, Table

from ehr_gateway.database.tables import INTEGER, TEXT

METADATA = MetaData()

HEALTH_LINK = Table(
    "health_link",
    METADATA,
    Column("id", TEXT, primary_key=True),
    # The hash of what stands in its address.
    Column("token_hash", TEXT, nullable=False, unique=True),
    Column("patient", TEXT, nullable=False),
    # What the maker calls it.
    Column("label", TEXT, nullable=False),
    # "snapshot": the file below. "live": made when it is opened.
    Column("content", TEXT, nullable=False),
    Column("language", TEXT, nullable=False),
    # Whose rights it has: the log-in, and the scopes of the token with which it was made.
    Column("login", TEXT, nullable=False),
    Column("scope", TEXT, nullable=False),
    # An Argon2id hash.
    Column("passcode", TEXT, nullable=False),
    # Wrong passcodes that are left, for good; at 0 nobody opens it.
    Column("tries_left", INTEGER, nullable=False),
    Column("made_ms", INTEGER, nullable=False),
    Column("expires_ms", INTEGER, nullable=False),
    # When it was taken back.
    Column("ended_ms", INTEGER),
    # A snapshot, encrypted with a key that is not here; null once the link has ended.
    Column("file", LargeBinary),
    Index("health_link_patient", "patient", "made_ms"),
)
HEALTH_LINK_OPENING = Table(
    "health_link_opening",
    METADATA,
    Column("id", TEXT, primary_key=True),
    Column("link", TEXT, nullable=False),
    Column("at_ms", INTEGER, nullable=False),
    # What the receiver called themselves: anybody's text.
    Column("recipient", TEXT, nullable=False),
    # One of: tried (nothing was given yet), opened, wrong-passcode.
    Column("outcome", TEXT, nullable=False),
    Index("health_link_opening_link", "link", "at_ms"),
)
