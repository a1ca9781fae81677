"""Plan a search: start from the shortest candidate list, or scan the resources in order.

Each filter can list candidates (a SELECT of primary keys). A list is known to be short by its kind
(one patient's records, an identifier) or counted up to a bound. If none is short, matches are
frequent, and an ordered scan of the type's index soon fills a page. The bound is the length at
which both cost the same (`_CandidateCounter.bound`), so the cost of a search grows with the square
root of the store, not with the store.
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

# Most matches of a search that must read all of them, for a total or to sort by a value.
MAX_ROWS = 1_000_000

# A candidate costs about as much as two resources of a scan: each is looked up, checked by the
# consent condition and sorted, while a scan stops when its page is full. Chosen.
_CANDIDATE_COST = 2
# A scan that has read this many times the bound without filling its page meets resources that are
# hidden from the requester, or its matches lie together further on: the list is cheaper. Chosen.
_SCAN_FACTOR = 4
# The first attempt of a scan reads this many rows, since a frequent value fills a page of 20 within
# them. Chosen.
_FIRST_SCAN_ROWS = 400
# A list below this length is always taken, however small the store. Chosen.
_ALWAYS_SHORT = 100
# What a scan reads.
_WHOLE_TYPE = FilterSql("", "SELECT r.pk FROM resource r WHERE r.type = :type AND r.current = 1")


@dataclass(frozen=True)
class SearchPlan:
    """The filters of a search's statements: CTEs, FROM and WHERE clauses, parameters."""

    tables: tuple[str, ...]
    source: str
    matching: str
    visible: str
    params: dict[str, object]
    dialect: Dialect
    # Whether it starts from a candidate list, so that its rows are in no order yet.
    starts_from_list: bool = False
    # Of a scan: the plan that starts from its shortest list, for when the scan finds too little.
    fallback: SearchPlan | None = None
    # Row budgets of the ordered scan before falling back to the candidate list; the first is small.
    scan_limits: tuple[int, ...] = ()

    @property
    def checks_consent_last(self) -> bool:
        """Say whether matches are sorted first and consent is checked only until a page is full.

        So on PostgreSQL, which keeps the order of a subquery through a join (SQLite would sort
        again). The page's rows then hold the versions, too.
        """
        return self.dialect == "postgresql"

    @property
    def where(self) -> str:
        """Return the condition of a match that is visible to the requester."""
        return f"{self.matching} AND ({self.visible})"

    def with_clause(self, *more: str) -> str:
        """Return the WITH clause of a statement, with further tables; empty if there are none."""
        tables = (*self.tables, *more)
        return f"WITH {', '.join(tables)} " if tables else ""


def plan_search(
    connection: Connection,
    kind: str,
    filters: Sequence[FilterSql],
    tables: tuple[str, ...],
    visible: str,
    params: dict[str, object],
    *,
    limit: int | None,
    latest_position: int,
    by_time: bool = False,
    max_rows: int = MAX_ROWS,
) -> SearchPlan:
    """Choose the plan of a search for up to `limit` matches, None for all of them.

    `latest_position` is the newest version's, which tells about how large the store is. `by_time`:
    the order is that of `_lastUpdated`. Raises TooCostly if all of more than `max_rows` are wanted.
    """
    params = {**params, "type": kind}
    counter = _CandidateCounter(connection, tables, params, latest_position)
    driver = _choose_driver(counter, filters, limit)
    template = SearchPlan(tables, "", "", visible, params, connection.dialect)
    if driver is not None:
        plan = _plan_from_candidates(template, driver, filters)
        if limit is None and driver.rank is None:
            counter.check_cost(plan, driver, max_rows)
        return plan
    # No fallback to a list that is built on another one: if it is long, so is the other.
    own_lists = [part for part in filters if part.candidates and not part.nested]
    scan = replace(
        template,
        source=_scan_source(connection, by_time),
        matching=_conditions_sql(filters),
        fallback=_plan_from_candidates(template, own_lists[0], filters) if own_lists else None,
        scan_limits=(_FIRST_SCAN_ROWS, _SCAN_FACTOR * counter.bound(limit)),
    )
    if limit is None:
        counter.check_cost(scan, _WHOLE_TYPE, max_rows)
    return scan


def _conditions_sql(filters: Sequence[FilterSql], met: Sequence[FilterSql] = ()) -> str:
    """Return the condition of a match, without the filters that the source of the rows has met."""
    conditions = [part.condition for part in filters if part not in met]
    # `deleted` is not in the indexes: without this condition a scan reads an index alone.
    not_deleted = [] if any(part.excludes_deleted for part in filters) else ["r.deleted = 0"]
    return " AND ".join(["r.type = :type", "r.current = 1", *not_deleted, *conditions])


