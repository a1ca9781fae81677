"""search of one resource type (R4 §3.1.1): matches, total, the next page.

The consent predicate stands in every statement: of the page, of the total, of what comes along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ehr_fhir.errors import Issue
from ehr_fhir.query import SearchQuery, parse
from ehr_fhir.query_filters import Filter, InCompartment
from ehr_fhir.subset import Subset
from ehr_gateway.access import Access
from ehr_gateway.cursor import Position, open_cursor, seal_cursor
from ehr_gateway.database import Connection
from ehr_gateway.interactions.include import included
from ehr_gateway.search_order import ordered, walks
from ehr_gateway.search_plan import Select, select
from ehr_gateway.search_sql import Conditions
from ehr_gateway.search_values import Params
from ehr_gateway.store import Store, Version
from ehr_privacy.consent.facts import load_domains

__all__ = ["SearchPage", "matching_ids", "search", "search_in"]


@dataclass(frozen=True)
class SearchPage:
    """One page of an answer."""

    matches: tuple[Version, ...]
    included: tuple[Version, ...]
    total: int | None
    next_cursor: str | None
    self_pairs: tuple[tuple[str, str], ...]
    issues: tuple[Issue, ...]
    subset: Subset | None = None  # the part of each resource that was asked for


def search(
    store: Store,
    access: Access,
    resource_type: str,
    pairs: Sequence[tuple[str, str]],
    *,
    patient: str | None = None,
    lenient: bool = False,
) -> SearchPage:
    """Find the current versions that match and that the requester may find.

    With `patient`, those alone that belong to this patient's record (R4 §3.1.1, compartments).
    """
    with store.reading() as connection:
        return search_in(
            connection, store, access, resource_type, pairs, patient=patient, lenient=lenient
        )


def search_in(
    connection: Connection,
    store: Store,
    access: Access,
    resource_type: str,
    pairs: Sequence[tuple[str, str]],
    *,
    patient: str | None = None,
    lenient: bool = False,
) -> SearchPage:
    """Search as a connection sees the store, for example inside a transaction."""
    query = parse(resource_type, pairs, lenient=lenient)
    if patient is not None:
        query = replace(query, filters=(InCompartment(patient), *query.filters))
    scope = [resource_type, patient, query.applied]
    after = open_cursor(store.cursor_key, scope, query.cursor) if query.cursor else None
    only_count = query.summary_count or query.count == 0
    total = None
    if only_count or query.total != "none":
        total = _total(connection, _select(connection, store, access, query, None))
    matches, last = ([], None) if only_count else _page(connection, store, access, query, after)
    more, issues = included(connection, store.parameter_ids, access, query.includes, matches)
    cursor = None if last is None else seal_cursor(store.cursor_key, scope, last)
    return SearchPage(
        tuple(matches), more, total, cursor, query.applied, (*query.issues, *issues), query.subset
    )


def matching_ids(
    store: Store,
    connection: Connection,
    access: Access,
    resource_type: str,
    pairs: Sequence[tuple[str, str]],
    *,
    most: int,
) -> list[str]:
    """Return the ids of matches as a transaction sees them, up to a number."""
    chosen = _select(connection, store, access, parse(resource_type, pairs), most)
    rows = connection.execute(
        f"{chosen.start()}SELECT r.id FROM {chosen.source} WHERE {chosen.where}"  # noqa: S608
        " ORDER BY r.id LIMIT :most",
        {**chosen.params, "most": most},
    )
    return [row["id"] for row in rows]


def _select(
    connection: Connection, store: Store, access: Access, query: SearchQuery, most: int | None
) -> Select:
    visible = access.search
    params = Params(access.now_ms, dict(visible.params))
    by_time = any(key.code == "_lastUpdated" for key in query.sort[:1]) and walks(query)
    conditions = Conditions(store.parameter_ids, params, visible.sql, by_time=by_time)
    parts = [conditions.part(query.resource_type, one) for one in _filters(access, query)]
    return select(
        connection,
        query.resource_type,
        parts,
        conditions.tables,
        visible.sql,
        params.values,
        most=most,
        by_time=by_time,
    )


def _filters(access: Access, query: SearchQuery) -> tuple[Filter, ...]:
    """Return what the query filters by, and what the requester's place filters by all the same."""
    requester = access.requester
    if requester.role != "patient" or requester.patient is None:
        return query.filters
    if query.resource_type in load_domains().directory:
        return query.filters
    # The predicate lets patients see their own records alone; said here, it is where to look.
    return (*query.filters, InCompartment(requester.patient))


def _total(connection: Connection, chosen: Select) -> int:
    statement = f"{chosen.start()}SELECT COUNT(*) AS n FROM {chosen.source} WHERE {chosen.where}"  # noqa: S608
    return int(connection.execute(statement, chosen.params).fetchone()["n"])


def _page(
    connection: Connection,
    store: Store,
    access: Access,
    query: SearchQuery,
    after: Position | None,
) -> tuple[list[Version], Position | None]:
    """Return the matches of one page and, if there are more, the position of its last."""
    most = query.count + 1 if walks(query) else None
    chosen = _select(connection, store, access, query, most)
    statement, params = ordered(chosen, query, store.parameter_ids, after)
    keys = connection.execute(statement, params).fetchall()
    if not keys:
        return [], None
    # Keys first and bodies after: a sort that carried the bodies would be slow.
    pks = ", ".join(str(row["pk"]) for row in keys[: query.count])
    rows = connection.execute(f"SELECT * FROM resource WHERE pk IN ({pks})")  # noqa: S608
    by_pk = {row["pk"]: Version.of(row) for row in rows}
    matches = [by_pk[row["pk"]] for row in keys[: query.count]]
    # Never the pk: its steps would tell how much was written that is hidden.
    last = tuple(keys[query.count - 1])[1:] if len(keys) > query.count else None
    return matches, last
