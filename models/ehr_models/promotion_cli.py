"""The commands that decide which version of a model scores, and those that compare versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ehr_analytics.people import APPROVER_ROLES, Person, Platform, find_person
from ehr_etl.console_table import print_table
from ehr_fhir.errors import NotFound
from ehr_models.decisions import Action, Decision
from ehr_models.model_store import ModelStore, ModelVersion
from ehr_models.promotion import PromotionRegister
from ehr_models.registry import list_tasks
from ehr_models.version_files import read_gates, read_summary

__all__ = ["add_commands", "open_register"]

Task = Annotated[str, typer.Argument(help="Name of the model, as `ehr models list` shows it.")]
Number = Annotated[int, typer.Argument(help="Number of the version.")]
Login = Annotated[
    str, typer.Option("--as", help="Log-in of the person who decides: a steward or an auditor.")
]
Reason = Annotated[str, typer.Option(help="Why, for the record; others read it.")]
Data = Annotated[Path, typer.Option("--data", help="The platform's data folder.")]
DEFAULT_DATA = Path("var")


def add_commands(app: typer.Typer) -> None:
    """Add the commands to those of `ehr models`."""
    for name, command in _COMMANDS.items():
        app.command(name)(command)


def compare(context: typer.Context, task: Task, data: Data = DEFAULT_DATA) -> None:
    """Show the versions of a model beside each other: results, gates, which one scores.

    Example: ehr models compare readmission-28d
    """
    register = open_register(context, data)
    numbers = register.store.list_versions(task)
    if not numbers:
        raise NotFound(f"No version of {task} was trained yet: run `ehr models train`.")
    champion, shadow = register.find_champion(task), register.find_shadow(task)
    proposal = register.find_proposal(task)
    rows = []
    for number in numbers:
        version = register.store.read_version(task, number)
        standing = [
            word
            for word, is_so in (
                ("scores", number == champion),
                ("in shadow", number == shadow),
                ("waits for a second person", proposal and number == proposal.number),
            )
            if is_so
        ]
        unmet = [result.gate for result in read_gates(version) if not result.is_met]
        rows.append(
            (
                str(number),
                version.created_at,
                _describe_results(version),
                ", ".join(unmet) or "all met",
                ", ".join(standing),
            )
        )
    print_table(("version", "trained", "results", "gates not met", ""), rows, whole=("version",))


def promote(
    context: typer.Context,
    task: Task,
    number: Number,
    login: Login,
    reason: Reason,
    data: Data = DEFAULT_DATA,
) -> None:
    """Propose a version that is to score, or confirm the one that somebody else has proposed.

    Example: ehr models promote readmission-28d 3 --as steward.ng --reason "Better than LACE."
    """
    who = find_person(context, data, login, APPROVER_ROLES)
    made = open_register(context, data).promote(task, number, who.name, reason, names=who.names)
    if made.action is Action.PROPOSE:
        typer.echo(f"Version {number} is proposed: another person confirms it by the same command.")
    elif task in {one.name for one in list_tasks()}:
        typer.echo(f"Version {number} scores from now on.")
    else:
        typer.echo(
            f"Version {number} is promoted. It learnt from an import, so it scores nobody of the "
            "platform."
        )


def roll_back(
    context: typer.Context, task: Task, login: Login, reason: Reason, data: Data = DEFAULT_DATA
) -> None:
    """Let the version score that did before, or none.

    Example: ehr models roll-back readmission-28d --as steward.ng --reason "Alerts doubled."
    """
    made = _decide(context, data, login, lambda register, who: register.roll_back(
        task, who.name, reason))  # fmt: skip
    now = "No version scores" if made.number is None else f"Version {made.number} scores"
    typer.echo(f"{now} from now on.")


def shadow(
    context: typer.Context,
    task: Task,
    login: Login,
    reason: Reason,
    number: Annotated[
        int | None, typer.Argument(help="Number of the version; without it the shadow ends.")
    ] = None,
    data: Data = DEFAULT_DATA,
) -> None:
    """Let a version score beside the champion without showing anybody, or end that.

    Example: ehr models shadow readmission-28d 4 --as steward.ng --reason "To see its alerts."
    """
    _decide(context, data, login, lambda register, who: register.set_shadow(
        task, number, who.name, reason))  # fmt: skip
    typer.echo("The shadow ends." if number is None else f"Version {number} scores in shadow.")


def decisions(
    context: typer.Context,
    task: Task,
    restore: Annotated[
        bool, typer.Option("--restore", help="First write all decisions anew from the audit log.")
    ] = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """List who decided what about a model, and why.

    Where the file of decisions is not what the audit log has, nothing scores until it is restored.

    Example: ehr models decisions readmission-28d
    """
    register = open_register(context, data)
    if restore:
        typer.echo(f"{register.restore_from_log()} decisions were written anew.")
    rows = [
        (one.at, one.action.value, str(one.number or ""), one.who, one.reason)
        for one in register.list_decisions(task)
    ]
    print_table(("at", "step", "version", "who", "reason"), rows, whole=("at", "step"))
    if not register.compare_log().holds:
        typer.echo(
            "These are NOT the decisions of the audit log, so nothing scores: --restore.", err=True
        )


def sign(
    context: typer.Context,
    task: Task,
    number: Number,
    login: Login,
    reason: Reason,
    data: Data = DEFAULT_DATA,
) -> None:
    """Sign a version anew that a key signed which is no more; who signs looked at its files.

    Example: ehr models sign readmission-28d 3 --as steward.ng --reason "Compared with the backup."
    """
    _decide(context, data, login, lambda register, who: register.sign(
        task, number, who.name, reason))  # fmt: skip
    typer.echo(f"Version {number} of {task} is signed by the key of now.")


def rotate_key(
    context: typer.Context,
    login: Login,
    reason: Reason,
    at_once: Annotated[
        bool,
        typer.Option("--at-once", help="The old key became known: nothing is signed anew by it."),
    ] = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Sign versions of models with a new key from now on, and those that there are anew.

    With --at-once they load no more, and score nobody, until `ehr models sign`.

    Example: ehr models rotate-key --as steward.ng --reason "Half a year."
    """
    who = find_person(context, data, login, APPROVER_ROLES)
    rotated = open_register(context, data).rotate_key(who.name, reason, at_once=at_once)
    typer.echo(f"A new key signs. {rotated.signed} versions are signed by it.")
    for task, number in rotated.refused:
        typer.echo(f"Version {number} of {task} loads no more: ehr models sign {task} {number}")