def join_from(dialect: Dialect, pks: str) -> str:
    """Return the FROM clause that joins a list of primary keys to `resource`, as `r`.

    It forces the list to be the outer table. SQLite keeps the order of a CROSS JOIN. PostgreSQL
    does not, and without statistics would check every resource in the store; a LATERAL subquery
    with an OFFSET runs once for each key.
    """
    if dialect == "sqlite":
        return f"{pks} CROSS JOIN resource r ON r.pk = {pks}.pk"
    look_up = f"SELECT * FROM resource WHERE pk = {pks}.pk {BY_ROW}"  # noqa: S608 - names of ours
    return f"{pks} CROSS JOIN LATERAL ({look_up}) r"


def _plan_from_candidates(
    template: SearchPlan, driver: FilterSql, filters: Sequence[FilterSql]
) -> SearchPlan:
    # What the indexes tell is asked of the list, so that only matches are fetched: of a patient's
    # records with a code, some few out of many. DISTINCT, because a resource may have several of
    # the values.
    asked = [part for part in filters if part.reads_index_only and part is not driver]
    listed = f"({driver.candidates}) one"
    if asked:
        listed = f"({driver.candidates}) r WHERE {' AND '.join(part.condition for part in asked)}"
    driver_table = f"driver AS MATERIALIZED (SELECT DISTINCT pk FROM {listed})"  # noqa: S608
    return replace(
        template,
        tables=(*template.tables, driver_table),
        source=join_from(template.dialect, "driver"),
        matching=_conditions_sql(filters, [*asked, driver] if driver.is_exact else asked),
        starts_from_list=True,
    )


def _scan_source(connection: Connection, by_time: bool) -> str:
    # SQLite has no statistics of its tables here and would choose among the indexes by chance.
    if connection.dialect != "sqlite":
        return "resource r"
    return f"resource r INDEXED BY resource_{'recent' if by_time else 'current'}"


def _choose_driver(
    counter: _CandidateCounter, filters: Sequence[FilterSql], limit: int | None
) -> FilterSql | None:
    """Return the filter whose candidate list to start from; None if every list is too long."""
    with_list = [part for part in filters if part.candidates]
    if ranked := [part for part in with_list if part.rank is not None]:
        return min(ranked, key=lambda part: part.rank or 0)
    if not with_list:
        return None
    if limit is None and len(with_list) == 1:
        return with_list[0]
    bound = counter.bound(limit)
    sizes = [counter.size(part, bound) for part in with_list]
    shortest = min(range(len(with_list)), key=sizes.__getitem__)
    # All matches are wanted: even a long list is shorter than the type.
    return with_list[shortest] if sizes[shortest] < bound or limit is None else None


@dataclass(frozen=True)
class _CandidateCounter:
    """Counts candidate lists, up to a bound."""

    connection: Connection
    tables: tuple[str, ...]
    params: dict[str, object]
    latest_position: int

    def bound(self, limit: int | None) -> int:
        """Return the length from which a list costs more than an ordered scan.

        In a store of N versions a scan reads about N * limit / length rows to fill a page, a list
        costs `_CANDIDATE_COST` times its length: both are equal at the square root below.
        """
        return max(_ALWAYS_SHORT, isqrt(self.latest_position * (limit or 1000) // _CANDIDATE_COST))

    def size(self, part: FilterSql, bound: int) -> int:
        """Count the list of a filter; one that is built on a long list counts as long."""
        if any(self.size(nested, bound) >= bound for nested in part.nested):
            return bound
        return self._count(part.counted_candidates or part.candidates, bound)

    def check_cost(self, plan: SearchPlan, start: FilterSql, max_rows: int) -> None:
        """Refuse a search with more matches than may be counted or sorted at once."""
        if self._count(start.candidates, max_rows + 1) <= max_rows:
            return
        # The rows read include hidden ones, which a refusal must not reveal: count the visible
        # matches.
        rows = self.connection.execute(
            f"{plan.with_clause()}SELECT COUNT(*) AS n FROM (SELECT 1 FROM {plan.source}"  # noqa: S608
            f" WHERE {plan.where} LIMIT :bound) a",
            {**plan.params, "bound": max_rows + 1},
        )
        if rows.fetchone()["n"] > max_rows:
            raise TooCostly(
                "A total, or an order other than by `_id` or `_lastUpdated`, is made of"
                f" {max_rows} matches at most. Narrow the search, for example by patient."
            )

    def _count(self, candidates: str | None, bound: int) -> int:
        with_clause = f"WITH {', '.join(self.tables)} " if self.tables else ""
        rows = self.connection.execute(
            f"{with_clause}SELECT COUNT(*) AS n"  # noqa: S608
            f" FROM (SELECT 1 FROM ({candidates}) a LIMIT :bound) b",
            {**self.params, "bound": bound},
        )
        return int(rows.fetchone()["n"])
