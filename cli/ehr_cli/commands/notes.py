"""`ehr lake notes`: the table of scrubbed notes, which a lake keeps only when it is told to."""

from __future__ import annotations

import time

import typer

from ehr_cli.options import Data
from ehr_cli.settings import load_settings

app = typer.Typer(
    no_args_is_help=True,
    help="Scrubbed notes for projects that were granted notes.read; off until built."
    "\n\nExample: ehr lake notes build",
)


@app.command("build")
def build(data: Data = None) -> None:
    """Make the table of scrubbed notes; later runs of the lake keep it.

    Example: ehr lake notes build --data var/mine
    """
    from ehr_cli.commands.lake_access import open_writer

    with open_writer(load_settings().override(data=data)) as writer:
        count = writer.build_notes(int(time.time() * 1000))
    print(f"The lake keeps {count} scrubbed notes.")  # noqa: T201


@app.command("drop")
def drop(data: Data = None) -> None:
    """Delete the table of scrubbed notes; the lake keeps none from now on.

    Example: ehr lake notes drop
    """
    from ehr_cli.commands.lake_access import open_writer
    from ehr_etl.gold.notes import stop_notes

    with open_writer(load_settings().override(data=data)) as writer:
        stop_notes(writer.lake)
