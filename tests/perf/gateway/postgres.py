"""A PostgreSQL database for one measurement: on a server of its own, or on one that a URL names.

Its own server keeps PostgreSQL's defaults (it waits for the disk), but for a larger cache.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

__all__ = ["scratch_database"]

_CACHE = "shared_buffers=256MB"


@contextmanager
def scratch_database(where: str) -> Iterator[str]:
    """Lend the URL of an empty database; `where` is `postgresql`, or the URL of a server."""
    if where != "postgresql":
        with _database(where) as url:
            yield url
        return
    with tempfile.TemporaryDirectory(prefix="ehr-pg-") as folder, _server(Path(folder)) as url:
        yield url


@contextmanager
def _database(url: str) -> Iterator[str]:
    name = f"ehr_bench_{os.getpid()}"
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
    try:
        yield urlsplit(url)._replace(path=f"/{name}").geturl()
    finally:
        with psycopg.connect(url, autocommit=True) as server:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    programs = _programs()
    # PostgreSQL does not run as root.
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    data = folder / "data"
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--locale=C.UTF-8"],
        user=user,
        check=True,
        capture_output=True,
        cwd=folder,
    )
    listening = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}"]
    process = subprocess.Popen(
        [programs / "postgres", "-D", data, "-c", _CACHE, *listening],
        user=user,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"postgresql://postgres@/postgres?host={folder}"
    try:
        _wait(url)
        yield url
    finally:
        # The way that does not wait for who is still connected.
        process.send_signal(signal.SIGINT)
        process.wait()


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if on_path := shutil.which("initdb"):
        found.append(Path(on_path).resolve().parent)
    if not found:
        raise SystemExit("PostgreSQL is not installed.")
    return found[-1]


def _wait(url: str) -> None:
    for _ in range(200):
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("PostgreSQL did not start.")
