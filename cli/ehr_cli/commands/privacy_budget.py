"""`ehr privacy budget` and `ehr study private`: differential privacy and what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ehr_analytics.gateway_client import Parts, ResearchGateway, find_gateway
from ehr_cli.options import Data
from ehr_fhir.errors import Unprocessable

if TYPE_CHECKING:
    from ehr_analytics.disclosure.budget import BudgetLedger
    from ehr_analytics.private_study import PrivateCohort

budget_app = typer.Typer(
    no_args_is_help=True,
    help="Budgets of differential privacy: two people grant each."
    "\n\nExample: ehr privacy budget show",
)
private_app = typer.Typer(
    no_args_is_help=True,
    help="Numbers about a cohort with noise, paid from the project's budget."
    "\n\nExample: ehr study private count stroke.toml --project stroke --epsilon 0.5 --as re.lau",
)

Login = Annotated[str, typer.Option("--as", help="Log-in of the person who takes this step.")]
Asker = Annotated[str, typer.Option("--as", help="Log-in of the researcher.")]
File = Annotated[Path, typer.Argument(help="The cohort's TOML file.")]
ProjectId = Annotated[str, typer.Option("--project", help="Id of the project.")]
Epsilon = Annotated[float, typer.Option(help="What the answer costs; less is noisier.")]
Column = Annotated[str, typer.Option(help="A column of the cohort.")]


@budget_app.command("grant")
def grant(
    epsilon: Annotated[float, typer.Argument(help="The whole budget, what is spent included.")],
    login: Login,
    project_id: Annotated[
        str, typer.Option("--project", help="Id of the project; all together if none.")
    ] = "",
    data: Data = None,
) -> None:
    """Propose a budget, or confirm the one that another person has proposed.

    Example: ehr privacy budget grant 2 --project stroke --as steward.ng
    """
    from ehr_analytics import project as projects
    from ehr_analytics.disclosure.budget_grants import grant_budget, record_grants
    from ehr_analytics.people import APPROVER_ROLES
    from ehr_analytics.private_study import LAKE
    from ehr_analytics.register import Register
    from ehr_cli.research_lineage import record_steps
    from ehr_cli.research_people import find_person

    folder = _find_folder(data)
    who = find_person(folder, login, APPROVER_ROLES)
    register = Register(folder)
    members: tuple[str, ...] = ()
    if project_id:
        project = projects.get_project(register, project_id)
        members = (*project.people, project.applicant)
    with _open_ledger(data) as ledger:
        granted = grant_budget(
            ledger, LAKE, project_id, epsilon, who.name, names=who.names, members=members
        )
        record_grants(register, ledger, LAKE)
    record_steps(folder)
    if granted.confirmed_by:
        typer.echo(f"The budget is {epsilon:g}, by {granted.proposed_by} and {who.name}.")
    else:
        typer.echo(f"A budget of {epsilon:g} is proposed; another person confirms it by the same.")


@budget_app.command("show")
def show(data: Data = None) -> None:
    """Show each budget, what is spent of it, and what is proposed.

    Example: ehr privacy budget show
    """
    from ehr_analytics.disclosure.budget_grants import list_grants
    from ehr_analytics.private_study import LAKE
    from ehr_etl.console_table import print_table

    with _open_ledger(data) as ledger:
        budgets = [
            (project or "all projects", f"{total:g}", f"{spent:g}", f"{total - spent:g}")
            for project, total, spent in ledger.list_budgets(LAKE)
        ]
        proposed = [
            (one.project or "all projects", f"{one.epsilon:g}", one.proposed_by)
            for one in list_grants(ledger, LAKE)
            if not one.confirmed_by
        ]
    print_table(("project", "budget", "spent", "left"), budgets)
    if proposed:
        print_table(("proposed for", "budget", "by"), proposed)


@private_app.command("count")
def count(
    context: typer.Context,
    file: File,
    project_id: ProjectId,
    epsilon: Epsilon,
    login: Asker = "",
    data: Data = None,
) -> None:
    """Show about how many people are in a cohort.

    Example: ehr study private count stroke.toml --project stroke --epsilon 0.5 --as re.lau
    """
    if gateway := find_gateway(context, login):
        (number,) = _ask(gateway, file, project_id, "count", epsilon)
        typer.echo(str(round(number["value"][0])))
        return
    with _open_cohort(file, project_id, login, data) as cohort:
        typer.echo(str(cohort.count(epsilon)))


@private_app.command("histogram")
def histogram(
    context: typer.Context,
    file: File,
    column: Column,
    project_id: ProjectId,
    epsilon: Epsilon,
    login: Asker = "",
    data: Data = None,
) -> None:
    """Show about how many people have each label of a column.

    Example: ehr study private histogram stroke.toml --column sex --project stroke --epsilon 0.5
    --as re.lau
    """
    from ehr_etl.console_table import print_table

    if gateway := find_gateway(context, login):
        numbers = _ask(gateway, file, project_id, "histogram", epsilon, column=column)
        counts = {number["label"][0]: round(number["value"][0]) for number in numbers}
    else:
        with _open_cohort(file, project_id, login, data) as cohort:
            counts = cohort.histogram(column, epsilon)
    print_table((column, "people, about"), [(label, str(n)) for label, n in counts.items()])


@private_app.command("mean")
def mean(
    context: typer.Context,
    file: File,
    column: Column,
    low: Annotated[float, typer.Option(help="Lower public bound: less counts as this.")],
    high: Annotated[float, typer.Option(help="Upper public bound: more counts as this.")],
    project_id: ProjectId,
    epsilon: Epsilon,
    login: Asker = "",
    data: Data = None,
) -> None:
    """Show about the mean of a number column.

    Example: ehr study private mean stroke.toml --column age --low 0 --high 110 --project stroke
    --epsilon 0.5 --as re.lau
    """
    if gateway := find_gateway(context, login):
        bounds = {"column": column, "low": low, "high": high}
        (number,) = _ask(gateway, file, project_id, "mean", epsilon, **bounds)
        typer.echo(f"{number['value'][0]:.3g}")
        return
    with _open_cohort(file, project_id, login, data) as cohort:
        typer.echo(f"{cohort.mean(column, (low, high), epsilon):.3g}")


@private_app.command("quantile")
def quantile(
    context: typer.Context,
    file: File,
    column: Column,
    alpha: Annotated[float, typer.Option(help="0.5 for the median.")],
    candidate: Annotated[list[float], typer.Option(help="A possible answer; repeat, rising.")],
    project_id: ProjectId,
    epsilon: Epsilon,
    login: Asker = "",
    data: Data = None,
) -> None:
    """Show which of some public candidates is about a quantile of a number column.

    Example: ehr study private quantile stroke.toml --column age --alpha 0.5 --candidate 60
    --candidate 70 --candidate 80 --project stroke --epsilon 0.5 --as re.lau
    """
    if gateway := find_gateway(context, login):
        about = {"column": column, "alpha": alpha, "candidate": candidate}
        (number,) = _ask(gateway, file, project_id, "quantile", epsilon, **about)
        typer.echo(f"{number['value'][0]:g}")
        return
    with _open_cohort(file, project_id, login, data) as cohort:
        typer.echo(f"{cohort.quantile(column, alpha, candidate, epsilon):g}")


def _ask(
    gateway: ResearchGateway,
    file: Path,
    project_id: str,
    statistic: str,
    epsilon: float,
    **about: Any,
) -> list[Parts]:
    """Return the numbers that the gateway answers, with the label of each where it has one."""
    from ehr_analytics.cohort_study import read_definition

    answer = gateway.invoke(
        "$research-private",
        project=project_id,
        definition=read_definition(file),
        statistic=statistic,
        epsilon=epsilon,
        **about,
    )
    return [part for part in answer if "value" in part]


def _find_folder(data: Path | None) -> Path:
    from ehr_cli.settings import load_settings

    return load_settings().override(data=data).data


@contextmanager
def _open_ledger(data: Path | None) -> Iterator[BudgetLedger]:
    from ehr_cli.data_folder import gateway_settings
    from ehr_cli.privacy_ledger import open_ledger
    from ehr_cli.settings import load_settings

    settings = gateway_settings(load_settings().override(data=data))
    with open_ledger(settings.data, settings.database) as ledger:
        yield ledger


@contextmanager
def _open_cohort(
    file: Path, project_id: str, login: str, data: Path | None
) -> Iterator[PrivateCohort]:
    from ehr_analytics import project as projects
    from ehr_analytics.cohort_study import load_study_cohort
    from ehr_analytics.people import APPLICANT_ROLES
    from ehr_analytics.private_study import open_private_cohort
    from ehr_analytics.register import Register
    from ehr_analytics.withheld import find_withheld_people
    from ehr_cli.research_people import find_person, open_changes

    if not login:
        raise Unprocessable("Say who asks: --as LOGIN; or go through --gateway.")
    folder = _find_folder(data)
    cohort = load_study_cohort(file)
    who = find_person(folder, login, APPLICANT_ROLES)
    register = Register(folder)
    project = projects.get_project(register, project_id)
    projects.require_open_for(register, project, who.name, other_names=who.names)
    with open_changes(folder) as changed:
        withheld = find_withheld_people(folder, changed)
    with _open_ledger(data) as ledger:
        yield open_private_cohort(
            register,
            ledger,
            project_id,
            cohort,
            who.name,
            withheld=withheld,
            other_names=who.names,
        )
