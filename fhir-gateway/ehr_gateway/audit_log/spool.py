"""Spool of audit rows: append-only files of this host, written before a response leaves.

A commit to the database for each read would make every reader reload its pages, and on PostgreSQL
wait for the writer. So each process appends the rows of its reads to a file of its own. About once
a second, and before anybody reads the log, the files are flushed into the database.

A file outlives its process, and its rows enter the log exactly once wherever a process dies: a
closed file does not change, and is deleted only when its rows are on the database's disk.

Why our own: a queue of the standard library dies with its process, and one in a database would cost
the commit that the spool avoids (measured: docs/decisions/006).
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import orjson

from ehr_fhir.errors import Unavailable
from ehr_gateway.audit_log.append import RowValues, SealedRow, append_rows, seal_rows
from ehr_gateway.audit_log.counted_sets import store_set
from ehr_gateway.audit_log.listed_patients import carries_list, store_list
from ehr_gateway.database import ROW_REFUSED_ERRORS, Connection, Database
from ehr_gateway.file_lock import lock_file
from ehr_gateway.incidents import WRITES_REFUSED
from ehr_gateway.schema.audit_log import CONTENT_COLUMNS

__all__ = ["Spool"]

_LOG = logging.getLogger(__name__)
# A file is flushed in one transaction: at this size about ten milliseconds, so that other writers
# hardly wait.
_MAX_FILE_BYTES = 1 << 18
# The mode tells whether a file is open for appending or closed.
_OPEN, _CLOSED = 0o600, 0o400


class Spool:
    """The files of one data folder; several processes may share it."""

    def __init__(self, folder: Path, database: Database) -> None:
        self._folder = folder
        self._database = database
        self._file: int | None = None
        self._append_lock = threading.Lock()

    def append(self, rows: Sequence[RowValues]) -> None:
        """Append rows to this process's file; raise Unavailable, and append none, if that fails.

        When this returns the operating system has them, so they survive this process. The disk has
        them soon after.
        """
        lines = b"".join([orjson.dumps(row) + b"\n" for row in rows])
        with self._append_lock:
            try:
                while not self._try_append(lines):
                    # Another process has just closed the file, or is about to, to flush it.
                    self._close_file()
            except OSError as error:
                text = f"The audit log cannot be written ({os.strerror(error.errno or 0)})."
                self._database.incidents.begin(WRITES_REFUSED, text)
                raise Unavailable(f"{text} Nothing is shown.") from error

    def flush(self) -> None:
        """Flush the spooled rows of all processes into the database.

        Several threads and processes may do so at the same time, and none waits for another: the
        rows of a file enter the log once, whoever comes first.
        """
        for path in sorted(self._folder.glob("*.rows")):
            self._flush_file(path)

    def flush_if_idle(self) -> None:
        """Flush unless another process of the data folder is doing so: for timers."""
        if not self._folder.exists():
            return
        with (self._folder / "lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            self.flush()

    def _flush_file(self, path: Path) -> None:
        rows = _close_and_read(path)
        try:
            if rows:
                self._insert_rows(rows)
        except ROW_REFUSED_ERRORS as error:
            # Set aside for an operator, so that other files are flushed. Logged without the
            # error's text, which may contain values.
            with suppress(FileNotFoundError):
                path.rename(path.with_suffix(".refused"))
            _LOG.critical("The audit log refuses %s: %s", path.name, type(error).__name__)
        else:
            with suppress(FileNotFoundError):
                path.unlink()

    def close(self) -> None:
        """Close this process's spool file; another process will flush it."""
        with self._append_lock:
            self._close_file()

    def _try_append(self, lines: bytes) -> bool:
        file = self._file = self._file or self._create_file()
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        try:
            state = os.fstat(file)
            if state.st_mode & 0o777 == _CLOSED or not state.st_nlink:
                return False
            if os.write(file, lines) < len(lines):
                # The disk is full: remove the partial row.
                os.ftruncate(file, state.st_size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if state.st_size + len(lines) > _MAX_FILE_BYTES:
                os.fchmod(file, _CLOSED)
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
        return True

    def _create_file(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Names sort by the time of creation.
        path = self._folder / f"{time.time_ns():020}-{uuid.uuid4().hex}.rows"
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, _OPEN)

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _insert_rows(self, rows: Sequence[RowValues]) -> None:
        # Hash before the write transaction, which others wait for; a row that carries people
        # gets its digest inside.
        sealed_rows = [None if _has_members(row) else seal_rows([row])[0] for row in rows]
        with self._database.write_transaction() as connection:
            # A process that died between its commit and the deletion of the file leaves rows that
            # are in the log already.
            existing = connection.execute("SELECT 1 FROM audit WHERE id = ?", (rows[0][0],))
            if existing.fetchone() is None:
                complete: list[SealedRow] = [
                    sealed or seal_rows([_store_people(connection, row)])[0]
                    for row, sealed in zip(rows, sealed_rows, strict=True)
                ]
                append_rows(connection, complete)


def _close_and_read(path: Path) -> list[RowValues]:
    """Close a file, so that its process appends to a new one, and return its rows.

    None where another process has flushed it meanwhile.
    """
    try:
        with path.open("rb") as file:
            lock_file(file)
            os.fchmod(file.fileno(), _CLOSED)
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return []
    # A killed process may leave a partial last line. Its response never left.
    rows = [row for line in lines[:-1] if (row := _parse_row(line))]
    if len(rows) < len(lines) - 1:
        _LOG.critical("%s rows of the audit log were lost.", len(lines) - 1 - len(rows))
    return rows


def _parse_row(line: bytes) -> RowValues | None:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    is_complete = isinstance(row, list) and len(row) - len(CONTENT_COLUMNS) in (0, 1)
    return row if is_complete else None


def _has_members(row: RowValues) -> bool:
    """Say whether a row carries the people of a set or a list."""
    return len(row) > len(CONTENT_COLUMNS)


def _store_people(connection: Connection, row: RowValues) -> RowValues:
    """Store the people that a row carries; return the row that commits to them."""
    return store_list(connection, row) if carries_list(row) else store_set(connection, row)
