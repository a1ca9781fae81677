"""What the demo prints: each step as it ends, then a table of all, addresses and log-ins."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from ehr_cli.demo.tour_state import StepResult
from ehr_cli.sample.sample_accounts import CARER, PIN, carer_hkid, featured_patients, sample_staff


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


def print_table(console: Console, steps: Sequence[TimedStep]) -> None:
    """Print all steps in one table."""
    table = Table(title="From a hospital's records to a research result", title_justify="left")
    for heading in ("Step", "In", "Out"):
        table.add_column(heading, overflow="fold")
    table.add_column("Seconds", justify="right")
    for step in steps:
        table.add_row(step.name, step.result.input, step.result.output, f"{step.seconds:.1f}")
    table.add_section()
    table.add_row("all", "", "", f"{sum(step.seconds for step in steps):.1f}")
    console.print(table)


def print_addresses(console: Console, base_url: str) -> None:
    """Print the addresses, and with which log-ins they can be tried."""
    console.print(f"Portal: {base_url}/   FHIR: {base_url}/fhir", highlight=False)
    people = Table(title="Log-ins (synthetic people; for the demo alone)", title_justify="left")
    for heading in ("Who", "Role", "At", "Log-in", "Secret"):
        people.add_column(heading, overflow="fold")
    for patient in featured_patients():
        name = f"{patient.name.text} {patient.name.text_zh}"
        people.add_row(name, "patient", "", f"eID {patient.hkid}", f"PIN {PIN}")
    people.add_row(CARER.display, "carer", "", f"eID {carer_hkid()}", f"PIN {PIN}")
    for member in sample_staff():
        role = member.profession or member.role
        name = f"{member.name.text} {member.name.text_zh}"
        people.add_row(name, role, member.organization, member.login, member.password)
    console.print(people)
    console.print(
        "Staff need a second factor beside their password; these accounts are exempt from it, for "
        f"the demo alone. How one logs in: {base_url}/oauth/account",
        highlight=False,
    )
