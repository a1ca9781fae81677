"""Where a search begins: at the shortest list, or along the resources in the order asked for.

A list is short by its nature (a patient's records, an identifier) or found to be by counting up to
a bound. Where none is, what is searched is frequent, and a walk in order meets a page of it soon:
the bound is where the two cost the same, so neither grows as the store does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

from ehr_fhir.errors import TooCostly
from ehr_gateway.database import Connection
from ehr_gateway.search_sql import Part

__all__ = ["MOST_ROWS", "Select", "select"]

# Of a search that has to look at all it finds, for a total or to sort by a value.
MOST_ROWS = 1_000_000

# A resource of a list costs about as much as two passed on a walk: it is judged by the consent
# predicate, and sorted.
_COST = 2
# Below this a list is always taken.
_FEW = 100


@dataclass(frozen=True)
class Select:
    """What is searched: tables before SELECT, what stands after FROM and WHERE, the parameters."""

    tables: tuple[str, ...]
    source: str
    where: str
    params: dict[str, object]

    def start(self, *more: str) -> str:
        """Return what stands before SELECT."""
        tables = (*self.tables, *more)
        return f"WITH {', '.join(tables)} " if tables else ""


def select(
    connection: Connection,
    kind: str,
    parts: Sequence[Part],
    tables: tuple[str, ...],
    visible: str,
    params: dict[str, object],
    *,
    most: int | None,
    by_time: bool = False,
    most_rows: int = MOST_ROWS,
) -> Select:
    """Choose where to begin; `most` is how many are wanted, None for all of them."""
    params = {**params, "type": kind}
    driver = _driver(connection, parts, params, most)
    if most is None:
        _check_cost(connection, driver, params, most_rows)
    tests = [part.test for part in parts if not (part is driver and part.exact)]
    # Not asked where it follows: the walk then reads an index alone.
    alive = [] if any(part.alive for part in parts) else ["r.deleted = 0"]
    where = ["r.type = :type", "r.current = 1", *alive, *tests, f"({visible})"]
    if driver is None:
        return Select(tables, _walked(connection, by_time), " AND ".join(where), params)
    # DISTINCT, because a resource may have several of the values; CROSS JOIN, so that SQLite
    # begins here whatever it thinks of the order asked for.
    listed = f"driver AS MATERIALIZED (SELECT DISTINCT pk FROM ({driver.listed}) one)"  # noqa: S608
    where.insert(0, "r.pk = driver.pk")
    return Select((*tables, listed), "driver CROSS JOIN resource r", " AND ".join(where), params)


def _walked(connection: Connection, by_time: bool) -> str:
    # SQLite does not know how its tables are filled, and would choose its index by chance.
    if connection.dialect != "sqlite":
        return "resource r"
    return f"resource r INDEXED BY resource_{'recent' if by_time else 'current'}"


def _driver(
    connection: Connection, parts: Sequence[Part], params: dict[str, object], most: int | None
) -> Part | None:
    listed = [part for part in parts if part.listed]
    ranked = [part for part in listed if part.rank is not None]
    if ranked:
        return min(ranked, key=lambda part: part.rank or 0)
    if not listed:
        return None
    if most is None and len(listed) == 1:
        return listed[0]
    bound = _bound(connection, most)
    sizes = [_size(connection, part, params, bound) for part in listed]
    best = min(range(len(listed)), key=sizes.__getitem__)
    return listed[best] if sizes[best] < bound or most is None else None


def _check_cost(
    connection: Connection, driver: Part | None, params: dict[str, object], most: int
) -> None:
    if driver is not None and driver.rank is not None:
        return
    everything = Part("", "SELECT r.pk FROM resource r WHERE r.type = :type AND r.current = 1")
    if _size(connection, driver or everything, params, most + 1) > most:
        raise TooCostly(
            f"A total, or an order other than by `_id` or `_lastUpdated`, looks at all that is"
            f" found, and at {most} resources at most. Narrow the search, for example by patient."
        )


def _bound(connection: Connection, most: int | None) -> int:
    last = connection.execute("SELECT MAX(pk) AS last FROM resource").fetchone()["last"] or 0
    return max(_FEW, isqrt(last * (most or 1000) // _COST))


def _size(connection: Connection, part: Part, params: dict[str, object], bound: int) -> int:
    """Count a list, up to a bound; what is built on a long one counts as long."""
    if any(_size(connection, one, params, bound) >= bound for one in part.inner):
        return bound
    counted = part.counted or part.listed
    rows = connection.execute(
        f"SELECT COUNT(*) AS n FROM (SELECT 1 FROM ({counted}) a LIMIT :bound) b",  # noqa: S608
        {**params, "bound": bound},
    )
    return int(rows.fetchone()["n"])
