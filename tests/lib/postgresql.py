"""A PostgreSQL server of the tests' own, reached through a socket in a temporary folder."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

# Nothing of a test outlives it, so nothing waits for the disk.
_OPTIONS = (
    "listen_addresses=''",
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    # Small: whenever a database is made or dropped, the server goes through all of them.
    "shared_buffers=32MB",
    "max_connections=200",
    "autovacuum=off",
)


class Cluster:
    """A server; each database in it is one test's."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._folder = folder
        self._programs = programs
        self._numbers = itertools.count(1)
        self._server: subprocess.Popen[bytes] | None = None
        self._operator: psycopg.Connection | None = None

    @property
    def pid(self) -> int:
        """Return the number of the server's first process."""
        assert self._server is not None
        return self._server.pid

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = [word for one in (*_OPTIONS, f"unix_socket_directories='{self._folder}'")
                   for word in ("-c", one.replace("'", ""))]  # fmt: skip
        self._server = subprocess.Popen(
            [self._programs / "postgres", "-D", self._folder / "data", *options],
            user=_user(), cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        _wait(self._programs, self._folder)

    def stop(self) -> None:
        """Stop the server as its operator would, at once: connections are closed."""
        assert self._server is not None
        if self._operator is not None:
            self._operator.close()
            self._operator = None
        self._server.send_signal(signal.SIGINT)
        self._server.wait(300)

    def url(self, name: str = "postgres") -> str:
        """Return the address of a database."""
        return f"postgresql://postgres@/{name}?host={self._folder}"

    def create(self, *, template: str = "template1") -> str:
        """Make a database, empty or a copy of another, and return its name."""
        name = f"test_{next(self._numbers)}"
        self._run(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
        return name

    def drop(self, name: str) -> None:
        """Remove a database, whoever is still connected to it."""
        self._run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    @contextmanager
    def database(self, *, template: str = "template1") -> Iterator[str]:
        """Lend the address of a database of its own."""
        name = self.create(template=template)
        try:
            yield self.url(name)
        finally:
            self.drop(name)

    def _run(self, statement: str) -> None:
        # One connection for all, as each would be a process of the server's.
        if self._operator is None:
            self._operator = psycopg.connect(self.url(), autocommit=True)
        self._operator.execute(statement)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    """Start a server for the whole run, or skip where PostgreSQL is not installed."""
    with running_cluster() as cluster:
        yield cluster


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Start a server, or skip where PostgreSQL is not installed."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: run cli/setup/postgresql.sh")
    # Not pytest's own folder: the server's user must reach it. In memory where there is room.
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2**31
    folder = Path(tempfile.mkdtemp(prefix="ehr-pg-", dir=memory if roomy else None))
    user = _user()
    if user:
        shutil.chown(folder, user)
    initialize: list[str | Path] = [programs / "initdb", "-D", folder / "data", "-U", "postgres"]
    subprocess.run(
        [*initialize, "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"],
        user=user, check=True, capture_output=True, cwd=folder,
    )  # fmt: skip
    cluster = Cluster(folder, programs)
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _user() -> str | None:
    """Return the account that the server runs as: it refuses to run as root."""
    return "postgres" if os.geteuid() == 0 else None


def _programs() -> Path | None:
    """Return the folder of the server's programs, which is often not on the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if on_path:
        found.append(Path(on_path).resolve())
    return found[-1].parent if found else None


def _wait(programs: Path, folder: Path) -> None:
    ready: list[str | Path] = [programs / "pg_isready", "-h", folder, "-t", "1"]
    for _ in range(2000):  # each try takes some milliseconds
        if subprocess.run(ready, capture_output=True, check=False).returncode == 0:
            return
    pytest.fail("PostgreSQL did not start")
