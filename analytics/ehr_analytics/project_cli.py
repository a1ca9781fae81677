"""The commands `ehr research project ...` and `ehr research people ...`.

A step goes through the gateway, as whoever has the token, or to the data folder itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from ehr_analytics import project as projects
from ehr_analytics import researchers
from ehr_analytics.gateway_client import Parts, ResearchGateway, find_gateway
from ehr_analytics.key_rotation import rotate_project_key
from ehr_analytics.people import APPLICANT_ROLES, APPROVER_ROLES, RECORDER_ROLES, find_person
from ehr_analytics.register import Register
from ehr_analytics.suspension import resume_project, suspend_project
from ehr_etl.console_table import print_table
from ehr_fhir.errors import NotFound, Unprocessable

__all__ = ["DEFAULT_DATA", "Data", "Login", "people_app", "project_app"]

Data = Annotated[
    Path, typer.Option("--data", help="The platform's data folder: for whoever runs it.")
]
Login = Annotated[
    str, typer.Option("--as", help="At the data folder: log-in of the person who takes this step.")
]
ProjectId = Annotated[str, typer.Argument(help="Id of the project.")]
Reason = Annotated[str, typer.Option(help="Why; the applicant reads it.")]
DEFAULT_DATA = Path("var")

project_app = typer.Typer(
    help="Projects: draft, submitted, approved, open, suspended, closed.\n\n"
    "Example: ehr research project list",
    no_args_is_help=True,
)
people_app = typer.Typer(
    help="Who works with data: affiliation and training.\n\nExample: ehr research people list",
    no_args_is_help=True,
)
# What of an application is read back and sent again as it was.
_RARE_CODES = "rare-code-persons"
_RESENT = ("title", "purpose", "ethics", "person", "item", "from", "to", "dates", _RARE_CODES)

# Step -> who takes it, what it does, and how at the data folder.
_DECISIONS: dict[str, tuple[Collection[str], str, Callable[..., projects.Project]]] = {
    "return": (
        APPROVER_ROLES, "Send a submitted project back to its applicant.", projects.return_project
    ),
    "open": (APPROVER_ROLES, "Open an approved project.", projects.open_project),
    "suspend": (
        RECORDER_ROLES, "Suspend an open project: nothing of it runs or leaves.", suspend_project
    ),
    "resume": (
        APPROVER_ROLES, "Let a suspended project go on; two people have to agree.", resume_project
    ),
    "close": (
        APPLICANT_ROLES | APPROVER_ROLES,
        "Close a project and destroy its key.",
        projects.close_project,
    ),
}  # fmt: skip


def _add_decision(decision: str) -> None:
    roles, summary, take_step = _DECISIONS[decision]

    def decide(
        context: typer.Context,
        project_id: ProjectId,
        login: Login = "",
        reason: Reason = "",
        data: Data = DEFAULT_DATA,
    ) -> None:
        if gateway := find_gateway(context, login):
            (after,) = gateway.invoke(
                "$decide-research", project=project_id, decision=decision, reason=reason
            )
            _echo_state(project_id, after["state"][0], len(after.get("approver", ())))
            return
        register = Register(data)
        who = find_person(context, data, login, roles)
        project = take_step(register, project_id, who.name, reason=reason, other_names=who.names)
        _echo_project(project)

    example = f"ehr research project {decision} falls --as steward.ng"
    words = ' --reason "Name the people."' if decision in ("return", "suspend") else ""
    decide.__doc__ = f"{summary}\n\nExample: {example}{words}"
    project_app.command(decision)(decide)


@project_app.command("new")
def project_new(
    context: typer.Context,
    project_id: ProjectId,
    title: Annotated[str, typer.Option(help="Title.")],
    purpose: Annotated[str, typer.Option(help="The question, in one sentence.")],
    ethics: Annotated[str, typer.Option(help="Reference of the ethics approval.")],
    item: Annotated[list[str], typer.Option(help="Data item, view.column; repeat.")],
    until: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Last day.")],
    applicant: Login = "",
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
    rare_code_persons: Annotated[
        int,
        typer.Option(
            help="Show a code as it is only if so many persons have it; more than the rules say."
        ),
    ] = 0,
    data: Data = DEFAULT_DATA,
) -> None:
    """Write down a new project as a draft.

    Example: ehr research project new falls --title "Falls" --purpose "Who falls?" --ethics REC-7
    --as researcher.lau --item encounter_flat.patient_id --item encounter_flat.start
    --until 2027-12-31
    """
    first = (since or datetime.now()).date()
    if gateway := find_gateway(context, applicant):
        if not person or policy != projects.DEFAULT_POLICY:
            raise Unprocessable("Through the gateway, name each --person; --policy is its own.")
        (after,) = gateway.invoke(
            "$apply-research",
            project=project_id, title=title, purpose=purpose, ethics=ethics, item=item,
            person=person, dates=dates, to=until.date().isoformat(),
            **{"from": first.isoformat(), _RARE_CODES: rare_code_persons or None},
        )  # fmt: skip
        _echo_state(project_id, after["state"][0])
        return
    register = Register(data)
    who = find_person(context, data, applicant, APPLICANT_ROLES)
    people = [find_person(context, data, login, APPLICANT_ROLES).name for login in person or []]
    _echo_project(
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
                period_from=first if since else register.clock().date(),
                period_to=until.date(),
                policy=policy,
                # Another text is refused by the project.
                dates=dates,  # type: ignore[arg-type]
                rare_code_persons=rare_code_persons,
            ),
        )
    )


@project_app.command("submit")
def project_submit(
    context: typer.Context, project_id: ProjectId, login: Login = "", data: Data = DEFAULT_DATA
) -> None:
    """Hand a draft in. Example: ehr research project submit falls --as researcher.lau"""
    if gateway := find_gateway(context, login):
        draft = _find_project(gateway, project_id)
        why = [f"{each['view'][0]}: {each['text'][0]}" for each in draft.get("justification", ())]
        (after,) = gateway.invoke(
            "$apply-research", project=project_id, justification=why, submit=True,
            **{name: draft.get(name, []) for name in _RESENT},
        )  # fmt: skip
        _echo_state(project_id, after["state"][0])
        return
    register = Register(data)
    who = find_person(context, data, login, APPLICANT_ROLES)
    _echo_project(projects.submit_project(register, project_id, who.name, other_names=who.names))


@project_app.command("show")
def project_show(context: typer.Context, project_id: ProjectId, data: Data = DEFAULT_DATA) -> None:
    """Show an application, and the digest that its approval names.

    Example: ehr research project show falls
    """
    if gateway := find_gateway(context):
        found = _find_project(gateway, project_id)
        why = [f"{each['view'][0]}: {each['text'][0]}" for each in found.get("justification", ())]
        names = ("title", "purpose", "ethics", "applicant", "person", "item", "from", "to", "dates")
        rows = [(name, str(value)) for name in names for value in found.get(name, ())]
        rows += [(_RARE_CODES, str(value)) for value in found.get(_RARE_CODES, ())]
        digest = str(found["digest"][0])
    else:
        project = projects.get_project(Register(data), project_id)
        why = [f"{view}: {text}" for view, text in project.justifications.items()]
        rows = [
            ("title", project.title),
            ("purpose", project.purpose),
            ("ethics", project.ethics),
            ("applicant", project.applicant),
            *(("person", person) for person in project.people),
            *(("item", item) for item in project.items),
            ("from", project.period_from.isoformat()),
            ("to", project.period_to.isoformat()),
            ("dates", project.dates),
            ("policy", project.policy),
            (_RARE_CODES, str(project.rare_code_persons)),
        ]
        digest = projects.digest_application(project)
    print_table(
        ("part", "text"), [*rows, *(("justification", text) for text in why)], whole=("text",)
    )
    typer.echo(f"Digest: {digest}")


@project_app.command("approve")
def project_approve(
    context: typer.Context,
    project_id: ProjectId,
    digest: Annotated[str, typer.Option(help="Of the application you read, as `show` prints it.")],
    login: Login = "",
    reason: Reason = "",
    data: Data = DEFAULT_DATA,
) -> None:
    """Give one of two approvals of the application that was read.

    Example: ehr research project approve falls --digest 1f2e... --as steward.ng
    """
    if gateway := find_gateway(context, login):
        (after,) = gateway.invoke(
            "$decide-research",
            project=project_id,
            decision="approve",
            reason=reason,
            digest=digest,
        )
        _echo_state(project_id, after["state"][0], len(after.get("approver", ())))
        return
    who = find_person(context, data, login, APPROVER_ROLES)
    _echo_project(
        projects.approve_project(
            Register(data),
            project_id,
            who.name,
            reason=reason,
            other_names=who.names,
            digest=digest,
        )
    )


for _decision in _DECISIONS:
    _add_decision(_decision)


@project_app.command("rotate-key")
def project_rotate_key(
    context: typer.Context,
    project_id: ProjectId,
    login: Login = "",
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    data: Data = DEFAULT_DATA,
) -> None:
    """Replace a project's key, at the data folder: its pseudonyms and shifts are new ones then.

    Example: ehr research project rotate-key falls --as steward.ng --reason "An extract was lost."
    """
    if find_gateway(context):
        raise Unprocessable("A key is replaced at the data folder, by whoever runs the platform.")
    register = Register(data)
    who = find_person(context, data, login, APPROVER_ROLES)
    _echo_project(
        rotate_project_key(register, project_id, who.name, reason=reason, other_names=who.names)
    )


@project_app.command("list")
def project_list(context: typer.Context, data: Data = DEFAULT_DATA) -> None:
    """List the projects. Example: ehr research project list"""
    headings = ("project", "state", "applicant", "approved by", "until", "title")
    if gateway := find_gateway(context):
        rows = [
            (
                *(str(each[name][0]) for name in ("id", "state", "applicant")),
                ", ".join(each.get("approver", ())),
                *(str(each[name][0]) for name in ("to", "title")),
            )
            for each in gateway.ask("$research-projects")
        ]
    else:
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
    print_table(headings, rows, whole=("project",))


@project_app.command("log")
def project_log(context: typer.Context, project_id: ProjectId, data: Data = DEFAULT_DATA) -> None:
    """Show every step of a project and its runs. Example: ehr research project log falls"""
    if gateway := find_gateway(context):
        steps = _find_project(gateway, project_id).get("event", [])
        names = ("at", "who", "action", "after", "reason")
        rows = [tuple(str(step.get(name, [""])[0]) for name in names) for step in steps]
        print_table(("when", "who", "step", "to", "reason"), rows)
        return
    register = Register(data)
    projects.get_project(register, project_id)
    logged = [
        (event.at, event.who, event.action, event.before or "", event.after or "", event.run or "")
        for event in register.events(project_id)
    ]
    print_table(("when", "who", "step", "from", "to", "run"), logged, whole=("run",))


@people_app.command("list")
def people_list(context: typer.Context, data: Data = DEFAULT_DATA) -> None:
    """List who works with data, and their training. Example: ehr research people list"""
    if gateway := find_gateway(context):
        rows = [
            (str(each["person"][0]), str(each.get("affiliation", [""])[0]),
             *(str(training[name][0]) for name in ("course", "expires")))
            for each in gateway.ask("$research-people")
            for training in each.get("training", [{"course": ["none"], "expires": [""]}])
        ]  # fmt: skip
    else:
        rows = [
            (person.person, person.affiliation, training.course, training.expires.isoformat())
            for person in researchers.list_researchers(Register(data)).values()
            for training in person.trainings
        ]
    print_table(("person", "affiliation", "training", "expires"), rows)


@people_app.command("record")
def people_record(
    context: typer.Context,
    researcher: Annotated[str, typer.Argument(help="Log-in of who took it.")],
    course: Annotated[str, typer.Option(help="The course.")],
    affiliation: Annotated[str, typer.Option(help="Where they belong.")],
    day: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="When it was taken.")],
    expires: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d"], help="The first day it holds no more.")
    ],
    login: Login = "",
    data: Data = DEFAULT_DATA,
) -> None:
    """Record a training that somebody took: without one they work on no project.

    Example: ehr research people record researcher.lau --course "Research data"
    --affiliation "University of Kowloon" --day 2026-11-02 --expires 2027-11-02 --as steward.ng
    """
    training = researchers.Training(course, day.date(), expires.date())
    if gateway := find_gateway(context, login):
        gateway.invoke(
            "$record-training", person=researcher, course=course, affiliation=affiliation,
            day=training.day.isoformat(), expires=training.expires.isoformat(),
        )  # fmt: skip
    else:
        register = Register(data)
        who = find_person(context, data, login, RECORDER_ROLES)
        person = find_person(context, data, researcher, APPLICANT_ROLES).name
        researchers.record_training(
            register, person, affiliation, training, who.name, other_names=who.names
        )
    typer.echo(f"The training of {researcher} is on record until {training.expires}.")


def _find_project(gateway: ResearchGateway, project_id: str) -> Parts:
    for project in gateway.ask("$research-projects"):
        if project["id"] == [project_id]:
            return project
    raise NotFound(f"There is no project {project_id!r}.")


def _echo_project(project: projects.Project) -> None:
    _echo_state(project.id, project.state, len(project.approvers))


def _echo_state(project_id: str, state: str, approvals: int = 0) -> None:
    typer.echo(f"Project {project_id} is {state}.")
    if state == "submitted":
        typer.echo(f"{approvals} of {projects.APPROVALS_NEEDED} approvals given.")
