"""The statements of a search: its page as positions, the versions at them, its total.

The consent predicate stands in each that finds something.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ehr_fhir.search.filters import Filter, InCompartment
from ehr_fhir.search.query import SearchQuery, parse_search
from ehr_gateway.access import Access
from ehr_gateway.database import Connection, encode_list, in_list
from ehr_gateway.search.cursor import Position
from ehr_gateway.search.order import is_ordered_scan, page_statement, position_columns
from ehr_gateway.search.plan import MAX_ROWS, SearchPlan, plan_search
from ehr_gateway.search.sql import FilterCompiler
from ehr_gateway.search.value_sets import expand_codes
from ehr_gateway.search.values import Params
from ehr_gateway.store.search_registry import SearchRegistry
from ehr_gateway.store.store import Version
from ehr_privacy.consent.resource_facts import load_domains

__all__ = ["Match", "SearchExecutor", "SearchLimits"]


# PostgreSQL shows what was asked for in its plans.
_QUOTED_LITERAL = re.compile(r"'(?:[^']|'')*'")


@dataclass(frozen=True)
class SearchLimits:
    """What the place of a search says of it: its own address, and how much it may cost.

    `most_rounds` and `most_included` are how far `:iterate` goes, and how much comes along.
    """

    base: str = ""
    max_rows: int = MAX_ROWS
    max_include_rounds: int = 8
    max_included: int = 1000


@dataclass(frozen=True)
class Match:
    """A match: its pk, its place in the order asked for, and the version if it came along."""

    pk: int
    place: Position
    version: Version | None = None


@dataclass(frozen=True)
class SearchExecutor:
    """One search under way: on this connection, for this requester."""

    connection: Connection
    registry: SearchRegistry
    access: Access
    limits: SearchLimits

    def matches(
        self,
        query: SearchQuery,
        most: int,
        after: Position | None = None,
        *,
        inclusive: bool = False,
    ) -> list[Match]:
        """Return the first matches after a place, in order."""
        chosen = self.select(query, most if is_ordered_scan(query) else None)
        if chosen.fallback is not None and not query.sort:
            for reach in chosen.scan_limits:
                short = self._within(chosen, query, after, reach)
                found = self._positions(short, query, most, after, inclusive=inclusive)
                if short is chosen or len(found) == most:
                    return found
            chosen = chosen.fallback
        return self._positions(chosen, query, most, after, inclusive=inclusive)

    def _within(
        self, chosen: SearchPlan, query: SearchQuery, after: Position | None, reach: int
    ) -> SearchPlan:
        """Return the same walk up to so many resources from its begin; itself if there are less."""
        # An id that says where to stop, of whatever resource; it is in no answer.
        begin = "" if after is None else " AND r.id > :begin"
        row = self.connection.execute(
            f"SELECT r.id FROM {chosen.source} WHERE r.type = :type AND r.current = 1"  # noqa: S608
            f"{begin} ORDER BY r.id LIMIT 1 OFFSET :reach",
            {"type": query.resource_type, "begin": after and after[-1], "reach": reach},
        ).fetchone()
        if row is None:
            return chosen
        params = {**chosen.params, "reached": row["id"]}
        matching = f"{chosen.matching} AND r.id <= :reached"
        return replace(chosen, matching=matching, params=params)

    def _positions(
        self,
        chosen: SearchPlan,
        query: SearchQuery,
        most: int,
        after: Position | None,
        *,
        inclusive: bool,
    ) -> list[Match]:
        statement, params = page_statement(
            chosen, query, self.registry.ids, most, after, inclusive=inclusive
        )
        names = position_columns(query)
        return [
            Match(
                row["pk"],
                tuple(row[name] for name in names),
                Version.from_row(row) if chosen.checks_consent_last else None,
            )
            for row in self.connection.execute(statement, params)
        ]

    def versions(self, found: Sequence[Match]) -> list[Version]:
        """Return the versions at some positions, in their order."""
        known = {one.pk: one.version for one in found if one.version is not None}
        if len(known) < len(found):
            # Keys first and bodies after: a sort that carried the bodies would be slow.
            dialect = self.connection.dialect
            rows = self.connection.execute(
                f"SELECT * FROM resource WHERE pk {in_list(dialect, 'pks')}",  # noqa: S608
                {"pks": encode_list(dialect, (one.pk for one in found))},
            )
            known = {row["pk"]: Version.from_row(row) for row in rows}
        return [known[one.pk] for one in found]

    def total(self, query: SearchQuery) -> int:
        """Count the matches."""
        chosen = self.select(query, None)
        counted = f"SELECT COUNT(*) AS n FROM {chosen.source} WHERE {chosen.where}"  # noqa: S608
        row = self.connection.execute(f"{chosen.start()}{counted}", chosen.params).fetchone()
        return int(row["n"])

    def explain(self, query: SearchQuery) -> list[str]:
        """Return how the database goes about a page, line by line, without values."""
        chosen = self.select(query, query.count + 1 if is_ordered_scan(query) else None)
        statement, params = page_statement(chosen, query, self.registry.ids, query.count + 1, None)
        if self.connection.dialect == "sqlite":
            rows = self.connection.execute(f"EXPLAIN QUERY PLAN {statement}", params)
            return [str(row["detail"]) for row in rows]
        rows = self.connection.execute(f"EXPLAIN {statement}", params)
        return [_QUOTED_LITERAL.sub("'?'", str(row[0])) for row in rows]

    def select(self, query: SearchQuery, most: int | None) -> SearchPlan:
        """Choose how a query is asked, when so many of its matches are wanted, or all."""
        visible = self.access.search_predicate
        params = Params(self.access.now_ms, self.limits.base, dict(visible.params))
        by_time = is_ordered_scan(query) and [key.code for key in query.sort] == ["_lastUpdated"]
        conditions = FilterCompiler(
            self.registry.ids, params, visible.sql, self.connection.dialect, by_time=by_time
        )
        filters = [expand_codes(one, self._find_terminology) for one in self._filters(query)]
        return plan_search(
            self.connection,
            query.resource_type,
            [conditions.compile(query.resource_type, one) for one in filters],
            conditions.tables,
            visible.sql,
            params.values,
            most=most,
            by_time=by_time,
            most_rows=self.limits.max_rows,
            last=self.registry.latest_pk,
        )

    def _filters(self, query: SearchQuery) -> tuple[Filter, ...]:
        """Return what the query filters by, and what the requester's place does all the same."""
        requester = self.access.requester
        if requester.role != "patient" or requester.patient is None:
            return query.filters
        if query.resource_type in load_domains().directory:
            return query.filters
        # The predicate lets patients see their own records alone; said here, it is where to begin.
        return (*query.filters, InCompartment(requester.patient))

    def _find_terminology(self, kind: str, pairs: Sequence[tuple[str, str]]) -> list[Version]:
        query = replace(parse_search(kind, pairs), count=2)
        return self.versions(self.matches(query, query.count))
