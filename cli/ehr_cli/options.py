"""Options that several commands have, with one help text each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Data", "Database", "Port"]

Data = Annotated[
    Path | None, typer.Option("--data", help="The data folder.", show_default="var", metavar="DIR")
]
Database = Annotated[str | None, typer.Option(help="A PostgreSQL URL, or `sqlite`.")]
Port = Annotated[int | None, typer.Option(help="The port to serve at.", show_default="8080")]
