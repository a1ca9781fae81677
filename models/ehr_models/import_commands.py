"""The commands `ehr models import` and `ehr models imports`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ehr_etl.console_table import print_table
from ehr_fhir.errors import Unprocessable
from ehr_models.imports.import_store import list_imports
from ehr_models.imports.imported_task import name_imported_task
from ehr_models.imports.omop_import import import_omop
from ehr_models.imports.table_import import find_sample, import_table
from ehr_models.registry import get_task, refuse_registered


def import_data(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A table (.csv, .csv.gz, .parquet), a folder of OMOP tables, or a sample's name.",
        ),
    ],
    name: Annotated[str, typer.Option(help="What the import is called.")],
    task: Annotated[str | None, typer.Option(metavar="NAME", help="The task it is for.")] = None,
    mapping: Annotated[
        str | None,
        typer.Option(help="The mapping of a table: a TOML file, or one of the platform's own."),
    ] = None,
    data: Annotated[Path, typer.Option(help="The platform's data folder.")] = Path("var"),
    keep_excluded: Annotated[
        bool, typer.Option(help="Keep the rows that the mapping excludes, to show both.")
    ] = False,
    one_in: Annotated[
        int, typer.Option(min=1, metavar="N", help="Take every Nth person of a table, for a try.")
    ] = 1,
    replace: Annotated[bool, typer.Option(help="Replace the import of this name.")] = False,
) -> None:
    """Import a table of one's own, or a folder of OMOP tables, to train a task on.

    Example: ehr models import readmission-diabetes130 --task readmission-28d --name diabetes130
    """
    chosen, sample, now = get_task(task), find_sample(file), datetime.now(UTC)
    # Under its own name, and under that of what is learnt from it.
    for clashing in (name, name_imported_task(chosen, name)):
        refuse_registered(clashing)
    path = sample or Path(file)
    if path.is_dir():
        if mapping is not None or keep_excluded:
            raise Unprocessable("A folder of OMOP tables takes no mapping, and excludes nobody.")
        about = import_omop(path, chosen, name, data, now, replace=replace)
        typer.echo(f"{about['people']:,} people of {file} are imported as {name}.")
        for words, rows in about["not_read"].items():
            typer.echo(f"Not read: {rows:,} {words}.")
        return
    if mapping is None and sample is None:
        raise Unprocessable("Say by --mapping which column is what.")
    about = import_table(
        path,
        mapping or file,
        chosen,
        name,
        data,
        now,
        apply_exclusions=not keep_excluded,
        one_in=one_in,
        replace=replace,
    )
    typer.echo(
        f"{about['rows']:,} rows of {about['people']:,} people are imported as {name}, with "
        f"{len(about['features'])} features and {about['outcomes']:,} {chosen.outcome.plural}."
    )
    for excluded in about["excluded"]:
        typer.echo(f"Left out: {excluded['rows']:,} rows, {excluded['reason']}.")
    if about["without_outcome"]:
        typer.echo(f"Left out: {about['without_outcome']:,} rows without an outcome.")
    if not about["has_dates"]:
        typer.echo("There are no dates: nothing can be split by time, and no stay has its day.")


def show_imports(
    data: Annotated[Path, typer.Option(help="The platform's data folder.")] = Path("var"),
) -> None:
    """List what was imported. Example: ehr models imports"""
    rows = [
        (about["name"], about["task"], about["title"], f"{about['people']:,}", about["digest"][:12])
        for about in list_imports(data)
    ]
    print_table(("import", "task", "source", "people", "digest"), rows, whole=("import",))
