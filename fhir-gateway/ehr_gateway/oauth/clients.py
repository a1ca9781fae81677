"""OAuth clients: registration rows, secrets and redirect URIs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ehr_fhir.errors import NotFound
from ehr_gateway.database import Connection, Database, Row
from ehr_gateway.journal.redo_actions import append_redo_actions, build_client_replacement_redo
from ehr_gateway.tokens.secret_hashes import hash_secret, verify_secret

__all__ = [
    "APPROVED",
    "GROWTH_CHART",
    "PORTAL",
    "REFUSED",
    "WAITING",
    "Client",
    "accepts_redirect",
    "find_client",
    "find_client_on",
    "list_clients_on",
    "register_client",
    "verify_client_secret",
]

APPROVED, WAITING, REFUSED = "approved", "waiting", "refused"
_COLUMNS = (
    "id, name, redirect_uris, scope, organization, secret IS NOT NULL, trusted, auth_method, jwks,"
    " launch_uri, approval, launch_roles"
)


@dataclass(frozen=True)
class Client:
    """A registered client. A redirect URI that begins with `/` is relative to the base address."""

    id: str
    name: str
    redirect_uris: tuple[str, ...] = ()
    # The scopes it may request; a trusted client may request all that the user's role allows.
    scope: str = ""
    organization: str | None = None
    confidential: bool = False
    # One of the platform's own clients: the user is not asked to approve it.
    trusted: bool = False
    # token_endpoint_auth_method (RFC 7591). None, of clients that the operator added, accepts a
    # secret by Basic or in the form, or no credentials if there is no secret.
    auth_method: str | None = None
    # The public keys of private_key_jwt, a JWK set (RFC 7517) as JSON.
    jwks: str | None = None
    # Where a launch of it begins (SMART App Launch §2.0.4), relative like a redirect URI.
    launch_uri: str | None = None
    # `waiting` until a steward approves one that registered itself; `refused` if they do not.
    approval: str = APPROVED
    # The roles to which a steward offers it. One that is offered to nobody may be used by all for
    # whom the administrator registered it.
    launch_roles: tuple[str, ...] = ()

    @property
    def keys(self) -> dict[str, Any]:
        """The public keys as a JWK set."""
        return dict(json.loads(self.jwks)) if self.jwks else {"keys": []}

    @property
    def is_approved(self) -> bool:
        """Whether it may get tokens."""
        return self.approval == APPROVED

    def may_be_used_by(self, role: str) -> bool:
        """Say whether people of a role may log in to it."""
        return self.is_approved and (not self.launch_roles or role in self.launch_roles)

    def is_offered_to(self, role: str) -> bool:
        """Say whether the portal launches it for people of a role."""
        return self.is_approved and bool(self.launch_uri) and role in self.launch_roles

    def may_request(self, word: str) -> bool:
        """Say whether the client is registered for a log-in scope such as `offline_access`."""
        return self.trusted or word in self.scope.split()


# The platform's own client. Its secret is set where it runs.
PORTAL = Client("portal", "eHR Commons", ("/callback",), trusted=True)
_VITAL_SIGNS = "http://terminology.hl7.org/CodeSystem/observation-category|vital-signs"
# The sample app, a page of its own beside the portal: what any other app could be.
GROWTH_CHART = Client(
    "growth-chart",
    "Growth chart",
    ("/smart-apps/growth-chart/index.html",),
    scope="launch launch/patient openid fhirUser patient/Patient.r"
    f" patient/Observation.rs?category={_VITAL_SIGNS}",
    auth_method="none",
    launch_uri="/smart-apps/growth-chart/launch.html",
    approval=WAITING,
)


def register_client(database: Database, client: Client, secret: str | None = None) -> None:
    """Register a client, or replace the one of the same id. With a secret it is confidential."""
    secret_hash = hash_secret(secret) if secret else None
    with database.write_transaction() as connection:
        before = build_client_replacement_redo(connection, client.id)
        upsert_client(connection, client, secret_hash)
        redo_action = build_client_replacement_redo(connection, client.id)
        if before["rows"] and redo_action != before:
            # The old secret may have become known, or the old scope was too wide.
            append_redo_actions(connection, [redo_action])


def upsert_client(connection: Connection, client: Client, secret_hash: str | None) -> None:
    """Insert or replace a client in the caller's transaction."""
    connection.execute(
        "INSERT INTO client (id, name, secret, redirect_uris, scope, organization, trusted,"
        " auth_method, jwks, launch_uri, approval, launch_roles)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
        " name = excluded.name, secret = excluded.secret,"
        " redirect_uris = excluded.redirect_uris, scope = excluded.scope,"
        " organization = excluded.organization, trusted = excluded.trusted,"
        " auth_method = excluded.auth_method, jwks = excluded.jwks,"
        " launch_uri = excluded.launch_uri, approval = excluded.approval,"
        " launch_roles = excluded.launch_roles,"
        # A steward decided about the one that was there before.
        " decided_ms = NULL, decided_by = NULL, decision_reason = NULL",
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
            client.launch_uri,
            client.approval,
            " ".join(client.launch_roles),
        ),
    )


def find_client(database: Database, client_id: str) -> Client:
    """Return a client by id; NotFound without one."""
    with database.read_transaction() as connection:
        client = find_client_on(connection, client_id)
    if client is None:
        raise NotFound("There is no such client.")
    return client


def find_client_on(connection: Connection, client_id: str) -> Client | None:
    """Return a client by id in the caller's transaction; None without one."""
    if not client_id.isprintable():
        # PostgreSQL takes no NUL, and no database half of a surrogate pair.
        return None
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM client WHERE id = ?",  # noqa: S608 constant columns
        (client_id,),
    ).fetchone()
    return _client_from_row(row) if row is not None else None


def list_clients_on(connection: Connection) -> list[Client]:
    """Return every client by name, in the caller's transaction."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM client ORDER BY name, id"  # noqa: S608 constant columns
    )
    return [_client_from_row(row) for row in rows.fetchall()]


def _client_from_row(row: Row) -> Client:
    identity, name, redirects, scope, organization, confidential, trusted, method, jwks = row[:9]
    launch_uri, approval, launch_roles = row[9:]
    return Client(
        identity, name, tuple(redirects.split("\n")), scope, organization,
        bool(confidential), bool(trusted), method, jwks,
        launch_uri, approval, tuple(launch_roles.split()),
    )  # fmt: skip


def verify_client_secret(database: Database, client_id: str, secret: str) -> bool:
    """Say whether this is the client's secret; an unknown client takes as long and is False."""
    row = None
    if client_id.isprintable():
        with database.read_transaction() as connection:
            row = connection.execute(
                "SELECT secret FROM client WHERE id = ?", (client_id,)
            ).fetchone()
    return verify_secret(row[0] if row else None, secret)


def accepts_redirect(client: Client, address: str, base_url: str) -> bool:
    """Say whether a redirect URI is registered: compared exactly (RFC 9700 §2.1)."""
    return bool(address) and any(
        address == (base_url + uri if uri.startswith("/") else uri)
        for uri in client.redirect_uris
        if uri
    )
