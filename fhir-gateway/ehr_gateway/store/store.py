"""The store: the records of one installation in an SQLite file or a PostgreSQL database.

It lends connections and transactions; what is done with them is in `writing.py` and
`interactions/`.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from ehr_gateway.database import (
    Connection,
    Dialect,
    Row,
    SqliteDatabase,
    open_database,
)
from ehr_gateway.schema.revision import open_schema
from ehr_gateway.store import relabel
from ehr_gateway.store.epoch import StoreEpoch, ensure_epoch, load_epoch
from ehr_gateway.store.parameter_ids import read_parameter_ids, register_parameters
from ehr_gateway.store.search_registry import SearchRegistry, load_registry

__all__ = ["AuditHook", "FeedEntry", "Store", "Version"]


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
    def from_row(cls, row: Row) -> Version:
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
AuditHook = Callable[[Connection, Sequence[Version]], None]


class Store:
    """The records of one installation; safe to share between threads."""

    def __init__(self, place: Path | str, folder: Path | None = None) -> None:
        """Open an SQLite file or the database of a PostgreSQL URL.

        `folder` is for files of a load under way; beside the SQLite file unless it is given.
        """
        self.database = open_database(place)
        beside = place.parent if isinstance(place, Path) else Path(tempfile.gettempdir())
        self.folder = folder or beside
        self._registry: SearchRegistry | None = None
        try:
            open_schema(self.database)
        except BaseException:
            # Refused: an upgrade would find it in use as long as this were open.
            self.database.close()
            raise
        with self.write_transaction() as connection:
            register_parameters(connection)
            relabel.mark_empty_store_labelled(connection)
            ensure_epoch(connection)
            connection.execute(
                "INSERT INTO setting VALUES ('cursor-key', ?) ON CONFLICT DO NOTHING",
                (secrets.token_bytes(32),),
            )
        with self.read_transaction() as connection:
            self.parameter_ids = read_parameter_ids(connection)
            row = connection.execute("SELECT value FROM setting WHERE name = 'cursor-key'")
            self.cursor_key: bytes = row.fetchone()["value"]

    def epoch(self) -> StoreEpoch:
        """Return which store this is and which past it continues."""
        with self.read_transaction() as connection:
            return load_epoch(connection)

    def registry(self, connection: Connection) -> SearchRegistry:
        """Return the search parameters as a transaction sees them, added ones included."""
        # Returned as it was looked up: another thread may put its own in the place meanwhile.
        self._registry = found = load_registry(connection, self._registry, self.parameter_ids)
        return found

    @property
    def embedded(self) -> SqliteDatabase | None:
        """Return the database where it is a file of ours: no network lies before an answer."""
        return self.database if isinstance(self.database, SqliteDatabase) else None

    @property
    def dialect(self) -> Dialect:
        """Which SQL the database speaks."""
        return self.database.dialect

    def read_transaction(
        self, *, single_statement: bool = False
    ) -> AbstractContextManager[Connection]:
        """Lend a connection that sees one unchanging state of the store; `once` for one look."""
        return self.database.read_transaction(single_statement=single_statement)

    def write_transaction(self) -> AbstractContextManager[Connection]:
        """Lend the writer's connection inside one transaction: all of it is kept, or nothing."""
        return self.database.write_transaction()

    def feed(self, after: int, limit: int) -> Iterator[FeedEntry]:
        """Yield the changes after a position, oldest first; for the lake, not for a person."""
        with self.read_transaction() as connection:
            rows = connection.execute(
                "SELECT * FROM resource WHERE pk > :after ORDER BY pk LIMIT :limit",
                {"after": after, "limit": limit},
            ).fetchall()
        if self.embedded is not None:
            # What the lake has seen must never be lost here: its position would be given again.
            self.embedded.flush()
        for row in rows:
            yield FeedEntry(row["pk"], Version.from_row(row), row["author"])

    def close(self) -> None:
        """Close every connection that is not lent."""
        self.database.close()
