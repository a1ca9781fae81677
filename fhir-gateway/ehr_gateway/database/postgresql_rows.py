"""Rows and results of PostgreSQL, as the store reads them on either database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from psycopg import pq

__all__ = ["Result", "Row", "column_indexes"]


class Row:
    """One row, by name or by index."""

    __slots__ = ("_indexes", "_values")

    def __init__(self, indexes: dict[str, int], values: Sequence[Any]) -> None:
        self._indexes = indexes
        self._values = values

    def __getitem__(self, key: Any) -> Any:
        return self._values[self._indexes[key] if isinstance(key, str) else key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def keys(self) -> Sequence[str]:
        """Return the names of the columns."""
        return list(self._indexes)


class Result:
    """The rows of a statement, read front to back, and how many it changed."""

    __slots__ = ("_rows", "rowcount")

    def __init__(self, rows: Sequence[Row], rowcount: int) -> None:
        self._rows = iter(rows)
        self.rowcount = rowcount

    def fetchone(self) -> Row | None:
        """Return the next row, or None."""
        return next(self._rows, None)

    def fetchall(self) -> list[Row]:
        """Return the rows that remain."""
        return list(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return self._rows


def column_indexes(result: pq.abc.PGresult) -> dict[str, int]:
    """Return the index of each column of a result by its name."""
    return _indexes_of(tuple(map(result.fname, range(result.nfields))))


@lru_cache(maxsize=4096)
def _indexes_of(names: tuple[bytes | None, ...]) -> dict[str, int]:
    return {(name or b"").decode(): number for number, name in enumerate(names)}
