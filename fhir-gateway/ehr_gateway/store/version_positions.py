"""Positions of versions in the change feed, by when they were written."""

from __future__ import annotations

from ehr_gateway.database import Connection

__all__ = ["first_position_since", "newest_position"]


def newest_position(connection: Connection) -> int:
    """Return the position of the newest version; 0 in an empty store."""
    row = connection.execute("SELECT COALESCE(MAX(position), 0) FROM resource").fetchone()
    return int(row[0])


def first_position_since(connection: Connection, instant: int) -> int:
    """Return the lowest position of the versions written at or after an instant, by binary search.

    Times never decrease with the position, so no index by time is needed, which each write would
    pay for.
    """
    low = 0
    high = 1 + newest_position(connection)
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(
            "SELECT last_updated FROM resource WHERE position >= ? ORDER BY position LIMIT 1",
            (middle,),
        ).fetchone()
        if row is not None and row["last_updated"] < instant:
            low = middle + 1
        else:
            high = middle
    return low
