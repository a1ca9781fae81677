"""search of several resource types at once (R4 §3.1.1.2): of the system, or of a compartment.

Each type is a search of its own, with its own plan; here their answers become one. Without `_sort`
they come type by type; by `_lastUpdated` or `_id` they are merged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ehr_fhir import definitions
from ehr_fhir.errors import Invalid, TooCostly
from ehr_fhir.search.compartment_filters import compartment_filter, compartment_types
from ehr_fhir.search.includes import INCLUDES, MOST_INCLUDES, Include, parse_include
from ehr_fhir.search.query import SearchQuery, parse_search
from ehr_fhir.search_parameters import use_added_parameters
from ehr_gateway.access import Access
from ehr_gateway.database import Connection
from ehr_gateway.search.cursor import Position, open_cursor, seal_cursor
from ehr_gateway.search.include import find_included
from ehr_gateway.search.page import SearchPage
from ehr_gateway.search.statements import Match, SearchExecutor, SearchLimits
from ehr_gateway.store.store import Store

__all__ = ["search_types", "search_types_on"]

_AUDIT_EVENT = "AuditEvent"
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class _TypedMatch:
    type: str
    found: Match

    @property
    def place(self) -> Position:
        return (*self.found.place, self.type)


def search_types(
    store: Store,
    access: Access,
    pairs: Pairs,
    *,
    within: tuple[str, str] | None = None,
    lenient: bool = False,
    limits: SearchLimits | None = None,
) -> SearchPage:
    """Search the types that `_type` names, or all; of a compartment, or everywhere."""
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
    """Search as a connection sees the store, for example inside a transaction."""
    registry = store.registry(connection)
    kinds = _requested_types(pairs, within)
    own = [pair for pair in pairs if pair[0].partition(":")[0] not in INCLUDES | {"_type"}]
    with use_added_parameters(registry.served):
        queries = {kind: _parse_for_type(kind, own, within, lenient) for kind in kinds}
    query = queries[kinds[0]]
    _check_order(query)
    with use_added_parameters(registry.served):
        includes = _parse_includes(kinds, pairs)
    unknown = _unknown_parameters(own, query)
    applied = tuple(pair for pair in pairs if pair[0] != "_cursor" and pair not in unknown)
    scope = ["*", *(within or ()), applied]
    after = open_cursor(store.cursor_key, scope, query.cursor) if query.cursor else None
    limits = limits or SearchLimits()
    searching = SearchExecutor(connection, registry, access, limits)
    total = None
    if query.is_count_only or query.total != "none":
        total = sum(searching.total(one) for one in queries.values())
    matches = [] if query.is_count_only else _merge_matches(searching, queries, query, after)
    page = matches[: query.count]
    by_pk = {one.pk: one for one in searching.versions([match.found for match in page])}
    versions = [by_pk[match.found.pk] for match in page]
    more, issues = find_included(connection, registry.ids, access, includes, versions, limits)
    cursor = None
    if len(matches) > query.count:
        cursor = seal_cursor(store.cursor_key, scope, page[-1].place)
    return SearchPage(
        tuple(versions), more, total, cursor, applied, (*query.issues, *issues), query.subset
    )


def _requested_types(pairs: Pairs, within: tuple[str, str] | None) -> list[str]:
    asked = [value for name, value in pairs if name == "_type"]
    known = (
        set(compartment_types(within[0]))
        if within
        else definitions.resource_types() - {_AUDIT_EVENT}
    )
    if not asked:
        return sorted(known)
    found = set(known)
    for value in asked:
        names = value.split(",")
        for name in names:
            if name == _AUDIT_EVENT:
                raise Invalid("The audit log is searched at its own address, not with others.")
            if name not in definitions.resource_types():
                raise Invalid(f"`_type`: `{name[:64]}` is not a resource type of FHIR R4.")
        found &= set(names)
    if not found:
        raise Invalid("`_type` names no type that is searched here.")
    return sorted(found)


def _parse_for_type(
    kind: str, pairs: Pairs, within: tuple[str, str] | None, lenient: bool
) -> SearchQuery:
    try:
        query = parse_search(kind, pairs, lenient=lenient)
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
    found: dict[Include, None] = {}
    for name, text in pairs:
        if name.partition(":")[0] not in INCLUDES:
            continue
        meant, refused = [], []
        for kind in kinds:
            try:
                meant.append(parse_include(kind, name, text))
            except Invalid as error:
                refused.append(error)
        if not meant:
            raise refused[0]
        found |= dict.fromkeys(meant)
    if len(found) > MOST_INCLUDES:
        raise TooCostly(f"At most {MOST_INCLUDES} includes are served.")
    return list(found)


def _unknown_parameters(pairs: Pairs, query: SearchQuery) -> set[tuple[str, str]]:
    return {pair for pair in pairs if pair[0] != "_cursor"} - set(query.applied)


def _merge_matches(
    searching: SearchExecutor,
    queries: Mapping[str, SearchQuery],
    query: SearchQuery,
    after: Position | None,
) -> list[_TypedMatch]:
    """Return the matches of one page and, if there is one, the next."""
    most = query.count + 1
    down = bool(query.sort) and query.sort[0].descending
    found: list[_TypedMatch] = []
    reached = str(after[-1]) if after else ""
    for kind, one in queries.items():
        if query.sort:
            # Of equals, those of the types before the position have been shown.
            beyond = kind < reached if down else kind > reached
            place = after[:-1] if after else None
            some = searching.matches(one, most, place, inclusive=beyond)
        elif kind < reached:
            continue
        else:
            place = after[:-1] if after and kind == reached else None
            some = searching.matches(one, most - len(found), place)
        found += [_TypedMatch(kind, match) for match in some]
        if not query.sort and len(found) >= most:
            break
    if query.sort:
        found.sort(key=lambda match: tuple(match.place), reverse=down)
    return found[:most]
