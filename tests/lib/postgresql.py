"""A PostgreSQL server of the tests' own, reached through a socket in a temporary folder."""

from __future__ import annotations

import itertools
import os
import shutil
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
    "shared_buffers=128MB",
    "max_connections=200",
    "autovacuum=off",
)


class Cluster:
    """A running server; each database in it is one test's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)

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
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    """Start a server for the whole run, or skip where PostgreSQL is not installed."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: run cli/setup/postgresql.sh")
    # Not pytest's own folder: the server's user must reach it. In memory where there is room.
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2**31
    folder = Path(tempfile.mkdtemp(prefix="ehr-pg-", dir=memory if roomy else None))
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    data = folder / "data"
    initialize: list[str | Path] = [programs / "initdb", "-D", data, "-U", "postgres"]
    subprocess.run(
        [*initialize, "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"],
        user=user, check=True, capture_output=True, cwd=folder,
    )  # fmt: skip
    options = [word for one in (*_OPTIONS, f"unix_socket_directories='{folder}'")
               for word in ("-c", one.replace("'", ""))]  # fmt: skip
    server = subprocess.Popen(
        [programs / "postgres", "-D", data, *options],
        user=user, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait(programs, folder)
        yield Cluster(folder)
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


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
