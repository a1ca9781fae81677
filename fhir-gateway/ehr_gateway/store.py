"""The store: one SQLite file in WAL mode, one writer, pooled readers.

It lends connections and transactions; what is done with them is in `writing.py` and
`interactions/`.
"""

from __future__ import annotations

import queue
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ehr_fhir import definitions
from ehr_fhir.errors import Unavailable
from ehr_fhir.index import indexed
from ehr_gateway import schema

__all__ = ["AuditHook", "FeedEntry", "Store", "Version"]

_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    # In WAL mode this may lose the last commits in a power cut, never the file's consistency.
    "PRAGMA synchronous = NORMAL",
    "PRAGMA busy_timeout = 30000",
    "PRAGMA cache_size = -65536",
    "PRAGMA mmap_size = 1073741824",
    "PRAGMA temp_store = MEMORY",
)
_MOST_READERS = 32


@dataclass(frozen=True)
class Version:
    """One version of a resource, with the bytes that are served."""

    pk: int
    type: str
    id: str
    version: int
    last_updated_ms: int
    deleted: bool
    body: bytes
    method: str = "PUT"
    # The organisation whose record it is.
    author: str | None = None

    @classmethod
    def of(cls, row: sqlite3.Row) -> Version:
        """Build a version from a row of `resource`."""
        return cls(
            row["pk"], row["type"], row["id"], row["version"], row["last_updated"],
            bool(row["deleted"]), row["body"], row["method"], row["author"],
        )  # fmt: skip


@dataclass(frozen=True)
class FeedEntry:
    """One change, in the order of commit."""

    position: int
    version: Version
    author: str | None


# Called inside a write's transaction just before its commit, with what it wrote.
AuditHook = Callable[[sqlite3.Connection, Sequence[Version]], None]


class Store:
    """The records of one installation; safe to share between threads."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = threading.Lock()
        self._readers: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue(_MOST_READERS)
        self._writer = self._connect()
        with self.writing() as connection:
            for statement in schema.statements():
                connection.execute(statement)
            _register_parameters(connection)
            connection.execute(
                "INSERT OR IGNORE INTO setting VALUES ('cursor-key', ?)", (secrets.token_bytes(32),)
            )
        with self.reading() as connection:
            self.parameter_ids = _parameter_ids(connection)
            row = connection.execute("SELECT value FROM setting WHERE name = 'cursor-key'")
            self.cursor_key: bytes = row.fetchone()["value"]

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that sees one unchanging state of the store."""
        try:
            connection = self._readers.get_nowait()
        except queue.Empty:
            connection = self._connect()
        try:
            connection.execute("BEGIN")
            yield connection
        finally:
            connection.execute("ROLLBACK")
            try:
                self._readers.put_nowait(connection)
            except queue.Full:
                connection.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Lend the writer's connection inside one transaction: all of it is kept, or nothing."""
        with self._lock:
            connection = self._writer
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                raise Unavailable("The store is busy with a long write. Try again.") from None
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def feed(self, after: int, limit: int) -> Iterator[FeedEntry]:
        """Yield the changes after a position, oldest first; for the lake, not for a person."""
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT * FROM resource WHERE pk > :after ORDER BY pk LIMIT :limit",
                {"after": after, "limit": limit},
            ).fetchall()
        for row in rows:
            yield FeedEntry(row["pk"], Version.of(row), row["author"])

    def close(self) -> None:
        """Close every connection that is not lent."""
        while not self._readers.empty():
            self._readers.get_nowait().close()
        self._writer.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        connection.row_factory = sqlite3.Row
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        return connection


def _register_parameters(connection: sqlite3.Connection) -> None:
    known = _parameter_ids(connection)
    wanted = (
        (kind, parameter.code)
        for kind in sorted(definitions.resource_types())
        for parameter in indexed(kind)
    )
    # Ids once given stay: new parameters are added at the end.
    missing = [
        (len(known) + 1 + n, *pair) for n, pair in enumerate(p for p in wanted if p not in known)
    ]
    connection.executemany("INSERT INTO search_parameter VALUES (?, ?, ?)", missing)


def _parameter_ids(connection: sqlite3.Connection) -> Mapping[tuple[str, str], int]:
    rows: Sequence[Any] = connection.execute("SELECT * FROM search_parameter").fetchall()
    return {(row["type"], row["code"]): row["param"] for row in rows}
