"""`ehr doctor`: check what the platform needs, and say what to do about what is missing."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import typer

from ehr_cli.server.port import is_port_free
from ehr_cli.settings import Settings
from ehr_fhir.errors import EhrError

GIGABYTE = 1024**3
MIN_FREE_GB = 3
# As the gateway takes for a clock that was set back (`store.update_instant`).
MAX_AHEAD_SECONDS = 1.0
# 1 December 2025, the platform's first day: a clock before it is certainly wrong.
EARLIEST = 1_764_547_200


@dataclass(frozen=True)
class CheckResult:
    """The result of one check: what was seen, and what to do if it is not well."""

    subject: str
    is_ok: bool
    seen: str
    advice: str = ""


def run_checks(settings: Settings) -> list[CheckResult]:
    """Run every check."""
    return [
        check_java(),
        check_delta_jar(),
        check_disk(settings.data),
        check_data_folder(settings.data),
        check_leftovers(settings.data),
        check_journal(settings),
        check_port(settings.host, settings.port),
        check_clock(time.time()),
        check_clock_and_records(settings, time.time()),
    ]


def print_report(settings: Settings, echo: Callable[[str], None] = typer.echo) -> bool:
    """Print the result of every check; return whether all are well."""
    results = run_checks(settings)
    for result in results:
        echo(f"{'ok     ' if result.is_ok else 'PROBLEM'} {result.subject}: {result.seen}")
        if not result.is_ok:
            echo(f"        {result.advice}")
    return all(result.is_ok for result in results)


def check_java() -> CheckResult:
    """Check for Java 17 or newer, which Spark needs."""
    from ehr_etl.spark.java import find_java_home

    try:
        return CheckResult("Java", True, str(find_java_home()))
    except EhrError as error:
        return CheckResult("Java", False, "17 or newer not found", str(error))


def check_delta_jar() -> CheckResult:
    """Check for Delta's jar in the cache."""
    from ehr_etl.spark import jars

    found = jars.cached_jars()
    advice = "Run `make setup` once with a network; it keeps the jar for later."
    return CheckResult("Delta's jar", bool(found), "cached" if found else "not cached", advice)


def check_disk(folder: Path) -> CheckResult:
    """Check the free space where the data folder is."""
    free = shutil.disk_usage(_nearest_existing_folder(folder)).free / GIGABYTE
    advice = f"Free at least {MIN_FREE_GB} GB, or put the data elsewhere with --data."
    return CheckResult("disk", free >= MIN_FREE_GB, f"{free:.0f} GB free", advice)


def check_data_folder(folder: Path) -> CheckResult:
    """Check that the data folder can be written, and read by its owner alone."""
    name = "data folder"
    if not os.access(_nearest_existing_folder(folder), os.W_OK):
        return CheckResult(name, False, f"{folder} cannot be written", "Choose one with --data.")
    if not folder.exists():
        return CheckResult(name, True, f"{folder} will be made")
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        advice = f"Records and keys are in it: run `chmod 700 {folder}`."
        return CheckResult(name, False, f"{folder} is open to other users", advice)
    return CheckResult(name, True, f"{folder} is yours alone")


def check_leftovers(folder: Path) -> CheckResult:
    """Check that no load that was killed left records behind."""
    from ehr_inbound.bulk_files.work_folder import find_leftovers

    leftovers = find_leftovers(folder)
    names = ", ".join(path.name for path in leftovers) or "none"
    advice = (
        "A load that was killed left records there. The next `ehr load` or `ehr up` removes it."
    )
    return CheckResult("leftovers", not leftovers, names, advice)


def check_journal(settings: Settings) -> CheckResult:
    """Check that the journal can be written, and say when it would be lost with the data."""
    from ehr_cli.data_folder import gateway_settings

    folder = gateway_settings(settings).journal_folder
    nearest = _nearest_existing_folder(folder)
    if not os.access(nearest, os.W_OK):
        advice = "Make it, or choose another folder with the setting `journal`."
        return CheckResult("journal", False, f"{folder} cannot be written", advice)
    shares_disk = nearest.stat().st_dev == _nearest_existing_folder(settings.data).stat().st_dev
    where = ", on the disk of the data: lost with it" if shares_disk else ""
    return CheckResult("journal", True, f"{folder}{where}")


def check_port(host: str, number: int) -> CheckResult:
    """Check that the port is free."""
    advice = "If that is not `ehr up` itself, choose another port with --port."
    if not is_port_free(host, number):
        return CheckResult("port", False, f"{number} is taken", advice)
    return CheckResult("port", True, f"{number} is free")


def check_clock(now: float) -> CheckResult:
    """Check that the clock can be right: consents and tokens end by it."""
    is_ok = now >= EARLIEST
    seen = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))
    return CheckResult("clock", is_ok, seen, "Set the clock (a time server does it).")


def check_clock_and_records(settings: Settings, now: float) -> CheckResult:
    """Check that no record is dated in the future: the clock was ahead, or is behind now."""
    from ehr_cli.data_folder import gateway_settings
    from ehr_fhir.definitions import resource_types
    from ehr_gateway.database import DATABASE_ERRORS, open_for_reading, readable_place

    subject, location = "clock and records", gateway_settings(settings).database
    if isinstance(location, Path) and not location.exists():
        return CheckResult(subject, True, "no records yet")
    try:
        with readable_place(location) as place, closing(open_for_reading(place)) as database:
            with database.read_transaction() as connection:
                # By type, as an index of every layout has them.
                newest = "SELECT MAX(last_updated) FROM resource WHERE type = ? AND current = 1"
                latest = max(
                    connection.execute(newest, (kind,)).fetchone()[0] or 0
                    for kind in resource_types()
                )
    except (EhrError, *DATABASE_ERRORS) as error:
        return CheckResult(subject, False, "the database cannot be read", _advice_of(error))
    ahead = latest / 1000 - now
    if ahead <= MAX_AHEAD_SECONDS:
        return CheckResult(subject, True, "no record is dated in the future")
    until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(latest / 1000))
    advice = (
        "Set the clock, or leave it if it was corrected: new records are dated after the newest, "
        "in the order of writing, until the clock has caught up (docs/explanation/reliability.md)."
    )
    return CheckResult(subject, False, f"records are dated until {until}", advice)


def _advice_of(error: Exception) -> str:
    # The text of a database's own error may hold values.
    return str(error) if isinstance(error, EhrError) else type(error).__name__


def _nearest_existing_folder(folder: Path) -> Path:
    return next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
