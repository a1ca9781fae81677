"""`ehr keys` and `ehr client`: the signing keys, and the OAuth 2 clients.

Whoever may write the data folder may do all of this, so no further authentication is asked for.
"""

from __future__ import annotations

import time
from typing import Annotated

import typer

from ehr_cli.commands.account import open_gateway
from ehr_cli.options import Data

keys_app = typer.Typer(
    no_args_is_help=True, help="The keys that sign tokens.\n\nExample: ehr keys rotate"
)
client_app = typer.Typer(
    no_args_is_help=True, help="Programs: invite, list, delete.\n\nExample: ehr client list"
)


@keys_app.command("rotate")
def rotate_keys(
    at_once: Annotated[
        bool,
        typer.Option("--at-once", help="The old keys became known: end all that they signed."),
    ] = False,
    data: Data = None,
) -> None:
    """Sign with new keys from now on; print the name of the one for access tokens.

    The old ones verify until their tokens are over. A running server takes the new ones up.

    Example: ehr keys rotate
    """
    from ehr_gateway.tokens import keys as signing

    with open_gateway(data) as gateway:
        settings = gateway.settings
        name = signing.rotate_keys(
            settings.keys, _now_ms(), settings.token_seconds, at_once=at_once
        )
        gateway.revocations.notify_processes()
    typer.echo(name)


@client_app.command("invite")
def invite_client(
    scope: Annotated[str, typer.Option(help='What it may ask for, such as "patient/*.rs".')],
    organization: Annotated[
        str | None, typer.Option(help="Whom a program without a person acts for.", metavar="ID")
    ] = None,
    hours: Annotated[int, typer.Option(min=1, max=8784)] = 24,
    data: Data = None,
) -> None:
    """Print a token with which one program may register itself at /oauth/register.

    Example: ehr client invite --scope "openid fhirUser launch/patient patient/*.rs"
    """
    from ehr_gateway.oauth.registration import mint_initial_access_token
    from ehr_privacy.consent import parse_scopes

    parse_scopes(scope)
    with open_gateway(data) as gateway:
        token = mint_initial_access_token(
            gateway.store.database,
            scope=scope,
            organization=organization,
            now_ms=_now_ms(),
            hours=hours,
        )
    typer.echo(token)


@client_app.command("list")
def list_clients(data: Data = None) -> None:
    """List programs: id, name, how each proves itself, scopes.

    Example: ehr client list
    """
    with open_gateway(data) as gateway, gateway.store.read_transaction() as connection:
        for row in connection.execute(
            "SELECT id, name, coalesce(auth_method, CASE WHEN secret IS NULL THEN 'none'"
            " ELSE 'secret' END), scope FROM client ORDER BY id"
        ).fetchall():
            typer.echo("\t".join(row).rstrip())


@client_app.command("delete")
def delete_client(
    name: Annotated[str, typer.Argument(metavar="ID", help="A program's id.")], data: Data = None
) -> None:
    """Delete a program; its tokens end at once.

    Example: ehr client delete 4fJq2mXb
    """
    from ehr_gateway.oauth import clients, registration

    with open_gateway(data) as gateway:
        clients.find_client(gateway.store.database, name)
        registration.delete_client(gateway, name)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
