"""Programs that ask for tokens: public ones with PKCE, confidential ones with a secret."""

from __future__ import annotations

from dataclasses import dataclass

from ehr_fhir.errors import NotFound
from ehr_gateway.auth.secrets import hash_secret, verify_secret
from ehr_gateway.database import Database

_COLUMNS = "id, name, redirect_uris, scope, organization, secret IS NOT NULL"


@dataclass(frozen=True)
class Client:
    """One registered program. A redirect address beginning with `/` is on our own base address."""

    id: str
    name: str
    redirect_uris: tuple[str, ...] = ()
    scope: str = ""
    organization: str | None = None
    confidential: bool = False


# The platform's own programs. Secrets are set where they run.
PORTAL = Client("portal", "eHR Commons", ("/callback",))


def add(database: Database, client: Client, secret: str | None = None) -> None:
    """Register a client, or replace the one of the same id; with a secret it is confidential."""
    hashed = hash_secret(secret) if secret else None
    with database.writing() as connection:
        connection.execute(
            "INSERT INTO client (id, name, secret, redirect_uris, scope, organization)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET name = excluded.name,"
            " secret = excluded.secret, redirect_uris = excluded.redirect_uris,"
            " scope = excluded.scope, organization = excluded.organization",
            (
                client.id,
                client.name,
                hashed,
                "\n".join(client.redirect_uris),
                client.scope,
                client.organization,
            ),
        )


def find(database: Database, client_id: str) -> Client:
    """Return the client of an id."""
    with database.reading() as connection:
        row = connection.execute(
            f"SELECT {_COLUMNS} FROM client WHERE id = ?",  # noqa: S608 constant columns
            (client_id,),
        ).fetchone()
    if row is None:
        raise NotFound("There is no such client.")
    return Client(row[0], row[1], tuple(row[2].split("\n")), row[3], row[4], bool(row[5]))


def verify_client(database: Database, client_id: str, secret: str) -> bool:
    """Say whether this is the client's secret; an unknown client takes as long and is False."""
    with database.reading() as connection:
        row = connection.execute("SELECT secret FROM client WHERE id = ?", (client_id,)).fetchone()
    return verify_secret(row[0] if row else None, secret)


def accepts_redirect(client: Client, address: str, base_url: str) -> bool:
    """Say whether a code may be sent to the address: it must be registered letter by letter."""
    return bool(address) and any(
        address == (base_url + uri if uri.startswith("/") else uri)
        for uri in client.redirect_uris
        if uri
    )
