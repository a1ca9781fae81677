"""Where a search begins: at the shortest list, or along the resources in the order asked for.

A list is short by its nature (a patient's records, an identifier) or found to be by counting up to
a bound. Where none is, what is searched is frequent, and a walk in order meets a page of it soon:
the bound is where the two cost the same, so neither grows as the store does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isqrt

from ehr_fhir.errors import TooCostly
from ehr_gateway.database import Connection, Dialect
from ehr_gateway.search.sql import Part
from ehr_privacy.consent import BY_ROW

__all__ = ["MOST_ROWS", "Select", "along", "select"]

# Matches of a search that has to look at all of them, for a total or to sort by a value.
MOST_ROWS = 1_000_000

# A resource of a list costs about as much as two passed on a walk: it is judged by the consent
# predicate, and sorted.
_COST = 2
# A walk that has passed so many times the longest list without filling its page meets what is
# hidden from the requester, or what stands together further on.
_REACH = 4
_SOON = 400
# Below this a list is always taken.
_FEW = 100
# What a walk passes.
_EVERY = Part("", "SELECT r.pk FROM resource r WHERE r.type = :type AND r.current = 1")


@dataclass(frozen=True)
class Select:
    """What is searched: tables before SELECT, what stands after FROM and WHERE, the parameters."""

    tables: tuple[str, ...]
    source: str
    matching: str
    visible: str
    params: dict[str, object]
    dialect: Dialect
    # Whether it begins at a list, so that nothing is in order yet.
    listed: bool = False
    # Of a walk: the same search from its shortest list, for when the walk meets too little.
    otherwise: Select | None = None
    # How many resources a walk may pass before: a few first, for the frequent fill a page soon.
    reaches: tuple[int, ...] = ()

    @property
    def judged_last(self) -> bool:
        """Say whether matches are sorted first and judged only until a page is full.

        Their bodies come with them then. PostgreSQL keeps the order of a subquery through a join;
        SQLite would sort anew.
        """
        return self.dialect == "postgresql"

    @property
    def where(self) -> str:
        """Return the condition on a match that the requester may find."""
        return f"{self.matching} AND ({self.visible})"

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
    last: int,
    by_time: bool = False,
    most_rows: int = MOST_ROWS,
) -> Select:
    """Choose where to begin; `most` is how many are wanted, None for all of them.

    `last` is the newest version's position: the store is about as large.
    """
    params = {**params, "type": kind}
    counting = _Counting(connection, tables, params, last)
    driver = _driver(counting, parts, most)
    listed = [part for part in parts if part.listed]
    plain = Select(tables, "", "", visible, params, connection.dialect)
    if driver is not None:
        chosen = _from_list(plain, driver, parts)
        if most is None and driver.rank is None:
            counting.check_cost(chosen, driver, most_rows)
        return chosen
    # A list built on another is too long to be of use when it is long.
    own = [part for part in listed if not part.inner]
    walk = replace(
        plain,
        source=_walked(connection, by_time),
        matching=_matching(parts),
        otherwise=_from_list(plain, own[0], parts) if own else None,
        reaches=(_SOON, _REACH * counting.bound(most)),
    )
    if most is None:
        counting.check_cost(walk, _EVERY, most_rows)
    return walk


def _matching(parts: Sequence[Part], driver: Part | None = None) -> str:
    tests = [part.test for part in parts if not (part is driver and part.exact)]
    # Not asked where it follows: a walk then reads an index alone.
    alive = [] if any(part.alive for part in parts) else ["r.deleted = 0"]
    return " AND ".join(["r.type = :type", "r.current = 1", *alive, *tests])


def along(dialect: Dialect, pks: str) -> str:
    """Return what stands after FROM to go through a table of pks and meet the resource `r` of each.

    SQLite begins at what stands first in a CROSS JOIN. PostgreSQL may begin anywhere, and would
    judge every resource there is where it has no statistics yet; a LATERAL with an OFFSET is asked
    for each row by itself.
    """
    if dialect == "sqlite":
        return f"{pks} CROSS JOIN resource r ON r.pk = {pks}.pk"
    look_up = f"SELECT * FROM resource WHERE pk = {pks}.pk {BY_ROW}"  # noqa: S608 - names of ours
    return f"{pks} CROSS JOIN LATERAL ({look_up}) r"


def _from_list(plain: Select, driver: Part, parts: Sequence[Part]) -> Select:
    # DISTINCT, because a resource may have several of the values.
    listed = f"driver AS MATERIALIZED (SELECT DISTINCT pk FROM ({driver.listed}) one)"  # noqa: S608
    return replace(
        plain,
        tables=(*plain.tables, listed),
        source=along(plain.dialect, "driver"),
        matching=_matching(parts, driver),
        listed=True,
    )


def _walked(connection: Connection, by_time: bool) -> str:
    # SQLite does not know how its tables are filled, and would choose its index by chance.
    if connection.dialect != "sqlite":
        return "resource r"
    return f"resource r INDEXED BY resource_{'recent' if by_time else 'current'}"


def _driver(counting: _Counting, parts: Sequence[Part], most: int | None) -> Part | None:
    listed = [part for part in parts if part.listed]
    ranked = [part for part in listed if part.rank is not None]
    if ranked:
        return min(ranked, key=lambda part: part.rank or 0)
    if not listed:
        return None
    if most is None and len(listed) == 1:
        return listed[0]
    bound = counting.bound(most)
    sizes = [counting.size(part, bound) for part in listed]
    best = min(range(len(listed)), key=sizes.__getitem__)
    return listed[best] if sizes[best] < bound or most is None else None


@dataclass(frozen=True)
class _Counting:
    """Counts lists, up to a bound."""

    connection: Connection
    tables: tuple[str, ...]
    params: dict[str, object]
    last: int

    def bound(self, most: int | None) -> int:
        """Return the length from which a list is long, when so many matches are wanted."""
        return max(_FEW, isqrt(self.last * (most or 1000) // _COST))

    def size(self, part: Part, bound: int) -> int:
        """Count a list; what is built on a long one counts as long."""
        if any(self.size(one, bound) >= bound for one in part.inner):
            return bound
        return self._rows(part.counted or part.listed, bound)

    def check_cost(self, chosen: Select, looked_at: Part, most: int) -> None:
        """Refuse a search that finds more than is counted or sorted at once."""
        if self._rows(looked_at.listed, most + 1) <= most:
            return
        # What is hidden is looked at too, but a refusal must not tell of it: the matches decide.
        rows = self.connection.execute(
            f"{chosen.start()}SELECT COUNT(*) AS n FROM (SELECT 1 FROM {chosen.source}"  # noqa: S608
            f" WHERE {chosen.where} LIMIT :bound) a",
            {**chosen.params, "bound": most + 1},
        )
        if rows.fetchone()["n"] > most:
            raise TooCostly(
                "A total, or an order other than by `_id` or `_lastUpdated`, is made of"
                f" {most} matches at most. Narrow the search, for example by patient."
            )

    def _rows(self, listed: str | None, bound: int) -> int:
        start = f"WITH {', '.join(self.tables)} " if self.tables else ""
        rows = self.connection.execute(
            f"{start}SELECT COUNT(*) AS n FROM (SELECT 1 FROM ({listed}) a LIMIT :bound) b",  # noqa: S608
            {**self.params, "bound": bound},
        )
        return int(rows.fetchone()["n"])
