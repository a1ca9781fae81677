"""`ehr upgrade`: upgrade the database of an older version, or check whether that is needed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBars

from ehr_cli.data_folder import gateway_settings
from ehr_cli.settings import Settings
from ehr_fhir.errors import NotFound
from ehr_gateway.migrations.upgrade import Progress, read_state, upgrade
from ehr_gateway.schema.revision import HEAD

__all__ = ["check", "run"]

# Chosen: few lines in a log file, yet a sign of life.
_SECONDS_BETWEEN_LINES = 5.0


def check(settings: Settings) -> bool:
    """Print and return whether the database is up to date."""
    state = read_state(_database(settings))
    if state.refusal is not None:
        typer.echo(state.refusal, err=True)
        return False
    typer.echo(f"The database is up to date (revision {HEAD}).")
    return True


def run(settings: Settings) -> None:
    """Upgrade the database, with progress on standard error."""
    location = _database(settings)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with ProgressBars(*columns, console=console, disable=not console.is_terminal) as bars:
        changed = upgrade(location, _show_bars(bars) if console.is_terminal else _print_lines())
    done = "is upgraded" if changed else "was up to date already"
    typer.echo(f"The database {done} (revision {HEAD}).")


def _show_bars(bars: ProgressBars) -> Callable[[Progress], None]:
    """Return a reporter that draws a bar for each step."""
    tasks: dict[str, TaskID] = {}

    def show(progress: Progress) -> None:
        if progress.step not in tasks:
            tasks[progress.step] = bars.add_task(progress.step, total=progress.total)
        bars.update(tasks[progress.step], completed=progress.done)

    return show


def _print_lines() -> Callable[[Progress], None]:
    """Return a reporter that prints a line when a step begins or ends, and now and then between."""
    printed_at: dict[str, float] = {}

    def show(progress: Progress) -> None:
        now, begins = time.monotonic(), progress.step not in printed_at
        if progress.total == 1 and begins:
            typer.echo(progress.step, err=True)
        elif progress.total > 1 and (
            begins
            or progress.done == progress.total
            or now - printed_at[progress.step] >= _SECONDS_BETWEEN_LINES
        ):
            typer.echo(f"{progress.step}: {progress.done:,} of {progress.total:,}", err=True)
        else:
            return
        printed_at[progress.step] = now

    return show


def _database(settings: Settings) -> Path | str:
    """Return the location of the database; raise NotFound rather than create one."""
    location = gateway_settings(settings).database
    if isinstance(location, Path) and not location.exists():
        raise NotFound(f"There is no database in the data folder {settings.data}.")
    return location
