"""Parse the criteria of a request and note in its inquiry whom they name.

Also those of a request that is refused before anything is searched: whoever asks has asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from ehr_fhir.errors import EhrError
from ehr_fhir.search.query import SearchQuery, parse_search
from ehr_fhir.search.query_string import parse_query_pairs
from ehr_gateway.access import Access

__all__ = ["note_criteria", "parse_criteria", "require_search_scope"]

# Of criteria that were refused, so many are read one by one. Chosen: no real search has more.
_MAX_REFUSED_PAIRS = 50


def parse_criteria(
    access: Access,
    resource_type: str,
    pairs: Sequence[tuple[str, str]],
    *,
    lenient: bool = False,
) -> SearchQuery:
    """Parse a search and note whom it names, also when it is refused."""
    try:
        query = parse_search(resource_type, pairs, lenient=lenient)
    except EhrError:
        for pair in pairs[:_MAX_REFUSED_PAIRS]:
            _note_pair(access, resource_type, pair)
        raise
    access.inquiry.name_criteria(resource_type, query.filters, access.base)
    return query


def note_criteria(access: Access, resource_type: str, criteria: str) -> None:
    """Note whom criteria name that may not come to be searched by."""
    with suppress(EhrError, ValueError):
        parse_criteria(access, resource_type, parse_query_pairs(criteria))


def require_search_scope(
    access: Access, resource_types: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> None:
    """Refuse a search of types that the token does not cover, and note whom it names."""
    try:
        access.require_scope("search", *resource_types)
    except EhrError:
        for resource_type in resource_types:
            with suppress(EhrError):
                parse_criteria(access, resource_type, pairs)
        raise


def _note_pair(access: Access, resource_type: str, pair: tuple[str, str]) -> None:
    try:
        query = parse_search(resource_type, [pair])
    except EhrError:
        return
    access.inquiry.name_criteria(resource_type, query.filters, access.base)
