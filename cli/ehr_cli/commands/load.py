"""`ehr load`: load files into the store with progress, and report every refusal by line."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ehr_cli.data_folder import (
    PLATFORM,
    gateway_settings,
    is_platform,
    prepare_data_folder,
    refuse_foreign_folder,
)
from ehr_cli.settings import Settings
from ehr_fhir.errors import NotFound, Unprocessable
from ehr_gateway.access_requests.record_changes import tell_consequence
from ehr_gateway.erasure.erased_patients import watch_erased_ids
from ehr_gateway.settings import GatewaySettings
from ehr_gateway.store.store import Store
from ehr_inbound.bulk_files.load import LoadReject, LoadReport, load


def load_paths(
    settings: Settings,
    paths: Sequence[Path],
    organization: str,
    rejects: Path | None,
    bases: Sequence[str] = (),
) -> LoadReport:
    """Load files and folders and print the counts; raise when everything was refused.

    `bases` are FHIR base addresses under which this server was known, beside its own.
    """
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise NotFound(f"There is no file or folder {missing[0]}.")
    if settings.data.exists():
        refuse_foreign_folder(settings.data)
    is_new = not is_platform(settings.data)
    gateway = gateway_settings(settings)
    there = _list_own_paths(gateway)
    prepare_data_folder(settings)
    store = Store(gateway.database, settings.data)
    store.tell_consequence = tell_consequence
    store.attach_journal(gateway.journal_folder, gateway.keys)
    watch_erased_ids(store, gateway.keys)
    try:
        own = (gateway.fhir_base, *(base.rstrip("/") for base in bases))
        report = _load_with_progress(store, paths, organization, own)
        example, accounts = _read_first_patient(store), _has_accounts(store)
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
        if is_new and gateway.database_url is None:
            # An empty platform would be mistaken for one with records.
            _remove_paths(_list_own_paths(gateway) - there)
        raise Unprocessable("Nothing was loaded: every resource was refused.")
    if is_new:
        typer.echo(f"{settings.data} was not there before: it is a new platform.")
    for line in next_steps(settings.data, report.authors or {organization}, example, accounts):
        typer.echo(line)
    return report


def _list_own_paths(settings: GatewaySettings) -> set[Path]:
    """Return the data folder, what lies in it, and the journal's folder, as far as they exist."""
    data = settings.data
    paths = {data, settings.journal_folder, *(data.iterdir() if data.is_dir() else ())}
    return {path for path in paths if path.exists()}


def _remove_paths(paths: Iterable[Path]) -> None:
    for path in sorted(paths, reverse=True):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def next_steps(
    data: Path, authors: Iterable[str], patient: str | None, has_accounts: bool
) -> tuple[str, ...]:
    """Return what to do after a load, as commands to copy: make accounts, serve, get a token.

    A clinician and a program see what their organisation wrote and what patients share with it, so
    the commands name one that wrote some of the records; a patient's account names `patient`.
    """
    ordered = sorted(authors, key=lambda author: (author == PLATFORM, author))
    others = f", {', '.join(ordered[1:6])}" if ordered[1:] else ""
    place = f"--data {shlex.quote(str(data))}"
    account_lines = [
        "Nobody can log in yet. Make an account for each person, such as:",
        f'  ehr account add dr.lee --role clinician --name "Dr Lee" --organization {ordered[0]} '
        f"--profession doctor --password {place}",
    ]
    if patient:
        account_lines.append(
            f'  ehr account add p.lee --role patient --name "Lee" --patient {patient} '
            f"--password {place}"
        )
    return (
        f"Written by {ordered[0]}{others}.",
        *([] if has_accounts else account_lines),
        "Then serve, and get a token for a program that acts for an organisation:",
        f"  ehr up {place}",
        f"  ehr token --client me --organization {ordered[0]} {place}",
    )


def _read_first_patient(store: Store) -> str | None:
    with store.read_transaction() as connection:
        row = connection.execute(
            "SELECT id FROM resource WHERE type = 'Patient' AND current = 1 AND deleted = 0 LIMIT 1"
        ).fetchone()
    return str(row[0]) if row else None


def _has_accounts(store: Store) -> bool:
    with store.read_transaction() as connection:
        return connection.execute("SELECT 1 FROM account LIMIT 1").fetchone() is not None


def format_reject(reject: LoadReject) -> str:
    """Return one refusal as `file:line: Type/id: reason`; line 0 is the file as a whole."""
    where = f"{reject.file}:{reject.line}" if reject.line else reject.file
    what = "/".join(filter(None, (reject.type, reject.id)))
    return ": ".join(filter(None, (where, what, reject.reason)))


def _load_with_progress(
    store: Store, paths: Sequence[Path], organization: str, bases: Sequence[str]
) -> LoadReport:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("loading", total=None)

        def show(done: int) -> None:
            progress.update(task, description=f"{done:,} resources")

        return load(store, paths, organization, show, bases=bases)


def _report_rejects(report: LoadReport, rejects: Path | None) -> None:
    lines = [format_reject(reject) for reject in report.rejects]
    if rejects is None:
        sys.stderr.writelines(f"{line}\n" for line in lines)
    else:
        rejects.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        if lines:
            typer.echo(f"The refused resources are listed in {rejects}.", err=True)
