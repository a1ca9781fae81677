"""What the demo prints: each step as it ends, then a table of all, addresses and log-ins."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from rich.console import Console

from ehr_cli.demo.tour_state import StepResult
from ehr_cli.sample.sample_accounts import CARER, PIN, carer_hkid, featured_patients, sample_staff
from ehr_cli.settings import Settings
from ehr_etl.console_table import print_table


@dataclass(frozen=True)
class TimedStep:
    """One step of the tour, done."""

    name: str
    result: StepResult
    seconds: float


def show_running(console: Console, name: str) -> AbstractContextManager[object]:
    """Show that a step is running: a spinner on a terminal, else a plain line."""
    if console.is_terminal:
        return console.status(f"{name} ...")
    console.print(f"{name} ...")
    return nullcontext()


def print_step(console: Console, step: TimedStep) -> None:
    """Print what came out of a step."""
    console.print(
        f"  {step.name}: {step.result.output} ({step.seconds:.1f} s)",
        highlight=False,
        soft_wrap=True,
    )


def print_steps(console: Console, steps: Sequence[TimedStep]) -> None:
    """Print all steps in one table."""
    rows = [
        (step.name, step.result.input, step.result.output, f"{step.seconds:.1f}") for step in steps
    ]
    rows.append(("all", "", "", f"{sum(step.seconds for step in steps):.1f}"))
    title = "From a hospital's records to a research result"
    print_table(("Step", "In", "Out", "Seconds"), rows, title=title, console=console)


def print_addresses(console: Console, base_url: str) -> None:
    """Print the addresses of the server that runs."""
    console.print(f"Portal: {base_url}/   FHIR: {base_url}/fhir", highlight=False)
    console.print(f"How one logs in: {base_url}/oauth/account", highlight=False)


def print_next_command(console: Console, settings: Settings) -> None:
    """Say that nothing serves now, and with which command the log-ins can be tried."""
    options = f"--data {shlex.quote(str(settings.data))} --port {settings.port}"
    console.print("Nothing serves any more. To open the portal:", highlight=False)
    console.print(f"  ehr up {options}", highlight=False, soft_wrap=True)


def print_log_ins(console: Console) -> None:
    """Print with which log-ins the portal can be tried."""
    rows: list[tuple[str, str, str, str, str]] = []
    for patient in featured_patients():
        name = f"{patient.name.text} {patient.name.text_zh}"
        rows.append((name, "patient", "", f"eID {patient.hkid}", f"PIN {PIN}"))
    rows.append((CARER.display, "carer", "", f"eID {carer_hkid()}", f"PIN {PIN}"))
    for member in sample_staff():
        role = member.profession or member.role
        name = f"{member.name.text} {member.name.text_zh}"
        rows.append((name, role, member.organization, member.login, member.password))
    title = "Log-ins (synthetic people; for the demo alone)"
    headings = ("Who", "Role", "At", "Log-in", "Secret")
    print_table(headings, rows, title=title, whole=("Log-in", "Secret"), console=console)
    console.print(
        "Staff need a second factor beside their password; these accounts are exempt from it, for "
        "the demo alone.",
        highlight=False,
        soft_wrap=True,
    )
