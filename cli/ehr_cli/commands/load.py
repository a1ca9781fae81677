"""`ehr load`: load files into the store with progress, and report every refusal by line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ehr_cli.data_folder import gateway_settings, prepare_data_folder
from ehr_cli.settings import Settings
from ehr_fhir.errors import NotFound, Unprocessable
from ehr_gateway.access_requests.record_changes import tell_consequence
from ehr_gateway.store.store import Store
from ehr_inbound.bulk_files.load import LoadReject, LoadReport, load


def load_paths(
    settings: Settings, paths: Sequence[Path], organization: str, rejects: Path | None
) -> LoadReport:
    """Load files and folders and print the counts; raise when everything was refused."""
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise NotFound(f"There is no file or folder {missing[0]}.")
    prepare_data_folder(settings)
    gateway = gateway_settings(settings)
    store = Store(gateway.database, settings.data)
    store.tell_consequence = tell_consequence
    store.attach_journal(gateway.journal_folder, gateway.keys)
    try:
        report = _load_with_progress(store, paths, organization)
    finally:
        store.close()
    _report_rejects(report, rejects)
    rate = report.accepted / report.seconds if report.seconds else 0
    typer.echo(
        f"{report.accepted:,} accepted, {report.rejected:,} refused, "
        f"{report.seconds:.1f} s ({rate:,.0f} a second)."
    )
    if report.unchanged:
        typer.echo(f"{report.unchanged:,} of them were there already, unchanged.")
    if report.superseded:
        typer.echo(f"Of {report.superseded:,} more the load holds a later version.")
    if report.rejected and not report.accepted:
        raise Unprocessable("Nothing was loaded: every resource was refused.")
    return report


def format_reject(reject: LoadReject) -> str:
    """Return one refusal as `file:line: Type/id: reason`; line 0 is the file as a whole."""
    where = f"{reject.file}:{reject.line}" if reject.line else reject.file
    what = "/".join(filter(None, (reject.type, reject.id)))
    return ": ".join(filter(None, (where, what, reject.reason)))


def _load_with_progress(store: Store, paths: Sequence[Path], organization: str) -> LoadReport:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("loading", total=None)

        def show(done: int) -> None:
            progress.update(task, description=f"{done:,} resources")

        return load(store, paths, organization, show)


def _report_rejects(report: LoadReport, rejects: Path | None) -> None:
    lines = [format_reject(reject) for reject in report.rejects]
    if rejects is None:
        sys.stderr.writelines(f"{line}\n" for line in lines)
    else:
        rejects.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        if lines:
            typer.echo(f"The refused resources are listed in {rejects}.", err=True)
