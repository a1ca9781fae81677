"""The commands `ehr research ...`: each parses, calls one function, and renders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ehr_analytics import airlock, cohort_study, run_log, study, study_run
from ehr_analytics.gateway_client import (
    GatewayAddress,
    Parts,
    ResearchGateway,
    TokenFile,
    find_gateway,
    open_gateway,
)
from ehr_analytics.people import (
    APPLICANT_ROLES,
    APPROVER_ROLES,
    find_person,
)
from ehr_analytics.project_cli import DEFAULT_DATA, Data, Login, people_app, project_app
from ehr_analytics.register import Register
from ehr_analytics.withheld_by_command import find_withheld_by_command
from ehr_etl.console_table import print_table
from ehr_etl.spark.session import spark_session
from ehr_fhir.errors import Unprocessable

RunId = Annotated[str, typer.Argument(help="Id of the run.")]
_ANY_ROLE = APPLICANT_ROLES | APPROVER_ROLES

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
)
airlock_app = typer.Typer(
    help="The airlock: nothing leaves before two people approve.\n\n"
    "Example: ehr research airlock list"
)
app.add_typer(project_app, name="project")
app.add_typer(people_app, name="people")
app.add_typer(airlock_app, name="airlock", no_args_is_help=True)


@app.callback()
def choose_gateway(
    context: typer.Context, gateway: GatewayAddress = "", token_file: TokenFile = None
) -> None:
    """Research projects, studies and the airlock.

    Through the gateway, a step is that of the person whose token it is. Without one, commands act
    on the data folder itself: for whoever runs the platform.

    Example: ehr research --gateway https://ehr.example --token-file token project list
    """
    if gateway:
        context.obj = open_gateway(gateway, token_file)


@app.command("run")
def run_study(
    context: typer.Context,
    study_file: Annotated[str, typer.Argument(help="A study's file, or the name of a given one.")],
    login: Login = "",
    data: Data = DEFAULT_DATA,
) -> None:
    """Run a study on its project's views.

    Example: ehr research run acute-returns --as researcher.lau
    """
    path = (
        Path(study_file) if study_file.endswith(".toml") else study.bundled_study_path(study_file)
    )
    if gateway := find_gateway(context, login):
        project = cohort_study.load_cohort_study(path).project
        text = path.read_text("utf-8")
        (run,) = gateway.invoke("$research-run", project=project, definition=text)
        typer.echo(f"Run {run['id'][0]} is {run['state'][0]}.")
        return
    register = Register(data)
    who = find_person(context, data, login, APPLICANT_ROLES)
    if cohort_study.is_cohort_study(path):
        typed = cohort_study.load_cohort_study(path)
        withheld = find_withheld_by_command(context, register, typed.project, who)
        record = cohort_study.run_cohort_study(
            register, typed, who.name, withheld=withheld, other_names=who.names
        )
    else:
        definition = study.load_study(path)
        withheld = find_withheld_by_command(context, register, definition.project, who)
        spark = spark_session(data / "spark")
        record = study_run.run_study(
            register, spark, definition, who.name, withheld=withheld, other_names=who.names
        )
    typer.echo(
        f"Run {record.id} is done; its results wait inside for `ehr research airlock check`."
    )


@airlock_app.command("list")
def airlock_list(
    context: typer.Context,
    project: Annotated[
        str, typer.Option(help="Through the gateway: the runs of this project.")
    ] = "",
    data: Data = DEFAULT_DATA,
) -> None:
    """List the runs and how far they are; through the gateway, requests for their release.

    Example: ehr research airlock list
    """
    if gateway := find_gateway(context):
        if project:
            listed, who = _list_runs(gateway, project), "who"
        else:
            listed, who = gateway.ask("$research-releases"), "by"
        names = ("id", "project", who, "asked", "state")
        rows = [tuple(str(each[name][0]) for name in names) for each in listed]
    else:
        rows = [
            (run.id, run.project, run.who, run.at, run.state)
            for run in run_log.list_runs(Register(data))
        ]
    print_table(("run", "project", "by", "at", "state"), rows, whole=("run", "project"))


def _list_runs(gateway: ResearchGateway, project: str) -> list[Parts]:
    """Return all runs of a project, oldest first, page by page."""
    runs: list[Parts] = []
    following: dict[str, str] = {}
    while True:
        page = gateway.ask("$research-runs", project=project, **following)
        runs += [part for part in page if "next" not in part]
        cursor = next((part["next"][0] for part in page if "next" in part), None)
        if cursor is None:
            return runs[::-1]
        following = {"_cursor": cursor}


@airlock_app.command("check")
def airlock_check(
    context: typer.Context,
    run_id: RunId,
    login: Login = "",
    note: Annotated[
        str, typer.Option(help="Through the gateway: what the tables are for; checkers read it.")
    ] = "",
    data: Data = DEFAULT_DATA,
) -> None:
    """Control a run's results, check them, and put them before the checkers.

    Example: ehr research airlock check RUN --as LOGIN
    """
    if gateway := find_gateway(context, login):
        (release,) = gateway.invoke("$request-release", run=run_id, note=note)
        _print_checks(
            [
                (each["name"][0], "", each["passed"][0], each.get("detail", [""])[0])
                for each in release.get("check", [])
            ]
        )
        return
    register = Register(data)
    who = find_person(context, data, login, _ANY_ROLE)
    proposed = airlock.propose_outputs(register, run_id, who.name)
    outputs = run_log.run_folder(register, run_id) / "outputs"
    typer.echo(f"What may leave lies in {outputs}{os.sep}")
    _print_checks(
        [(check.name, check.file, check.passed, check.reason) for check in proposed.checks]
    )


@airlock_app.command("evidence")
def airlock_evidence(context: typer.Context, run_id: RunId, data: Data = DEFAULT_DATA) -> None:
    """Show a checker the persons behind each cell, and the rule that hid it.

    Example: ehr research airlock evidence RUN
    """
    if gateway := find_gateway(context):
        names = ("file", "row", "column", "shown", "rule", "meaning")
        (release,) = gateway.ask("$research-releases", release=run_id)
        cells = gateway.ask("$release-evidence", release=run_id)
        print_table(names, [tuple(str(cell.get(n, [""])[0]) for n in names) for cell in cells])
        typer.echo(f"Digest: {release['digest'][0]}")
        return
    register = Register(data)
    digest = airlock.digest_outputs(register, run_id)
    rows = [
        (
            str(cell["table"]),
            ", ".join(str(label) for label in dict(cell["labels"]).values()),  # type: ignore[call-overload]
            f"{cell['statistic']} of {cell['unit']}",
            str(cell.get("persons", cell.get("rows"))),
            "" if cell["shown"] is None else f"{cell['shown']:g}",
            str(cell["hidden_by"] or ""),
        )
        for cell in airlock.read_evidence(register, run_id)
    ]
    print_table(("table", "labels", "number", "behind it", "shown", "hidden by"), rows)
    typer.echo(f"Digest: {digest}")


@airlock_app.command("approve")
def airlock_approve(
    context: typer.Context,
    run_id: RunId,
    reason: Annotated[str, typer.Option(help="Why it may leave.")],
    digest: Annotated[str, typer.Option(help="Of the files you read, as `evidence` prints it.")],
    login: Login = "",
    unsafe_output: Annotated[
        bool,
        typer.Option(
            "--unsafe-output", help="I judged whom the numbers are about: SQL or code says it."
        ),
    ] = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Approve what a run may let out; two different people must.

    Example: ehr research airlock approve RUN --digest 1f2e... --as steward.ng --reason "Few."
    """
    _decide(context, data, run_id, login, "approve", reason, is_unsafe=unsafe_output, digest=digest)


