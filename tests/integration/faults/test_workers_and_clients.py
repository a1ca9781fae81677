"""Workers that freeze, parents that are killed, and clients that stand still."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.faults.server import (
    END_SECONDS,
    PATIENCE_S,
    Served,
    serving,
    wait_for_end,
)

READ = "/fhir/Organization/ehr-commons"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve a folder by two workers; the last test ends it."""
    with serving(tmp_path_factory.mktemp("workers") / "data", "--workers", "2") as one:
        yield one


def turn_holder(data: Path) -> int | None:
    """Return the process that has the writer's turn, as the kernel lists it."""
    inode = (data / "ehr.db-writer").stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        # A waiting one has an arrow in the second place.
        if words[1] == "FLOCK" and words[5].endswith(f":{inode}"):
            return int(words[4])
    return None


def freeze_writer(served: Served) -> int:
    """Freeze a worker in the middle of a long write; return its number."""
    entries = [
        {
            "request": {"method": "POST", "url": "Organization"},
            "resource": {"resourceType": "Organization", "name": f"Fault {number}"},
        }
        for number in range(2000)
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    headers = {**served.headers, "Content-Type": "application/fhir+json"}

    def write() -> None:
        with suppress(httpx.HTTPError):
            httpx.post(f"{served.base}/fhir", json=bundle, headers=headers, timeout=PATIENCE_S)

    threading.Thread(target=write, daemon=True).start()
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        holder = turn_holder(served.data)
        # Shorter turns are those of the audit log and the journal.
        time.sleep(0.1)
        if holder is not None and turn_holder(served.data) == holder:
            os.kill(holder, signal.SIGSTOP)
            if turn_holder(served.data) == holder:
                return holder
            os.kill(holder, signal.SIGCONT)
    raise AssertionError("no worker was caught with the turn")


def answered(ask: Any) -> bool:
    try:
        return bool(ask().status_code in (200, 201))
    except httpx.HTTPError:
        return False


def test_a_frozen_worker_is_replaced_and_its_turn_taken_back(served: Served) -> None:
    frozen = freeze_writer(served)
    until = time.monotonic() + PATIENCE_S
    # Requests that meet the frozen worker are given up: the other one is to answer.
    while not (answered(lambda: served.create(timeout=5)) and frozen not in served.children()):
        assert time.monotonic() < until, served.logged()

    assert "no sign of life" in served.logged()
    # Some wait for the worker in its place, which on a busy machine takes its time to start.
    assert all(answered(lambda: served.get(READ)) for _ in range(20))


@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--workers", "2") as served:
        workers = served.children()
        os.kill(served.process.pid, signal.SIGKILL)

        assert all(wait_for_end(worker) for worker in workers)


@pytest.mark.slow
def test_a_whole_server_that_stood_still_kills_no_worker(served: Served) -> None:
    workers = served.children()
    everybody = [served.process.pid, *workers]
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(6)
    for pid in everybody:
        os.kill(pid, signal.SIGCONT)
    time.sleep(1)

    assert served.get(READ).status_code == 200
    assert served.children() == workers


def test_it_ends_soon_whatever_its_clients_and_workers_do(served: Served) -> None:
    port = int(served.base.rpartition(":")[2])
    half = b"POST /fhir/Patient HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
    half += f"Authorization: {served.headers['Authorization']}\r\n".encode()
    half += b"Content-Type: application/fhir+json\r\n\r\n{"
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
    for number, client in enumerate(clients):
        client.sendall(half if number % 2 else half[:20])
    os.kill(served.children()[0], signal.SIGSTOP)
    workers = served.children()

    served.process.send_signal(signal.SIGTERM)

    served.process.wait(END_SECONDS)
    assert all(wait_for_end(worker) for worker in workers)
    for client in clients:
        client.close()
