"""The commands `ehr research ...`: each parses, calls one function, and renders."""

from __future__ import annotations

import os
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer

from ehr_analytics import airlock, cohort_study, run_log, study, study_run
from ehr_analytics import project as projects
from ehr_analytics.key_rotation import rotate_project_key
from ehr_analytics.people import APPLICANT_ROLES, APPROVER_ROLES, Person, find_person
from ehr_analytics.register import Register
from ehr_etl.console_table import print_table
from ehr_etl.spark.session import spark_session

Data = Annotated[Path, typer.Option("--data", help="The platform's data folder.")]
Login = Annotated[str, typer.Option("--as", help="Log-in of the person who takes this step.")]
ProjectId = Annotated[str, typer.Argument(help="Id of the project.")]
RunId = Annotated[str, typer.Argument(help="Id of the run.")]
DEFAULT_DATA = Path("var")
_ANY_ROLE = APPLICANT_ROLES | APPROVER_ROLES

app = typer.Typer(
    help="Research projects, studies and the airlock.\n\nExample: ehr research project list",
    no_args_is_help=True,
    add_completion=False,
)
project_app = typer.Typer(
    help="Projects: draft, submitted, approved, open, closed.\n\nExample: ehr research project list"
)
airlock_app = typer.Typer(
    help="The airlock: nothing leaves before two people approve.\n\n"
    "Example: ehr research airlock list"
)
app.add_typer(project_app, name="project", no_args_is_help=True)
app.add_typer(airlock_app, name="airlock", no_args_is_help=True)


@project_app.command("new")
def project_new(
    context: typer.Context,
    project_id: ProjectId,
    title: Annotated[str, typer.Option(help="Title.")],
    purpose: Annotated[str, typer.Option(help="The question, in one sentence.")],
    ethics: Annotated[str, typer.Option(help="Reference of the ethics approval.")],
    applicant: Annotated[str, typer.Option("--as", help="Log-in of the applicant.")],
    item: Annotated[list[str], typer.Option(help="Data item, view.column; repeat.")],
    until: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Last day.")],
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First day; today if not given.")
    ] = None,
    person: Annotated[
        list[str] | None, typer.Option(help="Log-in of a researcher; the applicant if none.")
    ] = None,
    policy: Annotated[
        str, typer.Option(help="Policy of disclosure control for everything that leaves.")
    ] = projects.DEFAULT_POLICY,
    dates: Annotated[
        str, typer.Option(help="Form of dates: quarter, month, episode or shift.")
    ] = projects.SAFEST_DATES,
    data: Data = DEFAULT_DATA,
) -> None:
    """Write down a new project as a draft.

    Example: ehr research project new falls --title "Falls" --purpose "Who falls?" --ethics REC-7
    --as researcher.lau --item encounter_flat.patient_id --item encounter_flat.start
    --until 2027-12-31
    """
    register = Register(data)
    who = find_person(context, data, applicant, APPLICANT_ROLES)
    people = [find_person(context, data, login, APPLICANT_ROLES).name for login in person or []]
    first: date = since.date() if since else register.clock().date()
    _print_project(
        projects.create_project(
            register,
            projects.Project(
                id=project_id,
                title=title,
                purpose=purpose,
                applicant=who.name,
                ethics=ethics,
                items=tuple(item),
                people=tuple(dict.fromkeys(people)) or (who.name,),
                period_from=first,
                period_to=until.date(),
                policy=policy,
                # Another text is refused by the project.
                dates=dates,  # type: ignore[arg-type]
            ),
        )
    )


@project_app.command("submit")
def project_submit(
    context: typer.Context, project_id: ProjectId, login: Login, data: Data = DEFAULT_DATA
) -> None:
    """Hand a draft in. Example: ehr research project submit falls --as researcher.lau"""
    register = Register(data)
    who = find_person(context, data, login, APPLICANT_ROLES)
    _print_project(projects.submit_project(register, project_id, who.name, other_names=who.names))


@project_app.command("approve")
def project_approve(
    context: typer.Context, project_id: ProjectId, login: Login, data: Data = DEFAULT_DATA
) -> None:
    """Give one of two approvals. Example: ehr research project approve falls --as steward.ng"""
    register = Register(data)
    who = find_person(context, data, login, APPROVER_ROLES)
    _print_project(projects.approve_project(register, project_id, who.name, other_names=who.names))


