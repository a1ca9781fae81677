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
from ehr_gateway.search.sql import FilterSql
from ehr_privacy.consent import BY_ROW

__all__ = ["MAX_ROWS", "SearchPlan", "join_from", "plan_search"]

# Matches of a search that has to look at all of them, for a total or to sort by a value.
MAX_ROWS = 1_000_000

# A resource of a list costs about as much as two passed on a walk: it is judged by the consent
# predicate, and sorted.
_CANDIDATE_COST = 2
# A walk that has passed so many times the longest list without filling its page meets what is
# hidden from the requester, or what stands together further on.
_SCAN_FACTOR = 4
_FIRST_SCAN_ROWS = 400
# Below this a list is always taken.
_ALWAYS_SHORT = 100
# What a walk passes.
_WHOLE_TYPE = FilterSql("", "SELECT r.pk FROM resource r WHERE r.type = :type AND r.current = 1")


@dataclass(frozen=True)
class SearchPlan:
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
    fallback: SearchPlan | None = None
    # How many resources a walk may pass before: a few first, for the frequent fill a page soon.
    scan_limits: tuple[int, ...] = ()

    @property
    def checks_consent_last(self) -> bool:
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


def plan_search(
    connection: Connection,
    kind: str,
    parts: Sequence[FilterSql],
    tables: tuple[str, ...],
    visible: str,
    params: dict[str, object],
    *,
    most: int | None,
    last: int,
    by_time: bool = False,
    most_rows: int = MAX_ROWS,
) -> SearchPlan:
    """Choose where to begin; `most` is how many are wanted, None for all of them.

    `last` is the newest version's position: the store is about as large.
    """
    params = {**params, "type": kind}
    counting = _CandidateCounter(connection, tables, params, last)
    driver = _choose_driver(counting, parts, most)
    listed = [part for part in parts if part.listed]
    plain = SearchPlan(tables, "", "", visible, params, connection.dialect)
    if driver is not None:
        chosen = _plan_from_candidates(plain, driver, parts)
        if most is None and driver.rank is None:
            counting.check_cost(chosen, driver, most_rows)
        return chosen
    # A list built on another is too long to be of use when it is long.
    own = [part for part in listed if not part.nested]
    walk = replace(
        plain,
        source=_scan_source(connection, by_time),
        matching=_conditions_sql(parts),
        fallback=_plan_from_candidates(plain, own[0], parts) if own else None,
        scan_limits=(_FIRST_SCAN_ROWS, _SCAN_FACTOR * counting.bound(most)),
    )
    if most is None:
        counting.check_cost(walk, _WHOLE_TYPE, most_rows)
    return walk


def _conditions_sql(parts: Sequence[FilterSql], driver: FilterSql | None = None) -> str:
    tests = [part.test for part in parts if not (part is driver and part.exact)]
    # Not asked where it follows: a walk then reads an index alone.
    alive = [] if any(part.excludes_deleted for part in parts) else ["r.deleted = 0"]
    return " AND ".join(["r.type = :type", "r.current = 1", *alive, *tests])


def join_from(dialect: Dialect, pks: str) -> str:
    """Return what stands after FROM to go through a table of pks and meet the resource `r` of each.

    SQLite begins at what stands first in a CROSS JOIN. PostgreSQL may begin anywhere, and would
    judge every resource there is where it has no statistics yet; a LATERAL with an OFFSET is asked
    for each row by itself.
    """
    if dialect == "sqlite":
        return f"{pks} CROSS JOIN resource r ON r.pk = {pks}.pk"
    look_up = f"SELECT * FROM resource WHERE pk = {pks}.pk {BY_ROW}"  # noqa: S608 - names of ours
    return f"{pks} CROSS JOIN LATERAL ({look_up}) r"


def _plan_from_candidates(
    plain: SearchPlan, driver: FilterSql, parts: Sequence[FilterSql]
) -> SearchPlan:
    # DISTINCT, because a resource may have several of the values.
    listed = f"driver AS MATERIALIZED (SELECT DISTINCT pk FROM ({driver.listed}) one)"  # noqa: S608
    return replace(
        plain,
        tables=(*plain.tables, listed),
        source=join_from(plain.dialect, "driver"),
        matching=_conditions_sql(parts, driver),
        listed=True,
    )


def _scan_source(connection: Connection, by_time: bool) -> str:
    # SQLite does not know how its tables are filled, and would choose its index by chance.
    if connection.dialect != "sqlite":
        return "resource r"
    return f"resource r INDEXED BY resource_{'recent' if by_time else 'current'}"


def _choose_driver(
    counting: _CandidateCounter, parts: Sequence[FilterSql], most: int | None
) -> FilterSql | None:
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
class _CandidateCounter:
    """Counts lists, up to a bound."""

    connection: Connection
    tables: tuple[str, ...]
    params: dict[str, object]
    last: int

    def bound(self, most: int | None) -> int:
        """Return the length from which a list is long, when so many matches are wanted."""
        return max(_ALWAYS_SHORT, isqrt(self.last * (most or 1000) // _CANDIDATE_COST))

    def size(self, part: FilterSql, bound: int) -> int:
        """Count a list; what is built on a long one counts as long."""
        if any(self.size(one, bound) >= bound for one in part.nested):
            return bound
        return self._rows(part.counted_candidates or part.listed, bound)

    def check_cost(self, chosen: SearchPlan, looked_at: FilterSql, most: int) -> None:
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