def _decide(
    context: typer.Context,
    data: Path,
    login: str,
    step: Callable[[PromotionRegister, Person], Decision],
) -> Decision:
    return step(open_register(context, data), find_person(context, data, login, APPROVER_ROLES))


def _describe_results(version: ModelVersion) -> str:
    """Return the AUROC of each predictor of a version, with its interval where it has one."""
    summary = read_summary(version)
    told = []
    for one in summary.get("results", ()):
        if one["metric"] == "auroc":
            interval = "" if one["low"] is None else f" ({one['low']:.2f} to {one['high']:.2f})"
            told.append(f"{one['predictor']} {one['value']:.2f}{interval}")
    return f"AUROC {', '.join(told)}" if told else ""


@dataclass(frozen=True)
class _PlatformLog:
    """The audit log of the platform that a command runs on."""

    platform: Platform
    data: Path

    def read_decisions(self) -> Sequence[Mapping[str, Any]]:
        """Return the records of the leaves, in their order."""
        return self.platform.read_model_decisions(self.data)


def open_register(context: typer.Context, data: Path) -> PromotionRegister:
    """Return the decisions of a data folder, held against its audit log where `ehr` runs."""
    platform: Platform | None = context.find_root().obj
    log = None if platform is None else _PlatformLog(platform, data)
    return PromotionRegister(ModelStore(data), log=log)


_COMMANDS: dict[str, Callable[..., None]] = {
    "compare": compare,
    "promote": promote,
    "roll-back": roll_back,
    "shadow": shadow,
    "decisions": decisions,
    "sign": sign,
    "rotate-key": rotate_key,
}
