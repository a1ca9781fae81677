"""`ehr doctor`: look at what the platform needs, and say what to do about what is missing."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import typer

from ehr_cli.server.port import is_port_free
from ehr_cli.settings import Settings
from ehr_fhir.errors import EhrError

GIGABYTE = 1024**3
NEEDED_GB = 3
# The platform's first day: a clock before it is certainly wrong.
EARLIEST = 1_764_547_200


@dataclass(frozen=True)
class Finding:
    """One thing looked at: whether it is well, what was seen, and what to do if it is not."""

    subject: str
    well: bool
    seen: str
    advice: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Look at everything."""
    return [
        java(),
        delta_jar(),
        disk(settings.data),
        data_folder(settings.data),
        port(settings.host, settings.port),
        clock(time.time()),
    ]


def report(settings: Settings, echo: Callable[[str], None] = typer.echo) -> bool:
    """Say what was found, and return whether all is well."""
    findings = examine(settings)
    for finding in findings:
        echo(f"{'ok     ' if finding.well else 'PROBLEM'} {finding.subject}: {finding.seen}")
        if not finding.well:
            echo(f"        {finding.advice}")
    return all(finding.well for finding in findings)


def java() -> Finding:
    """Look for Java 17 or newer, which Spark needs."""
    from ehr_etl.spark.java import find_java_home

    try:
        return Finding("Java", True, str(find_java_home()))
    except EhrError as error:
        return Finding("Java", False, "17 or newer not found", str(error))


def delta_jar() -> Finding:
    """Look for Delta's jar in the cache."""
    from ehr_etl.spark import jars

    found = jars.cached_jars()
    advice = "Run `make setup` once with a network; it keeps the jar for later."
    return Finding("Delta's jar", bool(found), "cached" if found else "not cached", advice)


def disk(folder: Path) -> Finding:
    """Look at the free space where the data folder lies."""
    free = shutil.disk_usage(_existing(folder)).free / GIGABYTE
    advice = f"Free at least {NEEDED_GB} GB, or put the data elsewhere with --data."
    return Finding("disk", free >= NEEDED_GB, f"{free:.0f} GB free", advice)


def data_folder(folder: Path) -> Finding:
    """Look whether the data folder can be written, and by its owner alone read."""
    name = "data folder"
    if not os.access(_existing(folder), os.W_OK):
        return Finding(name, False, f"{folder} cannot be written", "Choose one with --data.")
    if not folder.exists():
        return Finding(name, True, f"{folder} will be made")
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        advice = f"Records and keys are in it: run `chmod 700 {folder}`."
        return Finding(name, False, f"{folder} is open to other users", advice)
    return Finding(name, True, f"{folder} is yours alone")


def port(host: str, number: int) -> Finding:
    """Look whether the port is free."""
    advice = "If that is not `ehr up` itself, choose another port with --port."
    if not is_port_free(host, number):
        return Finding("port", False, f"{number} is taken", advice)
    return Finding("port", True, f"{number} is free")


def clock(now: float) -> Finding:
    """Look whether the clock can be right: consents and tokens end by it."""
    well = now >= EARLIEST
    seen = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))
    return Finding("clock", well, seen, "Set the clock (a time server does it).")


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
