"""`ehr open-data`: decide which sets are published, and refresh them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ehr_cli.options import Data
from ehr_cli.settings import Settings, load_settings

if TYPE_CHECKING:
    from ehr_analytics.open_data.publication import OpenDataset
    from ehr_analytics.open_data.refresh import RefreshedPeriod
    from ehr_analytics.register import Register

__all__ = ["app", "refresh_if_due"]

app = typer.Typer(
    no_args_is_help=True,
    help="Open data: sets that anybody may read, under disclosure control."
    "\n\nExample: ehr open-data list",
)

# Of a digest that names a text.
_FEWEST_DIGITS = 12
Dataset = Annotated[str, typer.Argument(help="Id of the dataset.")]
Login = Annotated[str, typer.Option("--as", help="Log-in of the person who takes this step.")]
Reason = Annotated[str, typer.Option(help="Why; it stays with the decision.")]


@app.command("list")
def list_command(data: Data = None) -> None:
    """Show the datasets that were proposed, and the declarations that come with the platform.

    Example: ehr open-data list
    """
    from ehr_analytics.open_data.declaration import list_shipped
    from ehr_analytics.open_data.publication import list_datasets, list_periods
    from ehr_etl.console_table import print_table

    register = _open_register(_load(data))
    datasets = {dataset.declaration.id: dataset for dataset in list_datasets(register)}
    rows: list[tuple[str | int, ...]] = [
        (
            name,
            dataset.state,
            ", ".join(dataset.approved_by),
            len(list_periods(register, name)),
        )
        for name, dataset in datasets.items()
    ]
    rows += [(name, "not proposed", "", 0) for name in list_shipped() if name not in datasets]
    print_table(("Dataset", "State", "Approved by", "Months"), rows)


@app.command()
def propose(
    source: Annotated[
        str, typer.Argument(help="A declaration's file, or the id of one that is shipped.")
    ],
    login: Login,
    data: Data = None,
) -> None:
    """Propose a dataset for publication; two other people approve it.

    Example: ehr open-data propose emergency-attendances --as researcher.lau
    """
    from ehr_analytics.open_data import publication
    from ehr_analytics.open_data.declaration import load_declaration
    from ehr_analytics.people import APPLICANT_ROLES, APPROVER_ROLES
    from ehr_cli.research_people import find_person

    settings = _load(data)
    who = find_person(settings.data, login, APPLICANT_ROLES | APPROVER_ROLES)
    declaration = load_declaration(source)
    _print_state(publication.propose(_open_register(settings), declaration, who.name))


@app.command()
def show(dataset: Dataset, data: Data = None) -> None:
    """Print the declaration that was proposed, and its SHA-256 for `approve`.

    Example: ehr open-data show emergency-attendances
    """
    from ehr_analytics.open_data.publication import get_dataset

    declaration = get_dataset(_open_register(_load(data)), dataset).declaration
    typer.echo(declaration.text)
    typer.echo(f"SHA-256: {declaration.digest}", err=True)


@app.command()
def approve(
    dataset: Dataset,
    sha256: Annotated[
        str,
        typer.Option(help="The SHA-256 that `show` prints, or its first 12 digits or more."),
    ],
    login: Login,
    reason: Reason,
    data: Data = None,
) -> None:
    """Approve a proposed dataset by its text; the second approval publishes it.

    Example: ehr open-data approve bed-occupancy --sha256 1f2e... --as steward.ng --reason "Counts."
    """
    from ehr_analytics.open_data import publication
    from ehr_analytics.people import APPROVER_ROLES
    from ehr_cli.research_people import find_person

    settings = _load(data)
    who = find_person(settings.data, login, APPROVER_ROLES)
    register = _open_register(settings)
    if len(sha256) < _FEWEST_DIGITS:
        raise typer.BadParameter(f"Give {_FEWEST_DIGITS} digits of it or more.")
    _print_state(
        publication.approve(
            register, dataset, who.name, reason, digest=sha256.lower(), other_names=who.names
        )
    )


@app.command()
def withdraw(dataset: Dataset, login: Login, reason: Reason, data: Data = None) -> None:
    """Withdraw a dataset, and take its files away.

    Example: ehr open-data withdraw bed-occupancy --as steward.ng --reason "The source changed."
    """
    from ehr_analytics.open_data import publication
    from ehr_analytics.open_data.published_files import remove_unpublished
    from ehr_analytics.people import APPROVER_ROLES
    from ehr_cli.research_people import find_person

    settings = _load(data)
    who = find_person(settings.data, login, APPROVER_ROLES)
    register = _open_register(settings)
    _print_state(publication.withdraw(register, dataset, who.name, reason))
    # First, and without the lake: it may not be readable.
    remove_unpublished(register)
    _write_files(settings)


@app.command()
def refresh(data: Data = None) -> None:
    """Publish the months, days and hours that are due, and write the files.

    Example: ehr open-data refresh
    """
    settings = _load(data)
    for period in _refresh(settings):
        figures = f"{period.numbers:,} numbers, {period.hidden:,} hidden"
        typer.echo(f"{period.dataset}, {period.period}: {figures}.")
    for name in _write_files(settings):
        typer.echo(f"Written: {name}")


def refresh_if_due(settings: Settings) -> None:
    """Publish what is due, for a process that follows the lake; without a register do nothing.

    Files that a kill or a fault left behind the register are written, too.
    """
    from ehr_analytics.open_data.published_files import are_files_current, remove_unpublished

    if not (settings.data / "research" / "research.db").exists():
        return
    register = _open_register(settings)
    remove_unpublished(register)
    _refresh(settings)
    if not are_files_current(register):
        _write_files(settings)


def _refresh(settings: Settings) -> list[RefreshedPeriod]:
    from ehr_analytics.open_data.refresh import refresh
    from ehr_analytics.withheld import find_withheld_people
    from ehr_cli.commands.lake_access import open_lake, read_deid_key
    from ehr_cli.research_people import open_changes

    def find_withheld() -> frozenset[str]:
        with open_changes(settings.data) as changed:
            return find_withheld_people(settings.data, changed)

    key = read_deid_key(settings.data)
    return refresh(_open_register(settings), open_lake(settings), key, find_withheld)


def _write_files(settings: Settings) -> tuple[str, ...]:
    from ehr_analytics.open_data.published_files import write_files
    from ehr_cli.commands.lake_access import open_lake
    from ehr_etl.trusted_zone.organizations import read_organization_names

    lake = open_lake(settings)
    names = read_organization_names(lake) if lake.has_table("silver") else {}
    return write_files(_open_register(settings), settings.base_url, names)


def _load(data: Path | None) -> Settings:
    return load_settings().override(data=data)


def _open_register(settings: Settings) -> Register:
    from ehr_analytics.register import Register

    return Register(settings.data)


def _print_state(dataset: OpenDataset) -> None:
    from ehr_analytics.open_data.publication import APPROVALS_NEEDED

    approvals = f"{len(dataset.approved_by)} of {APPROVALS_NEEDED} approvals"
    typer.echo(f"{dataset.declaration.id}: {dataset.state}, {approvals}.")
