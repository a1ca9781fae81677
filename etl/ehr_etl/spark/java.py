"""Find a Java that Spark can run on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from ehr_fhir.errors import Unavailable

MINIMUM_VERSION = 17

_ADVICE = (
    f"Spark needs Java {MINIMUM_VERSION} or newer: install it (Debian: `apt-get install "
    "openjdk-17-jre-headless`) or set JAVA_HOME to its folder."
)


def find_java_home() -> Path:
    """Return the home of a Java of version 17 or newer, from JAVA_HOME or PATH."""
    for home in _candidate_homes():
        if _read_java_version(home) >= MINIMUM_VERSION:
            return home
    raise Unavailable(_ADVICE)


def _candidate_homes() -> list[Path]:
    homes: list[Path] = []
    if home := os.environ.get("JAVA_HOME"):
        homes.append(Path(home))
    if program := shutil.which("java"):
        homes.append(Path(program).resolve().parents[1])
    return homes


def _read_java_version(home: Path) -> int:
    """Return the major version that `java -version` reports, 0 if it does not run."""
    try:
        completed = subprocess.run(  # noqa: S603 - the program is the machine's own Java
            [str(home / "bin" / "java"), "-version"], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r'version "(?:1\.)?(\d+)', completed.stderr + completed.stdout)
    return int(match.group(1)) if match else 0
