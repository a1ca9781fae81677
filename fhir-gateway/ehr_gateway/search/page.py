"""search of one resource type (R4 §3.1.1): matches, total, the next page.

The consent predicate stands in every statement: of the page, of the total, of what comes along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ehr_fhir.errors import Forbidden, Issue
from ehr_fhir.search.compartment_filters import compartment_filter
from ehr_fhir.search.query import parse_search
from ehr_fhir.search_parameters import use_added_parameters
from ehr_fhir.subset import Subset
from ehr_gateway.access import Access
from ehr_gateway.database import Connection
from ehr_gateway.search.cursor import open_cursor, seal_cursor
from ehr_gateway.search.include import find_included
from ehr_gateway.search.statements import SearchExecutor, SearchLimits
from ehr_gateway.store.store import Store, Version

__all__ = ["SearchPage", "explain_search", "matching_ids", "search", "search_on"]


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
    within: tuple[str, str] | None = None,
    lenient: bool = False,
    limits: SearchLimits | None = None,
) -> SearchPage:
    """Find the current versions that match and that the requester may find.

    `within` is the type and id of a resource: those alone that belong to it (R4, compartments).
    """
    with store.read_transaction() as connection:
        return search_on(
            connection, store, access, resource_type, pairs,
            within=within, lenient=lenient, limits=limits,
        )  # fmt: skip


def search_on(
    connection: Connection,
    store: Store,
    access: Access,
    resource_type: str,
    pairs: Sequence[tuple[str, str]],
    *,
    within: tuple[str, str] | None = None,
    lenient: bool = False,
    limits: SearchLimits | None = None,
) -> SearchPage:
    """Search as a connection sees the store, for example inside a transaction."""
    registry = store.registry(connection)
    with use_added_parameters(registry.served):
        query = parse_search(resource_type, pairs, lenient=lenient)
    if within is not None:
        query = replace(query, filters=(compartment_filter(*within, resource_type), *query.filters))
    limits = limits or SearchLimits()
    searching = SearchExecutor(connection, registry, access, limits)
    scope = [resource_type, *(within or ()), query.applied]
    after = open_cursor(store.cursor_key, scope, query.cursor) if query.cursor else None
    total = searching.total(query) if query.is_count_only or query.total != "none" else None
    found = [] if query.is_count_only else searching.matches(query, query.count + 1, after)
    matches = searching.versions(found[: query.count])
    more, issues = find_included(connection, registry.ids, access, query.includes, matches, limits)
    cursor = None
    if len(found) > query.count:
        # Never the pk: its steps would tell how much was written that is hidden.
        cursor = seal_cursor(store.cursor_key, scope, found[query.count - 1].place)
    return SearchPage(
        tuple(matches), more, total, cursor, query.applied, (*query.issues, *issues), query.subset
    )


def explain_search(
    store: Store,
    access: Access,
    resource_type: str,
    pairs: Sequence[tuple[str, str]],
    *,
    within: tuple[str, str] | None = None,
    limits: SearchLimits | None = None,
) -> list[str]:
    """Return the plan of a search for an administrator, in place of what it finds."""
    if access.requester.role != "administrator":
        raise Forbidden("`_explain` is for administrators.")
    with store.read_transaction() as connection:
        registry = store.registry(connection)
        with use_added_parameters(registry.served):
            query = parse_search(resource_type, pairs)
        if within is not None:
            query = replace(
                query, filters=(compartment_filter(*within, resource_type), *query.filters)
            )
        return SearchExecutor(connection, registry, access, limits or SearchLimits()).explain(query)


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
    registry = store.registry(connection)
    with use_added_parameters(registry.served):
        query = replace(parse_search(resource_type, pairs), sort=())
    found = SearchExecutor(connection, registry, access, SearchLimits()).matches(query, most)
    return [str(one.place[-1]) for one in found]
