"""`ehr account`: create, list, disable and enable the accounts by which people log in.

Whoever may write the database may do all of this, so no further authentication is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ehr_cli import settings
from ehr_cli.options import Data

if TYPE_CHECKING:
    from ehr_gateway.gateway import Gateway

app = typer.Typer(
    no_args_is_help=True, help="Accounts: make, list, disable, enable.\n\nExample: ehr account list"
)

Login = Annotated[str, typer.Argument(metavar="LOGIN", help="A log-in name.")]


@app.command("add")
def add_account(
    login: Login,
    role: Annotated[str, typer.Option(help="Such as clinician, steward or patient.")],
    name: Annotated[str, typer.Option(help="As others see it.")],
    organization: Annotated[str | None, typer.Option(metavar="ID")] = None,
    profession: Annotated[str | None, typer.Option(help="Such as doctor.")] = None,
    patient: Annotated[str | None, typer.Option(metavar="ID")] = None,
    person: Annotated[
        str | None, typer.Option(help="Shared by the accounts of one person.", metavar="ID")
    ] = None,
    password: Annotated[
        bool, typer.Option("--password", help="Ask for a first password, or read it from stdin.")
    ] = False,
    exempt: Annotated[
        bool, typer.Option("--exempt", help="Needs no second factor: for demonstrations.")
    ] = False,
    data: Data = None,
) -> None:
    """Make an account.

    Example: ehr account add dr.lee --role clinician --name "Dr Lee" --organization tko
    --profession doctor --password
    """
    from ehr_fhir.errors import Unprocessable
    from ehr_gateway.accounts.accounts import Account
    from ehr_gateway.html import pages
    from ehr_gateway.login import administration

    secret = typer.prompt("First password", hide_input=True) if password else ""
    account = Account(login, role, name, organization, profession, patient, person, exempt=exempt)
    with open_gateway(data) as gateway:
        fault = administration.create_account(gateway, account, secret)
    if fault:
        raise Unprocessable(pages.load_texts()[fault]["en"])


@app.command("list")
def list_accounts(
    begins: Annotated[str, typer.Argument(help="How the log-in names begin.")] = "",
    data: Data = None,
) -> None:
    """List accounts: log-in name, role, organisation, and whether it is disabled.

    Example: ehr account list dr.
    """
    from ehr_gateway.accounts import accounts

    with open_gateway(data) as gateway, gateway.store.read_transaction() as connection:
        for status in accounts.search_accounts(connection, begins, 1_000_000):
            account = status.account
            state = "disabled" if status.disabled else ""
            parts = (account.login, account.role, account.organization or "-", state)
            typer.echo("\t".join(parts).rstrip())


@app.command("disable")
def disable_account(login: Login, data: Data = None) -> None:
    """Disable an account; its sessions and tokens end at once.

    Example: ehr account disable dr.lee
    """
    from ehr_gateway.login import account_lifecycle

    with open_gateway(data) as gateway:
        account_lifecycle.disable_account(gateway, login)


@app.command("enable")
def enable_account(login: Login, data: Data = None) -> None:
    """Enable an account again.

    Example: ehr account enable dr.lee
    """
    from ehr_gateway.login import account_lifecycle

    with open_gateway(data) as gateway:
        account_lifecycle.enable_account(gateway, login)


@app.command("reset")
def reset_factors(login: Login, data: Data = None) -> None:
    """Take passkeys, app and recovery codes from an account whose holder lost them.

    Example: ehr account reset dr.lee
    """
    from ehr_gateway.login import account_lifecycle

    with open_gateway(data) as gateway:
        account_lifecycle.reset_factors(gateway, login)


@contextmanager
def open_gateway(data: Path | None) -> Iterator[Gateway]:
    """Open the gateway of a data folder for a command that changes its tables; close it after."""
    from ehr_cli.data_folder import gateway_settings, require_data_folder
    from ehr_gateway.app import create_gateway

    chosen = settings.load_settings().override(data=data)
    require_data_folder(chosen.data)
    gateway: Gateway = create_gateway(gateway_settings(chosen)).state.gateway
    try:
        yield gateway
    finally:
        gateway.store.close()
