"""The demo's server: `ehr up` in a process of its own, ended with the demo."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ehr_cli.settings import Settings, to_environment
from ehr_fhir.errors import Unavailable


@contextmanager
def run_server(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    """Run `ehr up` until the block ends; enter the block when it answers."""
    # A session of its own: Ctrl-C reaches the demo alone, which then ends the server in order.
    log = (settings.data / "server.log").open("w", encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "ehr_cli.main", "up"],
        env={**os.environ, **to_environment(settings)},
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=True,
    )
    try:
        # The one line of `ehr up`, or nothing when it ended early.
        if process.stdout is None or not process.stdout.readline():
            raise Unavailable(_last_line(settings) or "The server did not start.")
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
        log.close()


def _last_line(settings: Settings) -> str:
    lines = (settings.data / "server.log").read_text("utf-8").strip().splitlines()
    return lines[-1] if lines else ""