@airlock_app.command("reject")
def airlock_reject(
    context: typer.Context,
    run_id: RunId,
    reason: Annotated[str, typer.Option(help="Why it may not leave.")],
    login: Login = "",
    data: Data = DEFAULT_DATA,
) -> None:
    """Keep a run's results inside, with the reason.

    Example: ehr research airlock reject RUN --as auditor.tse --reason "Strata too fine."
    """
    _decide(context, data, run_id, login, "reject", reason)


@airlock_app.command("release")
def airlock_release(
    context: typer.Context, run_id: RunId, login: Login = "", data: Data = DEFAULT_DATA
) -> None:
    """Release what two checkers approved; through the gateway, the second approval does.

    Example: ehr research airlock release RUN --as steward.ng
    """
    if find_gateway(context, login):
        raise Unprocessable("Through the gateway, the second approval releases.")
    register = Register(data)
    who = find_person(context, data, login, APPROVER_ROLES)
    released = airlock.release_outputs(register, run_id, who.name, other_names=who.names)
    typer.echo(f"{len(released.files)} files released to {released.folder}")


@airlock_app.command("fetch")
def airlock_fetch(
    context: typer.Context,
    run_id: RunId,
    folder: Annotated[Path, typer.Argument(help="Where the files go; made if it is not there.")],
) -> None:
    """Fetch a release's files and their record through the gateway.

    Example: ehr research airlock fetch RUN tables/
    """
    gateway = find_gateway(context)
    if gateway is None:
        raise Unprocessable("Name the --gateway; at the data folder they are below research.")
    (release,) = gateway.ask("$research-releases", release=run_id)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*(file["name"][0] for file in release["file"]), "controls.json"):
        # Its last part alone: a gateway names no place on this machine.
        path = folder / Path(name).name
        path.write_bytes(gateway.fetch("$release-file", release=run_id, file=name))
        typer.echo(str(path))


def _decide(
    context: typer.Context,
    data: Path,
    run_id: str,
    login: str,
    verdict: str,
    reason: str,
    *,
    is_unsafe: bool = False,
    digest: str | None = None,
) -> None:
    if gateway := find_gateway(context, login):
        (release,) = gateway.invoke(
            "$decide-release",
            release=run_id,
            decision="return" if verdict == "reject" else verdict,
            reason=reason,
            **({"unsafe-judged": True} if is_unsafe else {}),
            **({"digest": digest} if digest is not None else {}),
        )
        typer.echo(f"Release {run_id} is {release['state'][0]}.")
        return
    who = find_person(context, data, login, APPROVER_ROLES)
    proposed = airlock.record_decision(
        Register(data),
        run_id,
        who.name,
        verdict,
        reason,
        is_unsafe=is_unsafe,
        other_names=who.names,
        digest=digest,
    )
    typer.echo(f"Run {run_id} is {proposed.run.state}; {len(proposed.decisions)} decided.")


def _print_checks(checks: Sequence[tuple[str, str, bool, str]]) -> None:
    """Show what each check said; exit with 1 where one failed."""
    rows = [(name, file, "yes" if passed else "NO", why) for name, file, passed, why in checks]
    print_table(("check", "file", "passed", "reason"), rows)
    if not all(passed for _, _, passed, _ in checks):
        raise typer.Exit(1)
