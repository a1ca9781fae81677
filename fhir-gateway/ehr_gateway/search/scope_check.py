"""Whether a token's scopes cover all that a search reads: its type, chains, `_has`, includes.

SMART App Launch 2.2 leaves open what a search answers that reads a type without a scope. Here it is
refused: "no match" for lack of a right would read as "no allergies". The refusal is made from the
query and the token alone, so that it tells nothing of what is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ehr_fhir.search.filters import AnyOf, Chain, Clause, Filter, Not, ReverseChain
from ehr_fhir.search.includes import Include
from ehr_fhir.search.query import SearchQuery
from ehr_gateway.access import Access
from ehr_gateway.search.value_sets import TERMINOLOGY_TYPES

__all__ = ["require_include_scopes", "require_search_scopes"]


def require_search_scopes(access: Access, query: SearchQuery) -> None:
    """Refuse a search that reads types for which the token has no right to search.

    A chain that may lead to several types needs all of them: it can name one, as in
    `subject:Patient.name`.
    """
    access.require_scope("search", query.resource_type)
    for search_filter in query.filters:
        access.require_scope("search", *_linked_types(search_filter))
    require_include_scopes(access, query.includes)


def require_include_scopes(access: Access, includes: Iterable[Include]) -> None:
    """Refuse includes of types for which the token has no right to search.

    A forward include may lead to several types, and one that is covered is enough: what is left out
    still stands as a reference in the match, so nothing reads as absent.
    """
    for include in includes:
        access.require_scope("search", include.source)
        targets = {include.target} if include.target else _targets(include)
        if include.reverse or not targets:
            continue
        if not any(access.covers("search", target) for target in targets):
            raise access.insufficient_scope("search", sorted(targets))


def _targets(include: Include) -> set[str]:
    """Return the types that an include may lead to; empty where one of its references leads to any.

    R4 gives no targets for a reference to any type.
    """
    if not all(parameter.targets for parameter in include.parameters):
        return set()
    return {target for parameter in include.parameters for target in parameter.targets}


def _linked_types(search_filter: Filter) -> Iterator[str]:
    """Yield the types that a filter reads beside the type that is searched."""
    if isinstance(search_filter, Chain):
        for target, target_filter in search_filter.targets:
            yield target
            yield from _linked_types(target_filter)
    elif isinstance(search_filter, ReverseChain):
        yield search_filter.parameter.resource_type
        yield from _linked_types(search_filter.filter)
    elif isinstance(search_filter, Not):
        yield from _linked_types(search_filter.filter)
    elif isinstance(search_filter, AnyOf):
        for group in search_filter.groups:
            for part in group:
                yield from _linked_types(part)
    elif (
        isinstance(search_filter, Clause)
        and search_filter.parameter.type == "token"
        and search_filter.modifier in TERMINOLOGY_TYPES
    ):
        yield TERMINOLOGY_TYPES[search_filter.modifier]
