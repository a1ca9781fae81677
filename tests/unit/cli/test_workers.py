"""Worker processes are replaced when they end, and end with the one that began them."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lib.ports import free_port

PROGRAM = """
import os, signal, sys
from ehr_cli.server.workers import serve_with_workers

port, count, slow = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

def serve(listening, beat):
    if slow and not os.path.exists(slow):
        open(slow, "x").close()
        signal.pause()
    listening.listen()
    while True:
        connection, _ = listening.accept()
        connection.sendall(str(os.getpid()).encode())
        connection.close()

serve_with_workers(count, ("127.0.0.1", port), serve, lambda: print("begun", flush=True))
"""
PATIENCE_S = 120


@contextmanager
def workers(count: int, slow: str = "") -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run workers; the first of them to find no file of the name `slow` never begins to answer."""
    port = free_port()
    command = [sys.executable, "-c", PROGRAM, str(port), str(count), slow]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "begun\n"
        yield process, port
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_S)


def answers(port: int) -> int:
    """Return the process that answers; it may still be on its way."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
                return int(connection.recv(100))
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise


def answered_by(port: int, count: int) -> set[int]:
    """Ask until so many processes have answered."""
    found: set[int] = set()
    end = time.monotonic() + PATIENCE_S
    while len(found) < count and time.monotonic() < end:
        found.add(answers(port))
    return found


def has_ended(pid: int) -> bool:
    """Wait for a process to end that is not a child of this one."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        ending = select.poll()
        ending.register(watched, select.POLLIN)
        return bool(ending.poll(PATIENCE_S * 1000))
    finally:
        os.close(watched)


def test_each_of_several_workers_answers() -> None:
    with workers(2) as (_, port):
        assert len(answered_by(port, 2)) == 2


def test_nobody_waits_for_one_that_is_on_its_way(tmp_path: Path) -> None:
    with workers(2, slow=str(tmp_path / "slow")) as (_, port):
        assert len({answers(port) for _ in range(50)}) == 1


def test_one_that_is_killed_is_replaced() -> None:
    with workers(1) as (_, port):
        first = answers(port)
        os.kill(first, signal.SIGKILL)
        # Until it is gone it may take a connection, and drop it.
        assert has_ended(first)

        assert answers(port) != first


def test_all_end_when_the_first_is_told_to() -> None:
    with workers(2) as (process, port):
        found = answered_by(port, 2)
        process.terminate()

        assert process.wait(PATIENCE_S) == 0
        assert all(map(has_ended, found))


def test_none_outlives_the_process_that_began_it() -> None:
    with workers(1) as (process, port):
        worker = answers(port)
        process.kill()

        assert has_ended(worker)
