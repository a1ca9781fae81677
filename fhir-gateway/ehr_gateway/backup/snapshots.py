"""Consistent snapshots of databases in use: SQLite's online backup API, PostgreSQL's pg_dump."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, LiteralString

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ehr_fhir.errors import Unavailable
from ehr_gateway.journal.journal import HEAD_SETTING, parse_journal_head

__all__ = ["StoreFacts", "copy_sqlite", "dump_postgresql", "is_sqlite", "load_postgresql"]

# The first bytes of every SQLite file.
_MAGIC = b"SQLite format 3\0"
_SELECT_FACTS = (
    "SELECT (SELECT value FROM setting WHERE name = 'store-id'),"  # noqa: S608 constant name
    " (SELECT value FROM setting WHERE name = 'epoch'),"
    " (SELECT coalesce(max({position}), 0) FROM resource),"
    " (SELECT coalesce(max(seq), 0) FROM audit),"
    f" (SELECT value FROM setting WHERE name = '{HEAD_SETTING}')"
)
# Before revision 0010 the key of a row was its position.
_HAS_POSITIONS = {
    "sqlite": "SELECT 1 FROM pragma_table_info('resource') WHERE name = 'position'",
    "postgresql": "SELECT 1 FROM pg_attribute WHERE attname = 'position'"
    " AND attrelid = to_regclass('resource')",
}


@dataclass(frozen=True)
class StoreFacts:
    """Identity and positions of the store in a snapshot."""

    # The store's id and epoch; empty in a database from before there were epochs.
    store: str
    epoch: str
    # The last position of the change feed.
    position: int
    # The number of events in the audit log.
    audit_size: int
    # The newest journal entry that the store includes.
    journal_number: int


def is_sqlite(path: Path) -> bool:
    """Say whether a file is an SQLite database, by its first bytes."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


@contextmanager
def copy_sqlite(path: Path, scratch: Path) -> Iterator[Path]:
    """Yield a consistent copy of an SQLite database, deleted afterwards.

    All pages are copied in one step, under one read transaction. Writers are not blocked, and their
    commits do not make the copy start again, as they do when it is made in several steps.
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
    """Read the store's identity and positions from a copy."""
    with closing(sqlite3.connect(copy)) as connection:
        has_positions = connection.execute(_HAS_POSITIONS["sqlite"]).fetchone()
        return _parse_facts(connection.execute(_select_facts(has_positions)).fetchone())


@contextmanager
def dump_postgresql(url: str) -> Iterator[tuple[IO[bytes], StoreFacts]]:
    """Yield the output of pg_dump, and the store's facts as of the same snapshot.

    Raises Unavailable on leaving the context if pg_dump failed.
    """
    with psycopg.connect(url) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        snapshot = connection.execute("SELECT pg_export_snapshot()").fetchone()
        has_positions = connection.execute(_HAS_POSITIONS["postgresql"]).fetchone()
        row = connection.execute(_select_facts(has_positions)).fetchone()
        if snapshot is None or row is None:
            raise Unavailable("The database could not be copied: it gave no snapshot.")
        # Without compression: the pieces are compressed.
        options = ["--format=custom", "--compress=0", "--no-owner", "--no-privileges"]
        process = _start_program(
            ["pg_dump", *options, f"--snapshot={snapshot[0]}"], url, subprocess.PIPE
        )
        try:
            assert process.stdout is not None  # noqa: S101 - asked for
            yield process.stdout, _parse_facts(row)
        finally:
            failure = _wait_for_program(process)
    if failure:
        raise Unavailable(f"pg_dump failed: {failure}")


def load_postgresql(dump: Path, url: str) -> None:
    """Restore a dump into an empty database, in one transaction."""
    options = ["--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error"]
    process = _start_program(
        ["pg_restore", *options, f"--dbname={_database_conninfo(url)}", str(dump)], url, None
    )
    if failure := _wait_for_program(process):
        raise Unavailable(f"pg_restore failed: {failure}")


def _start_program(command: list[str], url: str, output: int | None) -> subprocess.Popen[bytes]:
    # In the environment, since every user of the machine can read a command line.
    parameters = {key: str(value) for key, value in conninfo_to_dict(url).items()}
    variables = {"user": "PGUSER", "password": "PGPASSWORD", "host": "PGHOST", "port": "PGPORT",
             "dbname": "PGDATABASE", "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT",
             "options": "PGOPTIONS"}  # fmt: skip
    environment = {variables[key]: value for key, value in parameters.items() if key in variables}
    try:
        return subprocess.Popen(  # noqa: S603 - a fixed program, and a snapshot's name
            command, stdout=output, stderr=subprocess.PIPE, env={**os.environ, **environment}
        )
    except FileNotFoundError as error:
        raise Unavailable(f"{command[0]} is needed: install PostgreSQL's client.") from error


def _wait_for_program(process: subprocess.Popen[bytes]) -> str:
    """Wait for a program to end; return the last line of its errors, empty if it succeeded."""
    if process.stdout is not None:
        process.stdout.close()
    assert process.stderr is not None  # noqa: S101 - asked for
    errors = process.stderr.read().decode("utf-8", "replace").strip()
    process.stderr.close()
    return (errors.splitlines() or [f"status {process.returncode}"])[-1] if process.wait() else ""


def _database_conninfo(url: str) -> str:
    return make_conninfo(dbname=conninfo_to_dict(url).get("dbname") or "")


def _select_facts(has_positions: object) -> LiteralString:
    return _SELECT_FACTS.format(position="position" if has_positions else "pk")


def _parse_facts(row: tuple[bytes | None, bytes | None, int, int, bytes | None]) -> StoreFacts:
    store, epoch, position, audit_size, head = row
    # A database of a version from before epochs and the journal has none of the three settings.
    return StoreFacts(
        bytes(store or b"").decode(),
        bytes(epoch or b"").decode(),
        position,
        audit_size,
        parse_journal_head(bytes(head)).number if head else 0,
    )
