"""The commands `ehr study ...`: cohorts of the typed language, at the researcher's desk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ehr_analytics import project as projects
from ehr_analytics.cohorts import load_cohort
from ehr_analytics.cohorts.checks import check_cohort
from ehr_analytics.cohorts.project_run import find_sources, list_data_items, run_project_cohort
from ehr_analytics.register import Register
from ehr_etl.console_table import print_table
from ehr_etl.lake import Lake
from ehr_privacy.disclosure import control_table

Data = Annotated[Path, typer.Option("--data", help="The platform's data folder.")]
DEFAULT_DATA = Path("var")

app = typer.Typer(
    help="Studies: cohorts in the typed language.\n\nExample: ehr study cohort FILE --items",
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def main() -> None:
    """Studies: cohorts in the typed language."""


@app.command("cohort")
def cohort_command(
    file: Annotated[Path, typer.Argument(help="The cohort's TOML file.")],
    login: Annotated[str, typer.Option("--as", help="Log-in of the researcher.")] = "",
    project_id: Annotated[str, typer.Option("--project", help="Id of the project.")] = "",
    items: Annotated[
        bool, typer.Option("--items", help="Only check it, and list the data items it needs.")
    ] = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Check a cohort; run it for a project and show its attrition, with small numbers hidden.

    Example: ehr study cohort stroke.toml --project stroke --as researcher.lau
    """
    cohort = load_cohort(file)
    sources = find_sources(Lake(data / "lake"), cohort)
    check_cohort(cohort, sources)
    if items or not project_id:
        for item in list_data_items(cohort, sources):
            typer.echo(item)
        return
    register = Register(data)
    project = projects.get_project(register, project_id)
    result, tables = run_project_cohort(register, project, cohort, login)
    with register.transaction() as connection:
        detail = {"cohort": cohort.name, "tables": dict(tables)}
        register.append_event(connection, project_id, login, "cohort", detail=detail)
    steps = [{"step": step.name, "people": step.persons} for step in result.attrition]
    # What a screen shows is not checked by people: midpoints of six hide whom a step took out.
    shown = control_table("midpoint-6", steps, ("people",)).rows
    print_table(("step", "people left, about"), [(str(r["step"]), str(r["people"])) for r in shown])
