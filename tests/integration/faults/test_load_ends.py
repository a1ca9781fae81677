"""A load that is told to end cleans up; what a killed one leaves is named and cleared."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.faults.server import PATIENCE_S, wait_for_end
from tests.integration.faults.test_disk import ehr, write_organizations


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file whose load takes some seconds."""
    file = tmp_path / "organizations.ndjson"
    write_organizations(file, 5_000, 500)
    return file


def start_load(file: Path, data: Path) -> subprocess.Popen[str]:
    """Start a load and wait until its processes are at work."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ehr_cli.main", "load", str(file), "--data", str(data)],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    until = time.monotonic() + PATIENCE_S
    while not list(data.glob("load-*/*.spool")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    return process


def descendants(pid: int) -> list[int]:
    """Return the processes below one, its pool's server included."""
    try:
        listing = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    children = [int(child) for child in listing.split()]
    return [*children, *(below for child in children for below in descendants(child))]


def test_sigterm_ends_a_load_as_ctrl_c_does(file: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    process = start_load(file, data)
    workers = descendants(process.pid)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 143, output
    assert "Traceback" not in output[1]
    assert not list(data.glob("load-*"))
    assert workers
    assert all(wait_for_end(worker) for worker in workers)


def test_what_a_killed_load_leaves_is_named_and_cleared(file: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    process = start_load(file, data)
    workers = descendants(process.pid)
    process.kill()
    process.communicate()

    assert all(wait_for_end(worker) for worker in workers)
    (left,) = data.glob("load-*")
    assert f"PROBLEM leftovers: {left.name}" in ehr("doctor", "--data", data).stdout

    small = tmp_path / "small.ndjson"
    write_organizations(small, 1, 10)
    assert ehr("load", small, "--data", data).exit_code == 0
    assert not list(data.glob("load-*"))
    assert "ok      leftovers: none" in ehr("doctor", "--data", data).stdout


@pytest.mark.slow
def test_a_load_that_runs_is_no_leftover(file: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    process = start_load(file, data)
    try:
        (running,) = data.glob("load-*")
        small = tmp_path / "small.ndjson"
        write_organizations(small, 1, 10)

        assert ehr("load", small, "--data", data).exit_code == 0
        assert running.exists() or process.poll() is not None
    finally:
        process.kill()
        process.communicate()