@project_app.command("return")
def project_return(
    context: typer.Context,
    project_id: ProjectId,
    login: Login,
    reason: Annotated[str, typer.Option(help="What is to be changed.")],
    data: Data = DEFAULT_DATA,
) -> None:
    """Send a submitted project back to its applicant.

    Example: ehr research project return falls --as steward.ng --reason "Name the people."
    """
    register = Register(data)
    who = find_person(context, data, login, APPROVER_ROLES)
    _print_project(
        projects.return_project(register, project_id, who.name, reason, other_names=who.names)
    )


@project_app.command("open")
def project_open(
    context: typer.Context, project_id: ProjectId, login: Login, data: Data = DEFAULT_DATA
) -> None:
    """Open an approved project. Example: ehr research project open falls --as steward.ng"""
    register = Register(data)
    who = find_person(context, data, login, APPROVER_ROLES)
    _print_project(projects.open_project(register, project_id, who.name, other_names=who.names))


@project_app.command("close")
def project_close(
    context: typer.Context, project_id: ProjectId, login: Login, data: Data = DEFAULT_DATA
) -> None:
    """Close a project and destroy its key.

    Example: ehr research project close falls --as steward.ng
    """
    register = Register(data)
    who = find_person(context, data, login, _ANY_ROLE)
    _print_project(projects.close_project(register, project_id, who.name, other_names=who.names))


@project_app.command("rotate-key")
def project_rotate_key(
    context: typer.Context,
    project_id: ProjectId,
    login: Login,
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    data: Data = DEFAULT_DATA,
) -> None:
    """Replace a project's key: its pseudonyms and shifts are new ones from then on.

    Example: ehr research project rotate-key falls --as steward.ng --reason "An extract was lost."
    """
    register = Register(data)
    who = find_person(context, data, login, APPROVER_ROLES)
    _print_project(
        rotate_project_key(register, project_id, who.name, reason=reason, other_names=who.names)
    )


@project_app.command("list")
def project_list(data: Data = DEFAULT_DATA) -> None:
    """List the projects. Example: ehr research project list"""
    rows = [
        (
            project.id,
            project.state,
            project.applicant,
            ", ".join(project.approvers),
            project.period_to.isoformat(),
            project.title,
        )
        for project in projects.list_projects(Register(data))
    ]
    headings = ("project", "state", "applicant", "approved by", "until", "title")
    print_table(headings, rows, whole=("project",))


@project_app.command("log")
def project_log(project_id: ProjectId, data: Data = DEFAULT_DATA) -> None:
    """Show every step of a project and its runs. Example: ehr research project log falls"""
    register = Register(data)
    projects.get_project(register, project_id)
    rows = [
        (event.at, event.who, event.action, event.before or "", event.after or "", event.run or "")
        for event in register.events(project_id)
    ]
    print_table(("when", "who", "step", "from", "to", "run"), rows, whole=("run",))


@app.command("run")
def run_study(
    context: typer.Context,
    study_file: Annotated[str, typer.Argument(help="A study's file, or the name of a given one.")],
    login: Login,
    data: Data = DEFAULT_DATA,
) -> None:
    """Run a study on its project's views.

    Example: ehr research run acute-returns --as researcher.lau
    """
    path = (
        Path(study_file) if study_file.endswith(".toml") else study.bundled_study_path(study_file)
    )
    register = Register(data)
    who = find_person(context, data, login, APPLICANT_ROLES)
    if cohort_study.is_cohort_study(path):
        typed = cohort_study.load_cohort_study(path)
        record = cohort_study.run_cohort_study(register, typed, who.name, other_names=who.names)
    else:
        definition = study.load_study(path)
        spark = spark_session(data / "spark")
        record = study_run.run_study(register, spark, definition, who.name, other_names=who.names)
    typer.echo(
        f"Run {record.id} is done; its results wait inside for `ehr research airlock check`."
    )


