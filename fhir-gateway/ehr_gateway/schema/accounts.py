"""Tables of accounts, log-in sessions, second factors, OAuth 2 clients and their tokens.

No credential is stored as given: passwords and client secrets by a slow hash, tokens and codes by
a hash (the columns `key` and `code`), secrets of one-time passwords encrypted by a key outside the
database.
"""

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
    # The id of the owner's Patient, if the role is patient.
    Column("patient", TEXT),
    # The id by which consent rules name the owner; null for the login.
    Column("person", TEXT),
    # A password hash; null for accounts without a password.
    Column("password", TEXT),
    # The subject identifier that the electronic identity gives this person: a pseudonym, never
    # the number of their identity card. One person may have several accounts.
    Column("eid", TEXT, index=True),
    Column("disabled", INTEGER, nullable=False, server_default="0"),
    # 1 if no second factor is required, whatever the role: for demonstration accounts.
    Column("exempt", INTEGER, nullable=False, server_default="0"),
    # 1 if somebody else chose the password: it then serves to choose another, and nothing else.
    Column("must_change", INTEGER, nullable=False, server_default="0"),
)
# What administrators changed of accounts, and why.
ACCOUNT_CHANGE = Table(
    "account_change",
    METADATA,
    Column("id", TEXT, primary_key=True),
    Column("login", TEXT, nullable=False),
    # disable, enable, reset, unlock or role.
    Column("act", TEXT, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("at_ms", INTEGER, nullable=False),
    # The log-in of the administrator.
    Column("changed_by", TEXT, nullable=False),
    Index("account_change_login", "login", "at_ms"),
)
LOGIN_SESSION = Table(
    "login_session",
    METADATA,
    # The public id: in the person's list of sessions, and in the tokens issued from the session.
    # The cookie holds another value, of which `key` is the hash.
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
    # Single-use values that were used, so that none is accepted again: WebAuthn challenges and
    # `state` values of the electronic identity.
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
    # Encrypted with a key that is outside the database.
    Column("secret", TEXT, nullable=False),
    # The RFC 6238 time step of the last code accepted; a code of it or before is refused.
    Column("last_step", INTEGER, nullable=False, server_default="0"),
)
RECOVERY_CODE = Table(
    "recovery_code",
    METADATA,
    Column("login", TEXT, primary_key=True),
    Column("code", TEXT, primary_key=True),
    Column("used_ms", INTEGER),
)
# People enrolled in the simulated electronic identity (demonstrations only).
EID_PERSON = Table(
    "eid_person",
    METADATA,
    Column("hkid", TEXT, primary_key=True),
    Column("pin", TEXT, nullable=False),
    Column("subject", TEXT, nullable=False, unique=True),
)
# Authorization codes of the simulated electronic identity.
EID_CODE = Table(
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
    # 1 for the platform's own programs, for which the consent screen is skipped.
    Column("trusted", INTEGER, nullable=False, server_default="0"),
    # token_endpoint_auth_method (RFC 7591): none, client_secret_basic, client_secret_post or
    # private_key_jwt.
    Column("auth_method", TEXT),
    Column("jwks", TEXT),
    # The client information response (RFC 7591), JSON; null unless registered over the API.
    Column("metadata", TEXT),
    # The hash of the registration access token (RFC 7592).
    Column("management", TEXT),
    Column("registered_ms", INTEGER),
    # Where a launch of the app begins (SMART); null for one that is not launched from here.
    Column("launch_uri", TEXT),
    # approved, waiting (it registered itself, and nobody vouches for it yet) or refused.
    Column("approval", TEXT, nullable=False, server_default="approved"),
    # The roles to which the steward offers it, with spaces between.
    Column("launch_roles", TEXT, nullable=False, server_default=""),
    # The steward's decision: when, by whom (log-in), and why.
    Column("decided_ms", INTEGER),
    Column("decided_by", TEXT),
    Column("decision_reason", TEXT),
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
    # The token family of whatever is issued from this code: all of it is revoked together.
    Column("family", TEXT, nullable=False, server_default=""),
    Column("context", TEXT, nullable=False, server_default="{}"),
)
# One authorization by a person of a client, and all tokens issued from it.
TOKEN_FAMILY = Table(
    "token_family",
    METADATA,
    Column("id", TEXT, primary_key=True),
    Column("client", TEXT, nullable=False),
    Column("login", TEXT, nullable=False),
    Column("session", TEXT, nullable=False),
    Column("scope", TEXT, nullable=False),
    Column("context", TEXT, nullable=False),
    # 1 if it ends with the log-in session: the scope has no `offline_access`.
    Column("online", INTEGER, nullable=False),
    Column("created_ms", INTEGER, nullable=False),
    Column("ended_ms", INTEGER),
    Index("token_family_login", "login"),
    Index("token_family_client", "client"),
    Index("token_family_created", "created_ms"),
)
# Used refresh tokens stay: one that is used again was stolen, and its family is revoked.
REFRESH_TOKEN = Table(
    "refresh_token",
    METADATA,
    Column("key", TEXT, primary_key=True),
    Column("family", TEXT, nullable=False),
    Column("issued_ms", INTEGER, nullable=False),
    Column("used_ms", INTEGER),
    Index("refresh_token_family", "family"),
)
# The revocation list: access tokens issued until `at_ms` to a subject are refused.
VOIDED = Table(
    "voided",
    METADATA,
    Column("seq", INTEGER, primary_key=True),
    # What `subject` is the id of: a token, family, account or client.
    Column("kind", TEXT, nullable=False),
    Column("subject", TEXT, nullable=False),
    Column("at_ms", INTEGER, nullable=False),
    sqlite_autoincrement=True,
)
# Who may reach nothing for a time: a person, an organisation, a client, or all emergency access.
SUSPENSION = Table(
    "suspension",
    METADATA,
    Column("id", TEXT, primary_key=True),
    # person, organization, client or emergency.
    Column("kind", TEXT, nullable=False),
    # The id by which consent rules name the person, or the id of the organisation or client; empty
    # for emergency access.
    Column("subject", TEXT, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("since_ms", INTEGER, nullable=False),
    # Null if it holds until it is lifted.
    Column("until_ms", INTEGER),
    # The log-in and the name of who suspended.
    Column("login", TEXT, nullable=False),
    Column("display", TEXT, nullable=False),
    Column("lifted_ms", INTEGER),
    Column("lifted_by", TEXT),
    Column("lift_reason", TEXT),
    Index("suspension_lifted", "lifted_ms"),
)
# The hash of client and `jti` of each client assertion (RFC 7523) used, until it expires: a second
# use is refused.
ASSERTION = Table(
    "assertion",
    METADATA,
    Column("key", TEXT, primary_key=True),
    Column("expires_ms", INTEGER, nullable=False),
)
# SMART EHR launches, by the hash of the `launch` parameter.
LAUNCH = Table(
    "launch",
    METADATA,
    Column("key", TEXT, primary_key=True),
    Column("login", TEXT, nullable=False),
    # Null if any client may use it.
    Column("client", TEXT),
    Column("context", TEXT, nullable=False),
    Column("issued_ms", INTEGER, nullable=False),
    Column("used_ms", INTEGER),
)
# Initial access tokens (RFC 7591): each registers one client, with scopes within these.
INITIAL_ACCESS = Table(
    "initial_access",
    METADATA,
    Column("key", TEXT, primary_key=True),
    Column("scope", TEXT, nullable=False),
    Column("organization", TEXT),
    Column("expires_ms", INTEGER, nullable=False),
    Column("used_ms", INTEGER),
)
# Failed log-ins by the hash of a login or network address, for the throttle.
LOGIN_FAILURE = Table(
    "login_failure",
    METADATA,
    Column("subject", TEXT, primary_key=True),
    Column("failures", INTEGER, nullable=False),
    Column("last_ms", INTEGER, nullable=False),
)
