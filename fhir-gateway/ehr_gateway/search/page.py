"""search of one resource type (R4 §3.1.1): matches, total, the next page.

Each statement holds the consent condition: that of the page, of the total, of the includes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ehr_fhir.errors import Forbidden, Issue
from ehr_fhir.search.compartment_filters import compartment_filter
from ehr_fhir.search.query import SearchQuery
from ehr_fhir.search_parameters import use_added_parameters
from ehr_fhir.subset import Subset
from ehr_gateway.access import Access
from ehr_gateway.database import Connection
from ehr_gateway.search.criteria import parse_criteria, require_search_scope
from ehr_gateway.search.cursor import Position, open_cursor, seal_cursor
from ehr_gateway.search.include import find_included
from ehr_gateway.search.named_patients import MAX_BEARERS
from ehr_gateway.search.scope_check import require_search_scopes
from ehr_gateway.search.statements import Match, SearchExecutor, SearchLimits
from ehr_gateway.store.store import Store, Version

__all__ = [
    "SearchPage",
    "explain_search",
    "find_matching_ids",
    "search",
    "search_on",
    "search_whole",
]


@dataclass(frozen=True)
class SearchPage:
    """One page of a search: matches, included resources, total, and the cursor of the next page."""

    matches: tuple[Version, ...]
    included: tuple[Version, ...]
    total: int | None
    next_cursor: str | None
    self_pairs: tuple[tuple[str, str], ...]
    issues: tuple[Issue, ...]
    # The part of each resource to return (`_summary`, `_elements`).
    subset: Subset | None = None


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
    """Return a page of current versions that match and that the requester can find.

    `within` is the type and id of a resource whose compartment is searched (R4 §3.1.1.2).
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
    """Search on an open connection, for example inside a transaction."""
    if within is not None:
        access.inquiry.name_target(*within)
    require_search_scope(access, [resource_type], pairs)
    registry = store.registry(connection)
    with use_added_parameters(registry.served):
        query = parse_criteria(access, resource_type, pairs, lenient=lenient)
    require_search_scopes(access, query)
    if within is not None:
        query = replace(query, filters=(compartment_filter(*within, resource_type), *query.filters))
    limits = limits or SearchLimits()
    executor = SearchExecutor(connection, registry, access, limits)
    scope = [resource_type, *(within or ()), query.applied]
    after = open_cursor(store.cursor_key, scope, query.cursor) if query.cursor else None
    matches, total = _find_page(executor, query, after)
    if resource_type == "Patient" and len(matches) > MAX_BEARERS:
        # Known without a look-up: so many people are named by it that it names nobody.
        access.inquiry.drop_names(resource_type, query.filters)
    versions = executor.load_versions(matches[: query.count])
    included, issues = find_included(
        connection, registry.ids, access, query.includes, versions, limits
    )
    cursor = None
    if len(matches) > query.count:
        # The position holds no pk: the steps between pks would tell how much is written and hidden.
        cursor = seal_cursor(store.cursor_key, scope, matches[query.count - 1].position)
    return SearchPage(
        matches=tuple(versions),
        included=included,
        total=total,
        next_cursor=cursor,
        self_pairs=query.applied,
        issues=(*query.issues, *issues),
        subset=query.subset,
    )


def _find_page(
    executor: SearchExecutor, query: SearchQuery, after: Position | None
) -> tuple[list[Match], int | None]:
    """Return the matches of a page and one more if there is a next one; the total if asked for."""
    if query.is_count_only:
        return [], executor.count_matches(query)
    wants_total = query.total != "none"
    matches, counted = executor.find_page(query, query.count + 1, after, with_total=wants_total)
    if not wants_total:
        return matches, None
    if after is None and len(matches) <= query.count:
        # A first page that is the last one is the count, and discloses all whom that would name.
        return matches, len(matches)
    total = executor.count_matches(query) if counted is None else executor.tell_total(counted)
    return matches, total


def explain_search(
    store: Store,
    access: Access,
    resource_type: str,
    pairs: Sequence[tuple[str, str]],
    *,
    within: tuple[str, str] | None = None,
    limits: SearchLimits | None = None,
) -> list[str]:
    """Return the database's plan of a search, for an administrator."""
    if access.requester.role != "administrator":
        raise Forbidden("`_explain` is for administrators.")
    with store.read_transaction() as connection:
        registry = store.registry(connection)
        with use_added_parameters(registry.served):
            query = parse_criteria(access, resource_type, pairs)
        if within is not None:
            access.inquiry.name_target(*within)
            query = replace(
                query, filters=(compartment_filter(*within, resource_type), *query.filters)
            )
        return SearchExecutor(connection, registry, access, limits or SearchLimits()).explain(query)


def search_whole(
    store: Store,
    access: Access,
    resource_type: str,
    pairs: Sequence[tuple[str, str]],
    *,
    limit: int,
    limits: SearchLimits | None = None,
) -> list[Version]:
    """Return up to `limit` matches in the requested order, found and sorted once."""
    require_search_scope(access, [resource_type], pairs)
    with store.read_transaction() as connection:
        registry = store.registry(connection)
        with use_added_parameters(registry.served):
            query = parse_criteria(access, resource_type, pairs)
        require_search_scopes(access, query)
        executor = SearchExecutor(connection, registry, access, limits or SearchLimits())
        return executor.load_versions(executor.find_matches(query, limit))


def find_matching_ids(
    store: Store,
    connection: Connection,
    access: Access,
    resource_type: str,
    pairs: Sequence[tuple[str, str]],
    *,
    limit: int,
) -> list[str]:
    """Return the ids of up to `limit` matches, on an open connection."""
    registry = store.registry(connection)
    with use_added_parameters(registry.served):
        query = replace(parse_criteria(access, resource_type, pairs), sort=())
    require_search_scopes(access, query)
    executor = SearchExecutor(connection, registry, access, SearchLimits())
    # Every position ends with the id.
    return [str(match.position[-1]) for match in executor.find_matches(query, limit)]
