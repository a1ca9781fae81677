"""The table of who saw what: one row per request and patient touched."""

from __future__ import annotations

from sqlalchemy import Column, Index, MetaData, Table

from ehr_gateway.database.tables import INTEGER, TEXT

METADATA = MetaData()

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
    Column("interaction", TEXT, nullable=False),
    Column("patient", TEXT),
    # A JSON list of "Type/id": references, never values.
    Column("entities", TEXT, nullable=False),
    # What was asked: the type or address and the names of the parameters, never their values.
    Column("query", TEXT),
    Column("outcome", TEXT, nullable=False),
    Column("reason", TEXT),
    Index("audit_patient", "patient", "seq"),
    Index("audit_at", "at_ms"),
    sqlite_autoincrement=True,
)