@airlock_app.command("list")
def airlock_list(data: Data = DEFAULT_DATA) -> None:
    """List the runs and how far they are. Example: ehr research airlock list"""
    rows = [
        (run.id, run.project, run.who, run.at, run.state)
        for run in run_log.list_runs(Register(data))
    ]
    print_table(("run", "project", "by", "at", "state"), rows, whole=("run", "project"))


@airlock_app.command("check")
def airlock_check(
    context: typer.Context, run_id: RunId, login: Login, data: Data = DEFAULT_DATA
) -> None:
    """Control a run's results and check them. Example: ehr research airlock check RUN --as LOGIN"""
    register = Register(data)
    who = find_person(context, data, login, _ANY_ROLE)
    proposed = airlock.propose_outputs(register, run_id, who.name)
    rows = [
        (check.name, check.file, "yes" if check.passed else "NO", check.reason)
        for check in proposed.checks
    ]
    print_table(("check", "file", "passed", "reason"), rows)
    outputs = run_log.run_folder(register, run_id) / "outputs"
    typer.echo(f"What may leave lies in {outputs}{os.sep}")
    if not proposed.passed:
        raise typer.Exit(1)


@airlock_app.command("evidence")
def airlock_evidence(run_id: RunId, data: Data = DEFAULT_DATA) -> None:
    """Show a checker the persons behind each cell, and the rule that hid it.

    Example: ehr research airlock evidence RUN
    """
    rows = [
        (
            str(cell["table"]),
            ", ".join(str(label) for label in dict(cell["labels"]).values()),  # type: ignore[call-overload]
            f"{cell['statistic']} of {cell['unit']}",
            str(cell.get("persons", cell.get("rows"))),
            "" if cell["shown"] is None else f"{cell['shown']:g}",
            str(cell["hidden_by"] or ""),
        )
        for cell in airlock.read_evidence(Register(data), run_id)
    ]
    print_table(("table", "labels", "number", "behind it", "shown", "hidden by"), rows)


@airlock_app.command("approve")
def airlock_approve(
    context: typer.Context,
    run_id: RunId,
    login: Login,
    reason: Annotated[str, typer.Option(help="Why it may leave.")],
    unsafe_output: Annotated[
        bool,
        typer.Option(
            "--unsafe-output", help="I judged whom the numbers are about: SQL or code says it."
        ),
    ] = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Approve what a run may let out; two different people must.

    Example: ehr research airlock approve RUN --as steward.ng --reason "No small cell."
    """
    who = find_person(context, data, login, APPROVER_ROLES)
    _record_decision(data, run_id, who, "approve", reason, is_unsafe=unsafe_output)


@airlock_app.command("reject")
def airlock_reject(
    context: typer.Context,
    run_id: RunId,
    login: Login,
    reason: Annotated[str, typer.Option(help="Why it may not leave.")],
    data: Data = DEFAULT_DATA,
) -> None:
    """Keep a run's results inside, with the reason.

    Example: ehr research airlock reject RUN --as auditor.tse --reason "Strata too fine."
    """
    who = find_person(context, data, login, APPROVER_ROLES)
    _record_decision(data, run_id, who, "reject", reason)


@airlock_app.command("release")
def airlock_release(
    context: typer.Context, run_id: RunId, login: Login, data: Data = DEFAULT_DATA
) -> None:
    """Release what two checkers approved.

    Example: ehr research airlock release RUN --as steward.ng
    """
    register = Register(data)
    who = find_person(context, data, login, APPROVER_ROLES)
    released = airlock.release_outputs(register, run_id, who.name, other_names=who.names)
    typer.echo(f"{len(released.files)} files released to {released.folder}")


def _record_decision(
    data: Path, run_id: str, who: Person, verdict: str, reason: str, *, is_unsafe: bool = False
) -> None:
    proposed = airlock.record_decision(
        Register(data),
        run_id,
        who.name,
        verdict,
        reason,
        is_unsafe=is_unsafe,
        other_names=who.names,
    )
    typer.echo(f"Run {run_id} is {proposed.run.state}; {len(proposed.decisions)} decided.")


def _print_project(project: projects.Project) -> None:
    typer.echo(f"Project {project.id} is {project.state}.")
    if project.state == "submitted":
        typer.echo(f"{len(project.approvers)} of {projects.APPROVALS_NEEDED} approvals given.")
