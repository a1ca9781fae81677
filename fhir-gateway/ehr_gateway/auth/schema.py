"""The tables of authorization."""

from __future__ import annotations

from sqlalchemy import Column, MetaData, Table

from ehr_gateway.database.tables import INTEGER, TEXT

METADATA = MetaData()

ACCOUNT = Table(
    "account",
    METADATA,
    Column("login", TEXT, primary_key=True),
    Column("role", TEXT, nullable=False),
    Column("display", TEXT, nullable=False),
    Column("organization", TEXT),
    Column("profession", TEXT),
    Column("patient", TEXT),
    Column("person", TEXT),
    Column("password", TEXT),
    # What the electronic identity calls this person: a token of our own, never the HKID.
    Column("eid", TEXT, unique=True),
    Column("disabled", INTEGER, nullable=False, server_default="0"),
)
EID_PERSON = Table(
    "eid_person",
    METADATA,
    Column("hkid", TEXT, primary_key=True),
    Column("pin", TEXT, nullable=False),
    Column("subject", TEXT, nullable=False, unique=True),
)
CLIENT = Table(
    "client",
    METADATA,
    Column("id", TEXT, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("secret", TEXT),
    Column("redirect_uris", TEXT, nullable=False),
    Column("scope", TEXT, nullable=False),
    Column("organization", TEXT),
)
AUTH_CODE = Table(
    "auth_code",
    METADATA,
    Column("code", TEXT, primary_key=True),
    Column("client", TEXT, nullable=False),
    Column("login", TEXT, nullable=False),
    Column("redirect_uri", TEXT, nullable=False),
    Column("challenge", TEXT, nullable=False),
    Column("scope", TEXT, nullable=False),
    Column("issued_ms", INTEGER, nullable=False),
    Column("used_ms", INTEGER),
)
LOGIN_FAILURE = Table(
    "login_failure",
    METADATA,
    Column("subject", TEXT, primary_key=True),
    Column("failures", INTEGER, nullable=False),
    Column("last_ms", INTEGER, nullable=False),
)
