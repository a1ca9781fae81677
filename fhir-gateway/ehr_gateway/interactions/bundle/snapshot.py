"""One state of the store for the reads of a batch: a read transaction that they share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType

from ehr_fhir.errors import EhrError
from ehr_gateway.database import Connection
from ehr_gateway.store.store import Store

__all__ = ["Snapshot"]


class Snapshot:
    """A read transaction that begins with its first reader and ends when it is told to.

    A fault of the database ends it, since PostgreSQL answers nothing more in that transaction; the
    next reader begins another.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stack = ExitStack()
        self._connection: Connection | None = None

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def end(self) -> None:
        """End the transaction: what follows writes, or takes a connection of its own."""
        self._connection = None
        self._stack.close()

    @contextmanager
    def lend(self) -> Iterator[Connection]:
        """Lend the transaction's connection; raise what a fault of the database means."""
        if self._connection is None:
            self._connection = self._stack.enter_context(self._store.read_transaction())
        try:
            yield self._connection
        except BaseException as error:
            # A refusal was worked out by us, and leaves the transaction as it is.
            if isinstance(error, EhrError) and error.status < 500:
                raise
            self._connection = None
            # The transaction's end translates the error and raises what it is.
            self._stack.__exit__(*sys.exc_info())
            raise
