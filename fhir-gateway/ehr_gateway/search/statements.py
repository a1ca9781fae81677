"""Run the statements of a search: a page of matches, their versions, the total.

Each statement that finds resources holds the consent condition.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ehr_fhir.search.filters import Filter, InCompartment
from ehr_fhir.search.query import SearchQuery, parse_search
from ehr_gateway.access import Access
from ehr_gateway.database import Connection, Row, encode_list, in_list
from ehr_gateway.search.cursor import Position
from ehr_gateway.search.order import (
    is_ordered_scan,
    page_statement,
    position_columns,
    sorts_all,
)
from ehr_gateway.search.plan import MAX_ROWS, SearchPlan, plan_search
from ehr_gateway.search.sql import FilterCompiler
from ehr_gateway.search.stored_library import library_of
from ehr_gateway.search.value_sets import TerminologyAccess, expand_codes
from ehr_gateway.search.values import Params
from ehr_gateway.store.disclosure import Disclosure, reader_parameters
from ehr_gateway.store.search_registry import SearchRegistry
from ehr_gateway.store.store import Version
from ehr_privacy.consent.domain_rules import load_domains

__all__ = ["CompiledCriteria", "Match", "SearchExecutor", "SearchLimits"]

# The number of matches, then a row for each patient whose records are among them.
_COUNT_WITH_PATIENTS = (
    "SELECT 0 AS position, NULL AS patient, COUNT(*) AS n FROM matched"
    " UNION ALL SELECT DISTINCT 1, p.patient, 0 FROM matched m"
    " JOIN record_patient p ON p.pk = m.pk ORDER BY position, patient"
)

# Versions of one code system, or of one value set, that are looked at. Chosen.
_MAX_SAME_URL = 20
# PostgreSQL's plans show the values of a search; `explain` must not.
_QUOTED_LITERAL = re.compile(r"'(?:[^']|'')*'")


@dataclass(frozen=True)
class SearchLimits:
    """Server limits for one search, with the base URL by which references may name its resources.

    `max_rows` bounds what is counted or sorted, `max_include_rounds` the rounds of `:iterate`,
    `max_included` the included resources.
    """

    base: str = ""
    max_rows: int = MAX_ROWS
    max_include_rounds: int = 8
    max_included: int = 1000


@dataclass(frozen=True)
class Match:
    """A match: its pk, its position in the requested order, and the version if already read."""

    pk: int
    position: Position
    version: Version | None = None


@dataclass(frozen=True)
class CountedMatches:
    """How many matches there are in all, and the patients whose records are among them."""

    number: int
    patients: tuple[str, ...]


@dataclass(frozen=True)
class CompiledCriteria:
    """Criteria as a condition on the current row `r`, with the CTEs that it reads."""

    condition: str
    tables: tuple[str, ...]
    params: Mapping[str, object]

    @property
    def with_clause(self) -> str:
        """Return what a statement that holds the condition begins with."""
        return f"WITH {', '.join(self.tables)} " if self.tables else ""


@dataclass(frozen=True)
class SearchExecutor:
    """Runs searches on one connection for one requester."""

    connection: Connection
    registry: SearchRegistry
    access: Access
    limits: SearchLimits

    def compile_any(self, queries: Sequence[SearchQuery]) -> CompiledCriteria:
        """Compile queries of one type, of which a current resource has to match one."""
        visible = self.access.search_predicate
        params = Params(
            self.access.now_ms, self.limits.base, {**visible.params}, self.connection.dialect
        )
        compiler = FilterCompiler(
            self.registry.ids, params, visible.sql, self.connection.dialect, by_time=False
        )
        conditions = []
        for query in queries:
            filters = [expand_codes(one, self._terminology) for one in query.filters]
            compiled = [compiler.compile(query.resource_type, one).condition for one in filters]
            conditions.append(" AND ".join(f"({one})" for one in compiled) or "TRUE")
        condition = " OR ".join(f"({one})" for one in conditions)
        return CompiledCriteria(f"({condition})", compiler.tables, params.values)

    def find_matches(
        self,
        query: SearchQuery,
        limit: int,
        after: Position | None = None,
        *,
        inclusive: bool = False,
    ) -> list[Match]:
        """Return up to `limit` matches after a position (or from it on), in the requested order."""
        plan = self._plan(query, limit if is_ordered_scan(query) else None)
        return self._run_plan(plan, query, limit, after, inclusive=inclusive)

    def find_page(
        self, query: SearchQuery, limit: int, after: Position | None, *, with_total: bool
    ) -> tuple[list[Match], CountedMatches | None]:
        """Return up to `limit` matches after a position, with the total if one statement has both.

        The total is None where it was not asked for, or is to be counted by itself.
        """
        plan = self._plan(query, limit if is_ordered_scan(query) else None)
        if with_total and sorts_all(plan, query):
            return self._run_counted_page(plan, query, limit, after)
        return self._run_plan(plan, query, limit, after), None

    def load_versions(self, matches: Sequence[Match]) -> list[Version]:
        """Return the versions of some matches, in their order."""
        versions = {match.pk: match.version for match in matches if match.version is not None}
        if len(versions) < len(matches):
            # A second statement: the first sorts, and would be slow if it carried the bodies along.
            dialect = self.connection.dialect
            rows = self.connection.execute(
                f"SELECT r.*{Disclosure.columns(dialect)} FROM resource r"  # noqa: S608
                f" WHERE r.pk {in_list(dialect, 'pks')}",
                {
                    "pks": encode_list(dialect, (match.pk for match in matches)),
                    **self._reader_parameters(),
                },
            )
            versions = {row["pk"]: Version.from_row(row, has_disclosure=True) for row in rows}
        return [versions[match.pk] for match in matches]

    def count_matches(self, query: SearchQuery) -> int:
        """Return the total, and note in the inquiry whose records it includes."""
        plan = self._plan(query, None)
        matched = f"matched AS MATERIALIZED (SELECT r.pk FROM {plan.source} WHERE {plan.where})"  # noqa: S608
        total, *patients = self.connection.execute(
            f"{plan.with_clause(matched)}{_COUNT_WITH_PATIENTS}", plan.params
        )
        return self.tell_total(
            CountedMatches(int(total["n"]), tuple(row["patient"] for row in patients))
        )

    def tell_total(self, counted: CountedMatches) -> int:
        """Return a total, and note in the inquiry whose records it includes."""
        self.access.inquiry.count_patients(counted.patients)
        return counted.number

    def explain(self, query: SearchQuery) -> list[str]:
        """Return the database's plan of the first page, line by line, without values."""
        plan = self._plan(query, query.count + 1 if is_ordered_scan(query) else None)
        statement, params = page_statement(plan, query, self.registry.ids, query.count + 1, None)
        if self.connection.dialect == "sqlite":
            rows = self.connection.execute(f"EXPLAIN QUERY PLAN {statement}", params)
            return [str(row["detail"]) for row in rows]
        rows = self.connection.execute(f"EXPLAIN {statement}", params)
        return [_QUOTED_LITERAL.sub("'?'", str(row[0])) for row in rows]

    def _plan(self, query: SearchQuery, limit: int | None) -> SearchPlan:
        """Compile the filters of a query and plan it for up to `limit` matches, None for all."""
        visible = self.access.search_predicate
        params = Params(
            self.access.now_ms,
            self.limits.base,
            {**visible.params, **self._reader_parameters()},
            self.connection.dialect,
        )
        by_time = is_ordered_scan(query) and [key.code for key in query.sort] == ["_lastUpdated"]
        compiler = FilterCompiler(
            self.registry.ids, params, visible.sql, self.connection.dialect, by_time=by_time
        )
        filters = [
            expand_codes(search_filter, self._terminology) for search_filter in self._filters(query)
        ]
        return plan_search(
            self.connection,
            query.resource_type,
            [compiler.compile(query.resource_type, search_filter) for search_filter in filters],
            compiler.tables,
            visible.sql,
            params.values,
            limit=limit,
            by_time=by_time,
            max_rows=self.limits.max_rows,
            latest_position=self.registry.latest.position,
        )

    def _reader_parameters(self) -> Mapping[str, str | int | None]:
        """Return the parameters of `Disclosure.columns`."""
        requester = self.access.requester
        return reader_parameters(requester.person, requester.organization, self.access.now_ms)

    def _run_plan(
        self,
        plan: SearchPlan,
        query: SearchQuery,
        limit: int,
        after: Position | None,
        *,
        inclusive: bool = False,
    ) -> list[Match]:
        """Run a plan; where it scans, in steps, until the page is full or its fallback is due."""
        if plan.fallback is not None and not query.sort:
            for scan_limit in plan.scan_limits:
                limited = self._limit_scan(plan, query, after, scan_limit)
                matches = self._run_page(limited, query, limit, after, inclusive=inclusive)
                if limited is plan or len(matches) == limit:
                    return matches
            plan = plan.fallback
        return self._run_page(plan, query, limit, after, inclusive=inclusive)

    def _limit_scan(
        self, plan: SearchPlan, query: SearchQuery, after: Position | None, max_rows: int
    ) -> SearchPlan:
        """Limit the ordered scan to the next `max_rows` rows; unchanged if there are fewer."""
        # The id of the last row to read; it may belong to a hidden resource but is in no answer.
        start = "" if after is None else " AND r.id > :scan_start"
        row = self.connection.execute(
            f"SELECT r.id FROM {plan.source} WHERE r.type = :type AND r.current = 1"  # noqa: S608
            f"{start} ORDER BY r.id LIMIT 1 OFFSET :max_rows",
            {
                "type": query.resource_type,
                "scan_start": after and after[-1],
                "max_rows": max_rows,
            },
        ).fetchone()
        if row is None:
            return plan
        params = {**plan.params, "scan_end": row["id"]}
        return replace(plan, matching=f"{plan.matching} AND r.id <= :scan_end", params=params)

    def _run_page(
        self,
        plan: SearchPlan,
        query: SearchQuery,
        limit: int,
        after: Position | None,
        *,
        inclusive: bool,
    ) -> list[Match]:
        statement, params = page_statement(
            plan, query, self.registry.ids, limit, after, inclusive=inclusive
        )
        return _build_matches(plan, query, self.connection.execute(statement, params))

    def _run_counted_page(
        self, plan: SearchPlan, query: SearchQuery, limit: int, after: Position | None
    ) -> tuple[list[Match], CountedMatches | None]:
        statement, params = page_statement(
            plan, query, self.registry.ids, limit, after, with_total=True
        )
        rows = self.connection.execute(statement, params).fetchall()
        if not rows:
            # After the last match there is no row to tell the total.
            return [], None
        total, listed = rows[0]["total"], rows[0]["patients"]
        counted = CountedMatches(total, tuple(sorted(listed.split(","))) if listed else ())
        return _build_matches(plan, query, rows), counted

    def _filters(self, query: SearchQuery) -> tuple[Filter, ...]:
        """Return the filters of a query, with the patient's own compartment for a patient."""
        requester = self.access.requester
        if requester.role != "patient" or requester.patient is None:
            return query.filters
        if query.resource_type in load_domains().directory:
            return query.filters
        # The consent condition shows patients their own records alone. As a filter it gives the
        # plan a short candidate list.
        return (*query.filters, InCompartment(requester.patient))

    @cached_property
    def _terminology(self) -> TerminologyAccess:
        library = library_of(self.connection, self._find_terminology)
        return TerminologyAccess(self._find_terminology, library)

    def _find_terminology(self, kind: str, pairs: Sequence[tuple[str, str]]) -> list[Version]:
        query = replace(parse_search(kind, pairs), count=_MAX_SAME_URL)
        return self.load_versions(self.find_matches(query, query.count))


def _build_matches(plan: SearchPlan, query: SearchQuery, rows: Iterable[Row]) -> list[Match]:
    columns = position_columns(query)
    return [
        Match(
            row["pk"],
            tuple(row[column] for column in columns),
            Version.from_row(row, has_disclosure=True) if plan.checks_consent_last else None,
        )
        for row in rows
    ]
