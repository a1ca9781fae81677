"""The table of who saw what: one row per request and patient touched."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, MetaData, String, Table, Text

METADATA = MetaData()

AUDIT = Table(
    "audit",
    METADATA,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    # What the outside sees: it does not tell how much else happened.
    Column("id", String, nullable=False, unique=True),
    Column("at_ms", Integer, nullable=False),
    Column("request_id", String, nullable=False),
    Column("login", String, nullable=False),
    Column("display", String, nullable=False),
    Column("role", String, nullable=False),
    Column("organization", String),
    Column("purpose", String, nullable=False),
    Column("client", String, nullable=False),
    Column("interaction", String, nullable=False),
    Column("patient", String),
    # A JSON list of "Type/id": references, never values.
    Column("entities", Text, nullable=False),
    # What was asked: the type or address and the names of the parameters, never their values.
    Column("query", Text),
    Column("outcome", String, nullable=False),
    Column("reason", Text),
    Index("audit_patient", "patient", "seq"),
    Index("audit_at", "at_ms"),
    sqlite_autoincrement=True,
)
