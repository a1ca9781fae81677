"""Consistent copies of databases that are in use: SQLite's online backup, PostgreSQL's pg_dump."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ehr_fhir.errors import Unavailable
from ehr_gateway.journal.journal import HEAD_SETTING, parse_journal_head

__all__ = ["StoreFacts", "copy_sqlite", "dump_postgresql", "is_sqlite", "load_postgresql"]

_MAGIC = b"SQLite format 3\0"
_SELECT_FACTS = (
    "SELECT (SELECT value FROM setting WHERE name = 'store-id'),"  # noqa: S608 constant name
    " (SELECT value FROM setting WHERE name = 'epoch'),"
    " (SELECT coalesce(max(pk), 0) FROM resource), (SELECT coalesce(max(seq), 0) FROM audit),"
    f" (SELECT value FROM setting WHERE name = '{HEAD_SETTING}')"
)


@dataclass(frozen=True)
class StoreFacts:
    """What a copy of the store says of itself."""

    store: str
    epoch: str
    position: int
    audit_size: int
    # The last entry of the journal that it has.
    journal_number: int


def is_sqlite(path: Path) -> bool:
    """Say whether a file is an SQLite database."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


@contextmanager
def copy_sqlite(path: Path, scratch: Path) -> Iterator[Path]:
    """Lend a copy of a database as it is at one instant; it is removed afterwards.

    One step in one read transaction: writers go on, and none of them makes it begin anew.
    """
    scratch.mkdir(mode=0o700, exist_ok=True)
    copy = scratch / "copy.db"
    copy.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(path, timeout=30)) as source:
            with closing(sqlite3.connect(copy)) as target:
                copy.chmod(0o600)
                source.backup(target)
        yield copy
    except sqlite3.Error as error:
        raise Unavailable(f"The database {path.name} could not be copied: {error}.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def read_sqlite_facts(copy: Path) -> StoreFacts:
    """Read what a copy of the store says of itself."""
    with closing(sqlite3.connect(copy)) as connection:
        return _parse_facts(connection.execute(_SELECT_FACTS).fetchone())


@contextmanager
def dump_postgresql(url: str) -> Iterator[tuple[IO[bytes], StoreFacts]]:
    """Lend the output of pg_dump and what the store says of itself, of one and the same snapshot.

    Raises Unavailable at the end when pg_dump failed.
    """
    with psycopg.connect(url) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        snapshot = connection.execute("SELECT pg_export_snapshot()").fetchone()
        row = connection.execute(_SELECT_FACTS).fetchone()
        if snapshot is None or row is None:
            raise Unavailable("The database could not be copied: it gave no snapshot.")
        # Not compressed by pg_dump: the pieces are.
        options = ["--format=custom", "--compress=0", "--no-owner", "--no-privileges"]
        process = _start_program(
            ["pg_dump", *options, f"--snapshot={snapshot[0]}"], url, subprocess.PIPE
        )
        try:
            assert process.stdout is not None  # noqa: S101 - asked for
            yield process.stdout, _parse_facts(row)
        finally:
            failed = _wait_for_program(process)
    if failed:
        raise Unavailable(f"pg_dump failed: {failed}")


def load_postgresql(dump: Path, url: str) -> None:
    """Fill an empty database from a dump, in one transaction."""
    options = ["--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error"]
    process = _start_program(
        ["pg_restore", *options, f"--dbname={_database_conninfo(url)}", str(dump)], url, None
    )
    if failed := _wait_for_program(process):
        raise Unavailable(f"pg_restore failed: {failed}")


def _start_program(command: list[str], url: str, output: int | None) -> subprocess.Popen[bytes]:
    # By the environment: what stands on a command line every user of the machine can read.
    values = {key: str(value) for key, value in conninfo_to_dict(url).items()}
    names = {"user": "PGUSER", "password": "PGPASSWORD", "host": "PGHOST", "port": "PGPORT",
             "dbname": "PGDATABASE", "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT",
             "options": "PGOPTIONS"}  # fmt: skip
    environment = {names[key]: value for key, value in values.items() if key in names}
    try:
        return subprocess.Popen(  # noqa: S603 - a fixed program, and a snapshot's name
            command, stdout=output, stderr=subprocess.PIPE, env={**os.environ, **environment}
        )
    except FileNotFoundError as error:
        raise Unavailable(f"{command[0]} is needed: install PostgreSQL's client.") from error


def _wait_for_program(process: subprocess.Popen[bytes]) -> str:
    """Wait for a program to end; return what it complained of, empty when it succeeded."""
    if process.stdout is not None:
        process.stdout.close()
    assert process.stderr is not None  # noqa: S101 - asked for
    said = process.stderr.read().decode("utf-8", "replace").strip()
    process.stderr.close()
    return (said.splitlines() or [f"status {process.returncode}"])[-1] if process.wait() else ""


def _database_conninfo(url: str) -> str:
    return make_conninfo(dbname=conninfo_to_dict(url).get("dbname") or "")


def _parse_facts(row: tuple[bytes | None, bytes | None, int, int, bytes | None]) -> StoreFacts:
    store, epoch, position, audit_size, head = row
    # None of them is there in a database of a version from before epochs.
    return StoreFacts(
        bytes(store or b"").decode(),
        bytes(epoch or b"").decode(),
        position,
        audit_size,
        parse_journal_head(bytes(head)).number if head else 0,
    )
