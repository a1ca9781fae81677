"""The tables of authorization."""

from __future__ import annotations

from sqlalchemy import Column, Index, MetaData, Table

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
    # What the electronic identity calls this person here: a token, never the number of their
    # card. A person may
    # have several accounts.
    Column("eid", TEXT, index=True),
    Column("disabled", INTEGER, nullable=False, server_default="0"),
    # Needs no second factor, whatever its role: for accounts of a demonstration.
    Column("exempt", INTEGER, nullable=False, server_default="0"),
    # Its password is one that somebody else gave it: good for choosing another, and nothing else.
    Column("must_change", INTEGER, nullable=False, server_default="0"),
)
LOGIN_SESSION = Table(
    "login_session",
    METADATA,
    # What others may call it: the list of sessions, tokens issued from it. The cookie's value is
    # another, kept only as its hash.
    Column("id", TEXT, primary_key=True),
    Column("key", TEXT, nullable=False, unique=True),
    Column("login", TEXT, nullable=False, index=True),
    Column("device", TEXT, nullable=False),
    Column("created_ms", INTEGER, nullable=False),
    Column("seen_ms", INTEGER, nullable=False),
    # When and how the person last proved who they are (OpenID Connect's auth_time and amr).
    Column("auth_ms", INTEGER, nullable=False),
    Column("methods", TEXT, nullable=False),
    Column("ended_ms", INTEGER),
)
LOGIN_USED = Table(
    # What is good once and was used: challenges of passkeys, states of the electronic identity.
    "login_used",
    METADATA,
    Column("key", TEXT, primary_key=True),
    Column("at_ms", INTEGER, nullable=False),
)
PASSKEY = Table(
    "passkey",
    METADATA,
    Column("id", TEXT, primary_key=True),
    Column("login", TEXT, nullable=False, index=True),
    Column("name", TEXT, nullable=False),
    Column("public_key", TEXT, nullable=False),
    Column("sign_count", INTEGER, nullable=False),
    Column("created_ms", INTEGER, nullable=False),
    Column("used_ms", INTEGER),
)
TOTP = Table(
    "totp",
    METADATA,
    Column("login", TEXT, primary_key=True),
    # Encrypted with a key that is not in the database.
    Column("secret", TEXT, nullable=False),
    # The time step of the last code that was taken: none is taken twice.
    Column("last_step", INTEGER, nullable=False, server_default="0"),
)
RECOVERY_CODE = Table(
    "recovery_code",
    METADATA,
    Column("login", TEXT, primary_key=True),
    Column("code", TEXT, primary_key=True),
    Column("used_ms", INTEGER),
)
EID_PERSON = Table(
    "eid_person",
    METADATA,
    Column("hkid", TEXT, primary_key=True),
    Column("pin", TEXT, nullable=False),
    Column("subject", TEXT, nullable=False, unique=True),
)
EID_CODE = Table(
    # Codes of the simulated electronic identity.
    "eid_code",
    METADATA,
    Column("code", TEXT, primary_key=True),
    Column("client", TEXT, nullable=False),
    Column("redirect_uri", TEXT, nullable=False),
    Column("challenge", TEXT, nullable=False),
    Column("account_id", TEXT, nullable=False),
    Column("issued_ms", INTEGER, nullable=False),
    Column("used_ms", INTEGER),
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
    # One of the platform's own programs: users are not asked to approve it.
    Column("trusted", INTEGER, nullable=False, server_default="0"),
    # How it proves who it is: none, client_secret_basic, client_secret_post, private_key_jwt.
    Column("auth_method", TEXT),
    Column("jwks", TEXT),
    Column("metadata", TEXT),
    # The hash of the token with which a registered program manages its registration.
    Column("management", TEXT),
    Column("registered_ms", INTEGER),
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
    # All that is issued from this code carries the family's name, and ends with it.
    Column("family", TEXT, nullable=False, server_default=""),
    Column("context", TEXT, nullable=False, server_default="{}"),
)
# A person's permission that outlives the access token, and its refresh tokens, used and new.
TOKEN_FAMILY = Table(
    "token_family",
    METADATA,
    Column("id", TEXT, primary_key=True),
    Column("client", TEXT, nullable=False),
    Column("login", TEXT, nullable=False),
    Column("session", TEXT, nullable=False),
    Column("scope", TEXT, nullable=False),
    Column("context", TEXT, nullable=False),
    Column("online", INTEGER, nullable=False),
    Column("created_ms", INTEGER, nullable=False),
    Column("ended_ms", INTEGER),
    Index("token_family_login", "login"),
    Index("token_family_client", "client"),
    Index("token_family_created", "created_ms"),
)
REFRESH_TOKEN = Table(
    "refresh_token",
    METADATA,
    Column("key", TEXT, primary_key=True),
    Column("family", TEXT, nullable=False),
    Column("issued_ms", INTEGER, nullable=False),
    Column("used_ms", INTEGER),
    Index("refresh_token_family", "family"),
)
# What no longer holds although its signature does: tokens issued until an instant.
VOIDED = Table(
    "voided",
    METADATA,
    Column("seq", INTEGER, primary_key=True),
    Column("kind", TEXT, nullable=False),
    Column("subject", TEXT, nullable=False),
    Column("at_ms", INTEGER, nullable=False),
    sqlite_autoincrement=True,
)
# Client assertions that were used, until they are over.
ASSERTION = Table(
    "assertion",
    METADATA,
    Column("key", TEXT, primary_key=True),
    Column("expires_ms", INTEGER, nullable=False),
)
LAUNCH = Table(
    "launch",
    METADATA,
    Column("key", TEXT, primary_key=True),
    Column("login", TEXT, nullable=False),
    Column("client", TEXT),
    Column("context", TEXT, nullable=False),
    Column("issued_ms", INTEGER, nullable=False),
    Column("used_ms", INTEGER),
)
INITIAL_ACCESS = Table(
    "initial_access",
    METADATA,
    Column("key", TEXT, primary_key=True),
    Column("scope", TEXT, nullable=False),
    Column("organization", TEXT),
    Column("expires_ms", INTEGER, nullable=False),
    Column("used_ms", INTEGER),
)
LOGIN_FAILURE = Table(
    "login_failure",
    METADATA,
    Column("subject", TEXT, primary_key=True),
    Column("failures", INTEGER, nullable=False),
    Column("last_ms", INTEGER, nullable=False),
)
