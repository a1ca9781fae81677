"""`ehr upgrade`: bring the database of an older version along, or say whether that is needed."""

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

# Chosen: seldom enough for a log file, often enough to see that it goes on.
_SECONDS_BETWEEN_LINES = 5.0


def check(settings: Settings) -> bool:
    """Say whether the database is up to date, and return it; change nothing."""
    state = read_state(_database(settings))
    if state.refusal is not None:
        typer.echo(state.refusal, err=True)
        return False
    typer.echo(f"The database is up to date (revision {HEAD}).")
    return True


def run(settings: Settings) -> None:
    """Upgrade the database with progress on standard error; raise where that cannot be."""
    place = _database(settings)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with ProgressBars(*columns, console=console, disable=not console.is_terminal) as bars:
        changed = upgrade(place, _bars(bars) if console.is_terminal else _lines())
    done = "is upgraded" if changed else "was up to date already"
    typer.echo(f"The database {done} (revision {HEAD}).")


def _bars(bars: ProgressBars) -> Callable[[Progress], None]:
    tasks: dict[str, TaskID] = {}

    def show(progress: Progress) -> None:
        if progress.step not in tasks:
            tasks[progress.step] = bars.add_task(progress.step, total=progress.of)
        bars.update(tasks[progress.step], completed=progress.done)

    return show


def _lines() -> Callable[[Progress], None]:
    """Return what prints a line when a step begins or ends, and every few seconds between."""
    said_at: dict[str, float] = {}

    def show(progress: Progress) -> None:
        now, begins = time.monotonic(), progress.step not in said_at
        if progress.of == 1 and begins:
            typer.echo(progress.step, err=True)
        elif progress.of > 1 and (
            begins
            or progress.done == progress.of
            or now - said_at[progress.step] >= _SECONDS_BETWEEN_LINES
        ):
            typer.echo(f"{progress.step}: {progress.done:,} of {progress.of:,}", err=True)
        else:
            return
        said_at[progress.step] = now

    return show


def _database(settings: Settings) -> Path | str:
    """Return where the database is; it is never made here."""
    place = gateway_settings(settings).database
    if isinstance(place, Path) and not place.exists():
        raise NotFound(f"There is no database in the data folder {settings.data}.")
    return place
