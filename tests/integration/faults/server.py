"""`ehr up` in a process of its own, to be stopped, frozen and overloaded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from ehr_gateway.oauth.offline_tokens import issue_local_token
from tests.lib.ports import free_port

# Far longer than what is waited for takes; it is waited for no longer than it takes.
PATIENCE_S = 120
# The promise is ten seconds. A machine that does other things gets some more; a process that waits
# for its clients would take thirty, and one that waits for a frozen worker would never end.
END_SECONDS = 25


@dataclass
class Served:
    """A running server, and how a program asks it."""

    process: subprocess.Popen[str]
    base: str
    data: Path
    headers: dict[str, str]
    log: Path

    def get(self, path: str, timeout: float = PATIENCE_S) -> httpx.Response:
        """Send a GET on a connection of its own."""
        return httpx.get(f"{self.base}{path}", headers=self.headers, timeout=timeout)

    def timed_get(self, path: str) -> tuple[httpx.Response, float]:
        """Send a GET; return the answer and how long it took."""
        start = time.monotonic()
        response = self.get(path)
        return response, time.monotonic() - start

    def create(self, timeout: float = PATIENCE_S) -> httpx.Response:
        """Create an Organization."""
        body = {"resourceType": "Organization", "name": "Fault"}
        headers = {**self.headers, "Content-Type": "application/fhir+json"}
        return httpx.post(
            f"{self.base}/fhir/Organization", json=body, headers=headers, timeout=timeout
        )

    def children(self) -> list[int]:
        """Return the numbers of the server's worker processes."""
        listing = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in listing.split()]

    def logged(self) -> str:
        """Return what the server wrote to its standard error."""
        return self.log.read_text()


@contextmanager
def serving(
    data: Path,
    *options: str,
    database: str | None = None,
    log: Path | None = None,
    port: int | None = None,
) -> Iterator[Served]:
    """Serve a data folder until the block ends; the process is killed if it still runs then."""
    port = port or free_port()
    log = log or data.with_name(f"{data.name}.log")
    environment = {**os.environ, **({"EHR_DATABASE": database} if database else {})}
    command = [sys.executable, "-m", "ehr_cli.main", "up", "--new", "--data", str(data)]
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*command, "--port", str(port), *options],
            stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment,
            start_new_session=True,
        )  # fmt: skip
    assert process.stdout is not None
    try:
        assert "ready" in process.stdout.readline(), log.read_text()
        token = issue_local_token(
            data, client="faults", scope="system/*.cruds", database_url=database
        )
        headers = {"Authorization": f"Bearer {token}"}
        yield Served(process, f"http://127.0.0.1:{port}", data, headers, log)
    finally:
        try:
            # With all of its workers, frozen or not.
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.communicate(timeout=PATIENCE_S)


def is_alive(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def wait_for_end(pid: int) -> bool:
    """Wait until a process has ended; return whether it did."""
    until = time.monotonic() + PATIENCE_S
    while is_alive(pid):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True
