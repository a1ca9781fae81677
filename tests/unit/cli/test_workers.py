"""Worker processes are replaced when they end, and end with the one that began them."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PROGRAM = """
import os, sys
from ehr_cli.workers import serve_with_workers

def serve(listening):
    while True:
        connection, _ = listening.accept()
        connection.sendall(str(os.getpid()).encode())
        connection.close()

port, count = map(int, sys.argv[1:])
serve_with_workers(count, ("127.0.0.1", port), serve, lambda: print("begun", flush=True))
"""
PATIENCE_S = 20


@contextmanager
def workers(count: int) -> Iterator[tuple[subprocess.Popen[str], int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-c", PROGRAM, str(port), str(count)]
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
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        return int(connection.recv(100))


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
        found = {answers(port) for _ in range(200)}

    assert len(found) == 2


def test_one_that_is_killed_is_replaced() -> None:
    with workers(1) as (_, port):
        first = answers(port)
        os.kill(first, signal.SIGKILL)
        second = answers(port)

        assert second != first


def test_all_end_when_the_first_is_told_to() -> None:
    with workers(2) as (process, port):
        found = {answers(port) for _ in range(200)}
        process.terminate()

        assert process.wait(PATIENCE_S) == 0
        assert all(map(has_ended, found))


def test_none_outlives_the_process_that_began_it() -> None:
    with workers(1) as (process, port):
        worker = answers(port)
        process.kill()

        assert has_ended(worker)
