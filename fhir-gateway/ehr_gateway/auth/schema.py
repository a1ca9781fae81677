"""The tables of authorization, and what they need of a database."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from typing import Protocol

from sqlalchemy import Column, Integer, MetaData, String, Table, Text
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

METADATA = MetaData()

ACCOUNT = Table(
    "account",
    METADATA,
    Column("login", String, primary_key=True),
    Column("role", String, nullable=False),
    Column("display", String, nullable=False),
    Column("organization", String),
    Column("profession", String),
    Column("patient", String),
    Column("person", String),
    Column("password", String),
    # What the electronic identity calls this person: a token of our own, never the HKID.
    Column("eid", String, unique=True),
    Column("disabled", Integer, nullable=False, server_default="0"),
)
EID_PERSON = Table(
    "eid_person",
    METADATA,
    Column("hkid", String, primary_key=True),
    Column("pin", String, nullable=False),
    Column("subject", String, nullable=False, unique=True),
)
CLIENT = Table(
    "client",
    METADATA,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("secret", String),
    Column("redirect_uris", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("organization", String),
)
AUTH_CODE = Table(
    "auth_code",
    METADATA,
    Column("code", String, primary_key=True),
    Column("client", String, nullable=False),
    Column("login", String, nullable=False),
    Column("redirect_uri", Text, nullable=False),
    Column("challenge", String, nullable=False),
    Column("scope", Text, nullable=False),
    Column("issued_ms", Integer, nullable=False),
    Column("used_ms", Integer),
)
LOGIN_FAILURE = Table(
    "login_failure",
    METADATA,
    Column("subject", String, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("last_ms", Integer, nullable=False),
)


class Database(Protocol):
    """What authorization and audit need of the store: one writer, many readers."""

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """Lend a connection to read with."""

    def writing(self) -> AbstractContextManager[sqlite3.Connection]:
        """Lend the writer's connection inside one transaction."""


def create_tables(database: Database, metadata: MetaData = METADATA) -> None:
    """Create the tables that are not there yet."""
    dialect = sqlite.dialect()
    with database.writing() as connection:
        for table in metadata.sorted_tables:
            connection.execute(str(CreateTable(table, if_not_exists=True).compile(dialect=dialect)))
            for index in sorted(table.indexes, key=lambda one: str(one.name)):
                statement = CreateIndex(index, if_not_exists=True)
                connection.execute(str(statement.compile(dialect=dialect)))
