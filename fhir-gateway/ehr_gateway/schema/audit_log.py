"""The tables of who saw what: one row per request and patient touched, and the log's length.

The row's place in the Merkle log is `seq` - 1. Its leaf commits to the columns of CONTENT under a
salt of its own, so that a row can be emptied and the log stays provable.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, LargeBinary, MetaData, Table

from ehr_gateway.database.tables import INTEGER, TEXT

METADATA = MetaData()

# What a leaf commits to, in this order for ever: a new column needs a new form of the leaf.
CONTENT = (
    "id", "at_ms", "request_id", "login", "display", "role", "organization", "purpose", "client",
    "address", "interaction", "patient", "entities", "domains", "query", "outcome", "reason",
    "consent",
)  # fmt: skip

AUDIT = Table(
    "audit",
    METADATA,
    Column("seq", INTEGER, primary_key=True, autoincrement=True),
    # What the outside sees: it does not tell how much else happened.
    Column("id", TEXT, nullable=False, unique=True),
    Column("at_ms", INTEGER, nullable=False),
    Column("request_id", TEXT, nullable=False),
    Column("login", TEXT, nullable=False),
    Column("display", TEXT, nullable=False),
    Column("role", TEXT, nullable=False),
    Column("organization", TEXT),
    Column("purpose", TEXT, nullable=False),
    Column("client", TEXT, nullable=False),
    # The network address the request came from.
    Column("address", TEXT),
    Column("interaction", TEXT, nullable=False),
    Column("patient", TEXT),
    # A JSON list of "Type/id": references, never values.
    Column("entities", TEXT, nullable=False),
    # The data domains of the records disclosed, with a space between them.
    Column("domains", TEXT, nullable=False),
    # What was asked: the type or address and the names of the parameters, never their values.
    Column("query", TEXT),
    Column("outcome", TEXT, nullable=False),
    # The line of the consent table that permitted, or why not.
    Column("reason", TEXT),
    # The Consent by which a grant or an emergency opened it.
    Column("consent", TEXT),
    # Empty where the row's content was erased.
    Column("salt", LargeBinary, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
    # Read by when it was: what was read enters a little later than what was written.
    Index("audit_patient", "patient", "at_ms", "seq"),
    Index("audit_login", "login", "at_ms", "seq"),
    Index("audit_at", "at_ms", "seq"),
    sqlite_autoincrement=True,
)
# PostgreSQL's sequences leave gaps where a transaction is taken back; this count does not.
AUDIT_HEAD = Table(
    "audit_head",
    METADATA,
    Column("one", INTEGER, primary_key=True, autoincrement=False),
    Column("size", INTEGER, nullable=False),
)
# What the monitor flagged: a worklist. A row accuses nobody and names no patient but by id.
AUDIT_FLAG = Table(
    "audit_flag",
    METADATA,
    Column("id", TEXT, primary_key=True),
    Column("flag_key", TEXT, nullable=False, unique=True),
    Column("rule", TEXT, nullable=False),
    Column("login", TEXT, nullable=False),
    Column("display", TEXT, nullable=False),
    Column("organization", TEXT),
    Column("patient", TEXT),
    Column("since_ms", INTEGER, nullable=False),
    Column("until_ms", INTEGER, nullable=False),
    Column("number", INTEGER, nullable=False),
    Column("found_ms", INTEGER, nullable=False),
    # open or settled
    Column("state", TEXT, nullable=False),
    Column("verdict", TEXT),
    Column("note", TEXT),
    Column("settled_by", TEXT),
    Column("settled_ms", INTEGER),
    Index("audit_flag_state", "state", "found_ms"),
)
