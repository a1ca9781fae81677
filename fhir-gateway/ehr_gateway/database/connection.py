"""Protocols of a database: connections that take one SQL text, read and write transactions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

from ehr_gateway.incidents import Incidents

__all__ = [
    "BudgetExceeded",
    "Connection",
    "Cursor",
    "Database",
    "Dialect",
    "JournaledDatabase",
    "Parameters",
    "RedoJournal",
    "Row",
]

Dialect = Literal["sqlite", "postgresql"]
Parameters = Mapping[str, Any] | Sequence[Any]


class BudgetExceeded(Exception):
    """A read used up its budget; run without one it may succeed."""


class Row(Protocol):
    """One row, by name or by index."""

    def __getitem__(self, key: Any, /) -> Any:
        """Return the value of a column."""

    def __iter__(self) -> Iterator[Any]:
        """Yield the values in order."""

    def keys(self) -> Sequence[str]:
        """Return the names of the columns."""


class Cursor(Protocol):
    """The result of a statement."""

    @property
    def rowcount(self) -> int:
        """How many rows were changed."""

    def fetchone(self) -> Any:
        """Return the next row, or None."""

    def fetchall(self) -> list[Any]:
        """Return the rows that remain."""

    def __iter__(self) -> Iterator[Any]:
        """Yield the rows."""


class RedoJournal(Protocol):
    """The redo log that a restore replays (`ehr_gateway.journal`)."""

    def append(
        self, connection: Connection, redo_actions: Sequence[Mapping[str, object]], /
    ) -> None:
        """Append an entry; it is on disk when this returns, before the transaction commits."""


class Connection(Protocol):
    """A connection inside one transaction."""

    @property
    def dialect(self) -> Dialect:
        """Which SQL it speaks."""

    @property
    def journal(self) -> RedoJournal | None:
        """The journal of the store, None where there is none."""

    def execute(self, sql: str, parameters: Parameters = ..., /) -> Cursor:
        """Run one statement."""

    def executemany(self, sql: str, rows: Iterable[Parameters], /) -> object:
        """Run one statement for each row."""


class Database(Protocol):
    """One database of the platform; safe to share between threads."""

    @property
    def incidents(self) -> Incidents:
        """What keeps it from answering or from taking writes."""

    @property
    def journal(self) -> RedoJournal | None:
        """The journal that is lent with every writer's connection, None where there is none."""

    @property
    def dialect(self) -> Dialect:
        """Which SQL it speaks."""

    def read_transaction(
        self, *, single_statement: bool = False
    ) -> AbstractContextManager[Connection]:
        """Lend a connection inside a read transaction, which sees one state of the database.

        With `single_statement` no transaction is opened: for one statement, or for several that
        need not see the same state.
        """

    def write_transaction(self) -> AbstractContextManager[Connection]:
        """Lend the writer's connection inside a transaction; one writer works at a time.

        Committed and on disk when the context ends; rolled back when it raises.
        """

    def close(self) -> None:
        """Close every connection that is not lent."""


class JournaledDatabase(Database, Protocol):
    """A database that a journal can be attached to."""

    journal: RedoJournal | None
