"""The commands `ehr study ...`: cohorts of the typed language, at the researcher's desk."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Annotated

import typer

from ehr_analytics import code_run
from ehr_analytics import project as projects
from ehr_analytics.analyses.district_map import draw_map, read_released_table
from ehr_analytics.cohort_study import load_study_cohort, parse_study_cohort, read_definition
from ehr_analytics.cohorts.checks import check_cohort
from ehr_analytics.cohorts.project_run import find_sources, list_data_items, run_project_cohort
from ehr_analytics.dummy_data import write_dummy_data
from ehr_analytics.gateway_client import (
    GatewayAddress,
    ResearchGateway,
    TokenFile,
    find_gateway,
    open_gateway,
)
from ehr_analytics.people import APPLICANT_ROLES, find_person
from ehr_analytics.register import Register
from ehr_analytics.withheld_by_command import find_withheld_by_command
from ehr_etl.console_table import print_table
from ehr_etl.lake import Lake
from ehr_fhir.errors import Unprocessable
from ehr_privacy.disclosure import control_table

Data = Annotated[Path, typer.Option("--data", help="The platform's data folder.")]
DEFAULT_DATA = Path("var")
_STEP_COLUMNS = ("step", "people left, about")

app = typer.Typer(
    help="Studies: cohorts in the typed language.\n\nExample: ehr study cohort FILE --items",
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def choose_gateway(
    context: typer.Context, gateway: GatewayAddress = "", token_file: TokenFile = None
) -> None:
    """Studies: cohorts in the typed language.

    Through the gateway, a step is that of the person whose token it is. Without one, commands act
    on the data folder itself: for whoever runs the platform.

    Example: ehr study --gateway https://ehr.example --token-file token cohort FILE --project falls
    """
    if gateway:
        context.obj = open_gateway(gateway, token_file)


@app.command("cohort")
def cohort_command(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="TOML file of a cohort, or of a study.")],
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
    if gateway := find_gateway(context, login):
        if items or not project_id:
            raise Unprocessable("Through the gateway a cohort is counted: --project ID.")
        _print_live_count(gateway, project_id, file)
        return
    cohort = load_study_cohort(file)
    sources = find_sources(Lake(data / "lake"), cohort)
    check_cohort(cohort, sources)
    if items or not project_id:
        for item in list_data_items(cohort, sources):
            typer.echo(item)
        return
    register = Register(data)
    who = find_person(context, data, login, APPLICANT_ROLES)
    project = projects.get_project(register, project_id)
    result, tables = run_project_cohort(
        register,
        project,
        cohort,
        who.name,
        withheld=find_withheld_by_command(context, register, project_id, who),
        other_names=who.names,
    )
    with register.transaction() as connection:
        detail = {"cohort": cohort.name, "tables": dict(tables)}
        register.append_event(connection, project_id, who.name, "cohort", detail=detail)
    steps = [{"step": step.name, "people": step.persons} for step in result.attrition]
    # What a screen shows is not checked by people: midpoints of six hide whom a step took out.
    shown = control_table("midpoint-6", steps, ("people",)).rows
    print_table(_STEP_COLUMNS, [(str(r["step"]), str(r["people"])) for r in shown])


@app.command("dummy")
def dummy_command(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="The folder to write into.")],
    project_id: Annotated[str, typer.Option("--project", help="Id of the project.")],
    people: Annotated[int, typer.Option(help="How many persons to make up.")] = 200,
    data: Data = DEFAULT_DATA,
) -> None:
    """Write made-up tables of the shape of a project's views, from their schemas alone.

    Example: ehr study dummy home/ --project falls
    """
    if gateway := find_gateway(context):
        content = gateway.fetch("$research-dummy", project=project_id, people=str(people))
        _unpack(content, folder)
        return
    register = Register(data)
    project = projects.get_project(register, project_id)
    for path in write_dummy_data(register, project, folder, people=people):
        typer.echo(str(path))


@app.command("code")
def code_command(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The Python file.")],
    project_id: Annotated[str, typer.Option("--project", help="Id of the project.")],
    output: Annotated[
        list[str], typer.Option(help="A file that the code writes, .csv or .png; repeat.")
    ],
    login: Annotated[str, typer.Option("--as", help="Log-in of the researcher.")] = "",
    data: Data = DEFAULT_DATA,
) -> None:
    """Run Python code of your own in the sandbox: `tables` by name, files into `outputs`.

    Example: ehr study code falls.py --project falls --as researcher.lau --output by-age.csv
    """
    if gateway := find_gateway(context, login):
        code = code_run.read_code(file)
        (run,) = gateway.invoke("$research-run", project=project_id, code=code, output=output)
        typer.echo(f"Run {run['id'][0]} is {run['state'][0]}.")
        return
    register = Register(data)
    who = find_person(context, data, login, APPLICANT_ROLES)
    record, ended = code_run.run_code_file(
        register,
        project_id,
        file,
        output,
        who.name,
        withheld=find_withheld_by_command(context, register, project_id, who),
        other_names=who.names,
    )
    if not ended:
        # No more than that: the text of an error may quote a row.
        typer.echo(f"Run {record.id} failed. Try the code on dummy data: `ehr study dummy`.")
        raise typer.Exit(1)
    typer.echo(
        f"Run {record.id} ended; what it wrote is unsafe output: `ehr research airlock check`."
    )


@app.command("map")
def map_command(
    file: Annotated[Path, typer.Argument(help="A released table of people by district, CSV.")],
    title: Annotated[str, typer.Option(help="Title of the map, in its language.")],
    note: Annotated[str, typer.Option(help="A line below it: source, date, policy.")] = "",
    language: Annotated[str, typer.Option(help="en, zh-Hant or zh-Hans.")] = "en",
    measure: Annotated[str, typer.Option(help="Which rows of the table.")] = "people",
) -> None:
    """Draw a released table by district as a map (SVG) beside it, in one of three languages.

    Example: ehr study map districts.csv --title 按地區 --language zh-Hant
    """
    target = file.with_name(f"{file.stem}.{language}.svg")
    target.write_text(draw_map(read_released_table(file, measure), title, note, language), "utf-8")
    typer.echo(str(target))


def _print_live_count(gateway: ResearchGateway, project_id: str, file: Path) -> None:
    """Count a cohort by one of its project's live counts, and say how many are left."""
    text = read_definition(file)
    # A fault of the file is told here: it need not travel.
    parse_study_cohort(text)
    answer = gateway.invoke("$research-count", project=project_id, definition=text)
    steps = [part for part in answer if "name" in part]
    print_table(
        _STEP_COLUMNS,
        [(str(step["name"][0]), str(step.get("people", ["hidden"])[0])) for step in steps],
    )
    left = next(part["left"][0] for part in answer if "left" in part)
    typer.echo(f"Counts left today: {left}.")


def _unpack(content: bytes, folder: Path) -> None:
    """Write the files of a zip into a folder, each under the last part of its name alone."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in archive.namelist():
            path = folder / Path(name).name
            path.write_bytes(archive.read(name))
            typer.echo(str(path))
