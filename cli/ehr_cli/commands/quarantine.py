"""`ehr lake quarantine`: list the versions that wait for a steward."""

from __future__ import annotations

import typer

from ehr_cli.options import Data
from ehr_cli.settings import load_settings

app = typer.Typer(
    no_args_is_help=True,
    help="Quarantine: versions that break a quality rule.\n\nExample: ehr lake quarantine list",
)


@app.command("list")
def list_versions(data: Data = None) -> None:
    """List what waits: feed position, resource and broken rules, never the record's content.

    A steward decides in the portal, or by the operation $decide-finding.

    Example: ehr lake quarantine list
    """
    from ehr_cli.commands.lake_access import open_lake
    from ehr_etl.console_table import print_table
    from ehr_etl.tables.quarantine import list_held_versions

    rows = []
    for held in list_held_versions(open_lake(load_settings().override(data=data))):
        resource = f"{held.type}/{held.id}" if held.type else "not a record"
        columns = (held.position, held.version, held.last_updated)
        position, version, received = ("" if value is None else str(value) for value in columns)
        rows.append((position, resource, version, received, ", ".join(held.reasons)))
    headings = ("Position", "Resource", "Version", "Received", "Reasons")
    print_table(headings, rows, whole=("Position", "Resource"))
