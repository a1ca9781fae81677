"""`ehr terminology`: load code systems from their publishers' files, list and remove them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ehr_cli.options import Data, Database
from ehr_cli.settings import load_settings

if TYPE_CHECKING:
    from ehr_gateway.store.store import Store

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="Code systems from their publishers' files.\n\nExample: ehr terminology list",
)
Version = Annotated[str | None, typer.Option(help="The version.", metavar="VERSION")]


@app.command("load")
def load_file(
    kind: Annotated[
        Literal["atc", "fhir", "icd10", "loinc", "rxnorm", "snomed"],
        typer.Argument(metavar="FORMAT", help="atc, fhir, icd10, loinc, rxnorm or snomed."),
    ],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A file or folder of a release.")],
    version: Version = None,
    data: Data = None,
    database: Database = None,
) -> None:
    """Load a code system that you have a licence for; the same version is replaced.

    The gateway may serve meanwhile: it finds the code system once all of it is there.

    Example: ehr terminology load loinc Loinc_2.80 --data var/mine
    """
    from rich.console import Console

    from ehr_gateway.terminology.load import load_code_system
    from ehr_inbound.terminology_files import read_release

    begun = time.monotonic()
    console = Console(stderr=True)
    release = read_release(kind, path, version)
    store = _open_store(data, database)
    try:
        with console.status("reading") as status:
            loaded = load_code_system(
                store.database,
                release.header,
                release.concepts,
                now_ms=round(time.time() * 1000),
                progress=lambda table, rows: status.update(f"{table}: {rows:,} rows"),
            )
    finally:
        store.close()
    seconds = time.monotonic() - begun
    typer.echo(f"{loaded.header.canonical}: {loaded.concepts:,} concepts in {seconds:.1f} s.")


@app.command("list")
def list_loaded(data: Data = None, database: Database = None) -> None:
    """List the code systems that were loaded, with the number of their concepts.

    Example: ehr terminology list --data var/mine
    """
    from ehr_gateway.terminology.load import list_systems

    store = _open_store(data, database)
    try:
        with store.read_transaction() as connection:
            for loaded in list_systems(connection):
                typer.echo(f"{loaded.header.canonical}: {loaded.concepts:,} concepts")
    finally:
        store.close()


@app.command("remove")
def remove(
    url: Annotated[str, typer.Argument(metavar="URL", help="The code system's url.")],
    version: Version = None,
    data: Data = None,
    database: Database = None,
) -> None:
    """Remove what was loaded of a code system, or one version of it.

    Example: ehr terminology remove http://loinc.org --version 2.79
    """
    from ehr_fhir.errors import NotFound
    from ehr_gateway.terminology.load import delete_system

    store = _open_store(data, database)
    try:
        removed = delete_system(store.database, url, version)
    finally:
        store.close()
    if not removed:
        raise NotFound("No such code system was loaded.")
    typer.echo(f"{removed} removed.")


def _open_store(data: Path | None, database: str | None) -> Store:
    from ehr_cli.data_folder import gateway_settings, require_data_folder
    from ehr_gateway.store.store import Store

    chosen = load_settings().override(data=data, database=database)
    require_data_folder(chosen.data)
    return Store(gateway_settings(chosen).database, chosen.data)
