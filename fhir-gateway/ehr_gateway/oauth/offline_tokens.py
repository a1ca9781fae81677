"""Access tokens issued on the machine itself, by `ehr token`, without a log-in.

Whoever may read the keys of the data folder can sign any token, so no credentials are asked for.
"""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

from ehr_fhir.errors import Invalid, NotFound
from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import subject_of_account
from ehr_gateway.database import Database, open_for_reading, readable_place
from ehr_gateway.oauth import clients
from ehr_gateway.schema.revision import check_revision
from ehr_gateway.served_address import read_served_address
from ehr_gateway.settings import DEFAULT_BASE_URL, GatewaySettings
from ehr_gateway.store.store import Store
from ehr_gateway.tokens.access_tokens import Subject, issue_access_token
from ehr_gateway.tokens.keys import open_signing_keys
from ehr_gateway.tokens.roles import grant_scopes, load_roles

_PLATFORM = "ehr-commons"


def issue_local_token(
    data_dir: Path,
    *,
    user: str | None = None,
    client: str | None = None,
    scope: str | None = None,
    organization: str | None = None,
    database_url: str | None = None,
    base_url: str = DEFAULT_BASE_URL,
) -> str:
    """Return an access token for an account, or for a client, registered or not.

    A user's scopes stay within those of the role; a client gets what is requested, on behalf of
    `organization`, by default that of its registration, else the platform. It is a token of
    the address under which the folder was last served, `base_url` where it never was.
    """
    if (user is None) == (client is None):
        raise Invalid("Name either a user or a client.")
    if user is not None and organization is not None:
        raise Invalid("An account has its own organisation; name one for a client only.")
    settings = GatewaySettings(
        data=data_dir,
        database_url=database_url,
        base_url=read_served_address(data_dir) or base_url,
    )
    if isinstance(settings.database, Path) and not settings.database.exists():
        # A new folder: with its tables and keys.
        Store(settings.database).close()
    # Nothing else is written, so that a read-only copy will do.
    with (
        readable_place(settings.database) as place,
        closing(open_for_reading(place)) as database,
    ):
        check_revision(database)
        if user is not None:
            subject, words = _user_subject(database, user, scope)
        else:
            subject, words = _client_subject(database, str(client), scope, organization)
    token, _ = issue_access_token(
        open_signing_keys(settings.keys), settings, subject, words, now_ms()
    )
    return token


def now_ms() -> int:
    """Return the time in milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


def _user_subject(database: Database, login: str, scope: str | None) -> tuple[Subject, str]:
    account = accounts.find_account(database, login)
    return subject_of_account(account, "local"), grant_scopes(
        scope or "", load_roles()[account.role].scopes
    )


def _client_subject(
    database: Database, client_id: str, scope: str | None, organization: str | None
) -> tuple[Subject, str]:
    try:
        client = clients.find_client(database, client_id)
    except NotFound:
        client = clients.Client(client_id, client_id)
    subject = Subject(
        login=client_id,
        display=client.name,
        role="system",
        client=client_id,
        organization=organization or client.organization or _PLATFORM,
    )
    return subject, scope or client.scope or "system/*.rs"
