"""An SQLite file opened for reading alone, where nothing can be written: an auditor's copy.

SQLite reads a file in WAL mode only with its log's index beside it, which it makes. Where it
cannot, the file is read as one that never changes; if there is a log beside it, which SQLite would
then leave out, file and log are copied to where the index can be made.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from ehr_fhir.errors import Unavailable
from ehr_gateway.database.connection import Database, Dialect, RedoJournal
from ehr_gateway.database.postgresql import PostgresqlDatabase
from ehr_gateway.database.sqlite import SqliteConnection
from ehr_gateway.database.sqlite_errors import translate_error
from ehr_gateway.incidents import Incidents

__all__ = ["SqliteReader", "open_for_reading", "readable_place"]


class SqliteReader:
    """One SQLite file that this process does not write."""

    dialect: Dialect = "sqlite"
    journal: RedoJournal | None = None

    def __init__(self, path: Path) -> None:
        self.incidents = Incidents()
        self._connection = _connect(path, "mode=ro") or _connect(path, "immutable=1")
        if self._connection is None:
            raise Unavailable(f"The database {path} cannot be read.")

    @contextmanager
    def read_transaction(self, *, single_statement: bool = False) -> Iterator[SqliteConnection]:
        """Lend the connection; for one thread."""
        assert self._connection is not None  # noqa: S101 - opened above
        self._connection.execute("BEGIN")
        try:
            yield self._connection
        except sqlite3.OperationalError as error:
            raise translate_error(error, self.incidents) from error
        finally:
            self._connection.execute("ROLLBACK")

    @contextmanager
    def write_transaction(self) -> Iterator[SqliteConnection]:
        """Refuse to write."""
        raise Unavailable("The database is opened for reading alone.")
        yield  # a generator, which never comes here

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()


def open_for_reading(location: Path | str) -> Database:
    """Open an SQLite file, or the PostgreSQL database of a URL, without writing anything."""
    return SqliteReader(location) if isinstance(location, Path) else PostgresqlDatabase(location)


@contextmanager
def readable_place(location: Path | str) -> Iterator[Path | str]:
    """Return where a database can be read whole: where it is, or in a copy of its own.

    A copy is made of a file with a log in a folder that cannot be written. It is removed in the
    end.
    """
    if not isinstance(location, Path) or not _needs_copy(location):
        yield location
        return
    with tempfile.TemporaryDirectory(prefix="ehr-reading-") as folder:
        copy = Path(folder) / location.name
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{location}{suffix}", f"{copy}{suffix}")
        yield copy


def _needs_copy(path: Path) -> bool:
    log = Path(f"{path}-wal")
    if not log.exists() or not log.stat().st_size:
        return False
    connection = _connect(path, "mode=ro")
    if connection is None:
        return True
    connection.close()
    return False


def _connect(path: Path, option: str) -> SqliteConnection | None:
    """Return a connection, None if the file cannot be read so."""
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(path.absolute()))}?{option}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            factory=SqliteConnection,
        )
    except sqlite3.OperationalError:
        return None
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        return None
    return connection
