"""Programs that ask for tokens, and how each proves who it is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ehr_fhir.errors import NotFound
from ehr_gateway.database import Connection, Database
from ehr_gateway.tokens.secret_hashes import hash_secret, verify_secret

__all__ = [
    "PORTAL",
    "Client",
    "accepts_redirect",
    "find_client",
    "find_client_on",
    "register_client",
    "verify_client_secret",
]

_COLUMNS = (
    "id, name, redirect_uris, scope, organization, secret IS NOT NULL, trusted, auth_method, jwks"
)


@dataclass(frozen=True)
class Client:
    """One registered program. A redirect address beginning with `/` is on our own base address."""

    id: str
    name: str
    redirect_uris: tuple[str, ...] = ()
    # What it may ask for; a trusted program may ask for all that the person's role allows.
    scope: str = ""
    organization: str | None = None
    confidential: bool = False
    # One of the platform's own: nobody is asked whether it may act for him.
    trusted: bool = False
    # How it proves who it is; None is "by its secret, either way, or not at all".
    auth_method: str | None = None
    # The public keys of a program that signs its assertions (RFC 7517), as JSON.
    jwks: str | None = None

    @property
    def keys(self) -> dict[str, Any]:
        """Return its public keys as a JWK set."""
        return dict(json.loads(self.jwks)) if self.jwks else {"keys": []}

    def may_request(self, word: str) -> bool:
        """Say whether a scope about the log-in itself is within its registration."""
        return self.trusted or word in self.scope.split()


# The platform's own programs. Secrets are set where they run.
PORTAL = Client("portal", "eHR Commons", ("/callback",), trusted=True)


def register_client(database: Database, client: Client, secret: str | None = None) -> None:
    """Register a client, or replace the one of the same id; with a secret it is confidential."""
    secret_hash = hash_secret(secret) if secret else None
    with database.write_transaction() as connection:
        upsert_client(connection, client, secret_hash)


def upsert_client(connection: Connection, client: Client, secret_hash: str | None) -> None:
    """Register a client inside a transaction; the secret is hashed already."""
    connection.execute(
        "INSERT INTO client (id, name, secret, redirect_uris, scope, organization, trusted,"
        " auth_method, jwks) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
        " name = excluded.name, secret = excluded.secret,"
        " redirect_uris = excluded.redirect_uris, scope = excluded.scope,"
        " organization = excluded.organization, trusted = excluded.trusted,"
        " auth_method = excluded.auth_method, jwks = excluded.jwks",
        (
            client.id,
            client.name,
            secret_hash,
            "\n".join(client.redirect_uris),
            client.scope,
            client.organization,
            int(client.trusted),
            client.auth_method,
            client.jwks,
        ),
    )


def find_client(database: Database, client_id: str) -> Client:
    """Return the client of an id."""
    with database.read_transaction() as connection:
        client = find_client_on(connection, client_id)
    if client is None:
        raise NotFound("There is no such client.")
    return client


def find_client_on(connection: Connection, client_id: str) -> Client | None:
    """Return the client of an id as a transaction sees it."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM client WHERE id = ?",  # noqa: S608 constant columns
        (client_id,),
    ).fetchone()
    if row is None:
        return None
    identity, name, redirects, scope, organization, confidential, trusted, method, jwks = row
    return Client(
        identity, name, tuple(redirects.split("\n")), scope, organization,
        bool(confidential), bool(trusted), method, jwks,
    )  # fmt: skip


def verify_client_secret(database: Database, client_id: str, secret: str) -> bool:
    """Say whether this is the client's secret; an unknown client takes as long and is False."""
    with database.read_transaction() as connection:
        row = connection.execute("SELECT secret FROM client WHERE id = ?", (client_id,)).fetchone()
    return verify_secret(row[0] if row else None, secret)


def accepts_redirect(client: Client, address: str, base_url: str) -> bool:
    """Say whether a code may be sent to the address: it must be registered letter by letter."""
    return bool(address) and any(
        address == (base_url + uri if uri.startswith("/") else uri)
        for uri in client.redirect_uris
        if uri
    )
