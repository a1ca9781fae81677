"""What the demo prints: each step as it ends, then one table, the addresses and the log-ins."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from ehr_cli.sample.sample_accounts import CARER, PIN, carer_hkid, featured_patients, sample_staff


@dataclass(frozen=True)
class StepOutcome:
    """What one step took, gave, and how long it needed."""

    step: str
    taken: str
    given: str
    seconds: float


def show_running(console: Console, step: str) -> AbstractContextManager[object]:
    """Show that a step is running: a spinner on a terminal, else a plain line."""
    if console.is_terminal:
        return console.status(f"{step} ...")
    console.print(f"{step} ...")
    return nullcontext()


def print_outcome(console: Console, outcome: StepOutcome) -> None:
    """Say what a step gave."""
    console.print(
        f"  {outcome.step}: {outcome.given} ({outcome.seconds:.1f} s)",
        highlight=False,
        soft_wrap=True,
    )


def print_table(console: Console, outcomes: Sequence[StepOutcome]) -> None:
    """Print all steps in one table."""
    shown = Table(title="From a hospital's records to a research result", title_justify="left")
    for heading in ("Step", "In", "Out"):
        shown.add_column(heading, overflow="fold")
    shown.add_column("Seconds", justify="right")
    for outcome in outcomes:
        shown.add_row(outcome.step, outcome.taken, outcome.given, f"{outcome.seconds:.1f}")
    shown.add_section()
    shown.add_row("all", "", "", f"{sum(outcome.seconds for outcome in outcomes):.1f}")
    console.print(shown)


def print_addresses(console: Console, base_url: str) -> None:
    """Print where to look, and as whom."""
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
