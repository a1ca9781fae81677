"""search of several resource types at once (R4 §3.1.1.2): of the system, or of a compartment.

Each type is searched by itself, with its own plan, and the matches become one page. Without `_sort`
they follow type by type; sorted by `_lastUpdated` or `_id` they are merged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ehr_fhir import definitions
from ehr_fhir.errors import Invalid, Issue, TooCostly
from ehr_fhir.search.compartment_filters import compartment_filter, compartment_types
from ehr_fhir.search.includes import INCLUDES, MAX_INCLUDES, Include, parse_include
from ehr_fhir.search.query import SearchQuery
from ehr_fhir.search_parameters import use_added_parameters
from ehr_gateway.access import Access
from ehr_gateway.database import Connection
from ehr_gateway.search.criteria import parse_criteria, require_search_scope
from ehr_gateway.search.cursor import Position, open_cursor, seal_cursor
from ehr_gateway.search.include import find_included
from ehr_gateway.search.page import SearchPage
from ehr_gateway.search.scope_check import require_include_scopes, require_search_scopes
from ehr_gateway.search.statements import Match, SearchExecutor, SearchLimits
from ehr_gateway.store.store import Store

__all__ = ["search_types", "search_types_on"]

_AUDIT_EVENT = "AuditEvent"
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class _TypedMatch:
    type: str
    match: Match

    @property
    def position(self) -> Position:
        return (*self.match.position, self.type)


def search_types(
    store: Store,
    access: Access,
    pairs: Pairs,
    *,
    within: tuple[str, str] | None = None,
    lenient: bool = False,
    limits: SearchLimits | None = None,
) -> SearchPage:
    """Return a page of matches of the types that `_type` names, or of all types.

    `within` is the type and id of a resource whose compartment is searched.
    """
    with store.read_transaction() as connection:
        return search_types_on(
            connection, store, access, pairs, within=within, lenient=lenient, limits=limits
        )


def search_types_on(
    connection: Connection,
    store: Store,
    access: Access,
    pairs: Pairs,
    *,
    within: tuple[str, str] | None = None,
    lenient: bool = False,
    limits: SearchLimits | None = None,
) -> SearchPage:
    """Search several types on an open connection, for example inside a transaction."""
    if within is not None:
        access.inquiry.name_target(*within)
    registry = store.registry(connection)
    kinds, issues = _covered_types(access, _requested_types(pairs, within), pairs)
    filters_and_order = [
        pair for pair in pairs if pair[0].partition(":")[0] not in INCLUDES | {"_type"}
    ]
    with use_added_parameters(registry.served):
        queries = {
            kind: _parse_for_type(access, kind, filters_and_order, within, lenient)
            for kind in kinds
        }
    # What is not about filters (order, count, total) is the same in each.
    query = queries[kinds[0]]
    _check_order(query)
    with use_added_parameters(registry.served):
        includes = _parse_includes(kinds, pairs)
    for type_query in queries.values():
        require_search_scopes(access, type_query)
    require_include_scopes(access, includes)
    unknown = _unknown_parameters(filters_and_order, query)
    applied = tuple(pair for pair in pairs if pair[0] != "_cursor" and pair not in unknown)
    scope = ["*", *(within or ()), applied]
    after = open_cursor(store.cursor_key, scope, query.cursor) if query.cursor else None
    limits = limits or SearchLimits()
    executor = SearchExecutor(connection, registry, access, limits)
    total = None
    if query.is_count_only or query.total != "none":
        total = sum(executor.count_matches(type_query) for type_query in queries.values())
    matches = [] if query.is_count_only else _merge_matches(executor, queries, query, after)
    page = matches[: query.count]
    versions = executor.load_versions([typed.match for typed in page])
    included, include_issues = find_included(
        connection, registry.ids, access, includes, versions, limits
    )
    cursor = None
    if len(matches) > query.count:
        cursor = seal_cursor(store.cursor_key, scope, page[-1].position)
    return SearchPage(
        matches=tuple(versions),
        included=included,
        total=total,
        next_cursor=cursor,
        self_pairs=applied,
        issues=(*query.issues, *issues, *include_issues),
        subset=query.subset,
    )


def _requested_types(pairs: Pairs, within: tuple[str, str] | None) -> list[str]:
    """Return the types that every `_type` parameter names and that are searched here, sorted."""
    requested = [value for name, value in pairs if name == "_type"]
    types = (
        set(compartment_types(within[0]))
        if within
        else definitions.resource_types() - {_AUDIT_EVENT}
    )
    for value in requested:
        names = value.split(",")
        for name in names:
            if name == _AUDIT_EVENT:
                raise Invalid("The audit log is searched at its own address, not with others.")
            if name not in definitions.resource_types():
                raise Invalid(f"`_type`: `{name[:64]}` is not a resource type of FHIR R4.")
        types &= set(names)
    if not types:
        raise Invalid("`_type` names no type that is searched here.")
    return sorted(types)


def _covered_types(
    access: Access, kinds: list[str], pairs: Pairs
) -> tuple[list[str], tuple[Issue, ...]]:
    """Return the types that the token's scopes cover, with a warning if there are others.

    Types that `_type` names must all be covered.
    """
    if any(name == "_type" for name, _ in pairs):
        require_search_scope(access, kinds, pairs)
    covered = [kind for kind in kinds if access.covers("search", kind)]
    if not covered:
        raise access.insufficient_scope("search", ["*"])
    if len(covered) == len(kinds):
        return covered, ()
    text = f"The access token's scopes cover {', '.join(covered)}; other types were not searched."
    return covered, (Issue(text, None, "suppressed", "warning"),)


def _parse_for_type(
    access: Access, kind: str, pairs: Pairs, within: tuple[str, str] | None, lenient: bool
) -> SearchQuery:
    try:
        query = parse_criteria(access, kind, pairs, lenient=lenient)
    except (Invalid, TooCostly) as error:
        # A parameter must be one of every type that is searched.
        raise type(error)(f"{kind}: {error}", issue_code=error.issues[0].code) from None
    if within is not None:
        query = replace(query, filters=(compartment_filter(*within, kind), *query.filters))
    return query


def _check_order(query: SearchQuery) -> None:
    if [key.code for key in query.sort] not in ([], ["_id"], ["_lastUpdated"]):
        raise Invalid("In a search of several types `_sort` takes `_lastUpdated` or `_id`.")


def _parse_includes(kinds: Sequence[str], pairs: Pairs) -> list[Include]:
    """Parse includes for each type; each must be valid for at least one of them."""
    includes: dict[Include, None] = {}
    for name, text in pairs:
        if name.partition(":")[0] not in INCLUDES:
            continue
        parsed, errors = [], []
        for kind in kinds:
            try:
                parsed.append(parse_include(kind, name, text))
            except Invalid as error:
                errors.append(error)
        if not parsed:
            raise errors[0]
        includes |= dict.fromkeys(parsed)
    if len(includes) > MAX_INCLUDES:
        raise TooCostly(f"At most {MAX_INCLUDES} includes are served.")
    return list(includes)


def _unknown_parameters(pairs: Pairs, query: SearchQuery) -> set[tuple[str, str]]:
    return {pair for pair in pairs if pair[0] != "_cursor"} - set(query.applied)


def _merge_matches(
    executor: SearchExecutor,
    queries: Mapping[str, SearchQuery],
    query: SearchQuery,
    after: Position | None,
) -> list[_TypedMatch]:
    """Return the matches of one page, and one more if there is a next page."""
    limit = query.count + 1
    descending = bool(query.sort) and query.sort[0].descending
    matches: list[_TypedMatch] = []
    last_type = str(after[-1]) if after else ""
    for kind, type_query in queries.items():
        if query.sort:
            # At equal values the types up to the position's own were on the page before.
            inclusive = kind < last_type if descending else kind > last_type
            position = after[:-1] if after else None
            type_matches = executor.find_matches(type_query, limit, position, inclusive=inclusive)
        elif kind < last_type:
            continue
        else:
            position = after[:-1] if after and kind == last_type else None
            type_matches = executor.find_matches(type_query, limit - len(matches), position)
        matches += [_TypedMatch(kind, match) for match in type_matches]
        if not query.sort and len(matches) >= limit:
            break
    if query.sort:
        matches.sort(key=lambda match: tuple(match.position), reverse=descending)
    return matches[:limit]
