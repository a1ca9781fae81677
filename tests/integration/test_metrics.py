"""Any worker's `/metrics` tells what all of them served, and no count goes down."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.lib.ports import free_port

PATIENCE_S = 60


@contextmanager
def two_workers(data: Path) -> Iterator[tuple[str, int]]:
    """Serve with two workers; lend the address and the process that began them."""
    port = free_port()
    program = [sys.executable, "-m", "ehr_cli.main", "up", "--new", "--workers", "2"]
    process = subprocess.Popen(
        [*program, "--data", str(data), "--port", str(port)],
        cwd=data.parent,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert "is ready" in process.stdout.readline()
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_S)


def workers_of(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def served(base_url: str) -> int:
    """Return how often `/healthz` was answered, as one worker tells it; which, is chance."""
    while True:
        try:
            text = httpx.get(f"{base_url}/metrics", timeout=PATIENCE_S).text
        except httpx.TransportError:
            # A connection that a killed worker took with it.
            continue
        found = re.search(r'{method="GET",route="/healthz",status="200"} (\d+)', text)
        return int(found[1]) if found else 0


def ask(base_url: str, number: int) -> None:
    """Ask over a connection each, which the workers share."""
    for _ in range(number):
        assert httpx.get(f"{base_url}/healthz", timeout=PATIENCE_S).status_code == 200


def wait_for(base_url: str, number: int) -> None:
    """Wait until a worker tells a count; a request is counted just after it is answered."""
    end = time.monotonic() + PATIENCE_S
    while served(base_url) != number and time.monotonic() < end:
        time.sleep(0.05)


def test_each_worker_tells_the_sum_and_it_survives_a_worker(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with two_workers(data) as (base_url, parent):
        ask(base_url, 40)
        wait_for(base_url, 40)
        assert {served(base_url) for _ in range(20)} == {40}
        counted = [path.stat().st_size for path in (data / "metrics").glob("counter_*.db")]
        assert len(counted) == 2

        os.kill(workers_of(parent)[0], signal.SIGKILL)
        end = time.monotonic() + PATIENCE_S
        while len(workers_of(parent)) < 2 and time.monotonic() < end:
            time.sleep(0.05)
        assert served(base_url) >= 40
        ask_until_served(base_url, 10)
        wait_for(base_url, 50)
        assert {served(base_url) for _ in range(20)} == {50}

    with two_workers(data) as (base_url, _):
        assert served(base_url) == 0


def ask_until_served(base_url: str, number: int) -> None:
    """Ask so often that so many are answered, whatever a killed worker dropped."""
    answered = 0
    while answered < number:
        try:
            ask(base_url, 1)
        except httpx.TransportError:
            continue
        answered += 1
