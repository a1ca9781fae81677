"""A search request parsed: filters, includes, sort order, paging and form of the answer.

Filters are in `filters.py`, `_include` in `includes.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ehr_fhir import definitions
from ehr_fhir.errors import Invalid, Issue
from ehr_fhir.search.filter_expression import parse_expression
from ehr_fhir.search.filters import (
    MAX_HOPS,
    RESULT_PARAMETERS,
    Filter,
    UnknownParameter,
    count_hops,
    parse_filter,
    served_parameter,
)
from ehr_fhir.search.includes import INCLUDES, MAX_INCLUDES, Include, parse_include
from ehr_fhir.search_parameters import SearchParameter
from ehr_fhir.subset import SUMMARIES, Subset, parse_elements

__all__ = ["DEFAULT_COUNT", "MAX_COUNT", "SearchQuery", "SortKey", "parse_search"]
__all__ += ["parse_subset"]

DEFAULT_COUNT = 50
# Chosen: a page is made in memory.
MAX_COUNT = 1000
# Chosen: each key joins an index table.
MAX_SORT_KEYS = 8
# Of the whole exchange, not of the search; the HTTP side answers to them.
_HTTP_PARAMETERS = frozenset({"_format", "_pretty"})


@dataclass(frozen=True)
class SortKey:
    """One key of `_sort`."""

    parameter: SearchParameter
    descending: bool

    @property
    def code(self) -> str:
        """Return the parameter's name."""
        return self.parameter.code


@dataclass(frozen=True)
class SearchQuery:
    """A search of one resource type."""

    resource_type: str
    filters: tuple[Filter, ...] = ()
    includes: tuple[Include, ...] = ()
    count: int = DEFAULT_COUNT
    sort: tuple[SortKey, ...] = ()  # without one, by id
    total: str = "none"  # or accurate, estimate
    summary_count: bool = False
    subset: Subset | None = None
    cursor: str | None = None
    # What was understood, for the self link; what was not, for the answer's OperationOutcome.
    applied: tuple[tuple[str, str], ...] = ()
    issues: tuple[Issue, ...] = field(default=(), compare=False)

    @property
    def is_count_only(self) -> bool:
        """Say whether only the number of matches is wanted."""
        return self.summary_count or self.count == 0


def parse_search(
    resource_type: str, pairs: Iterable[tuple[str, str]], *, lenient: bool = False
) -> SearchQuery:
    """Parse the parameters of a search; with `lenient`, ignore unknown ones with a warning."""
    if resource_type not in definitions.resource_types():
        raise Invalid(f"`{resource_type}` is not a resource type of FHIR R4.")
    query = SearchQuery(resource_type)
    for name, value in pairs:
        if name in _HTTP_PARAMETERS:
            continue
        try:
            query = (_control if _is_control(name) else _add)(query, name, value)
        except UnknownParameter as unknown:
            if not lenient:
                raise Invalid(str(unknown), issue_code="not-supported") from None
            issue = Issue(f"{unknown} It was ignored.", None, "not-supported", "warning")
            query = replace(query, issues=(*query.issues, issue))
            continue
        if name != "_cursor":
            query = replace(query, applied=(*query.applied, (name, value)))
    if len(query.includes) > MAX_INCLUDES:
        raise Invalid(f"At most {MAX_INCLUDES} includes are served.", issue_code="too-costly")
    return query


def parse_subset(resource_type: str, pairs: Iterable[tuple[str, str]]) -> Subset | None:
    """Parse `_summary` and `_elements` of a read."""
    query = SearchQuery(resource_type)
    for name, text in pairs:
        query = _subset(query, name, text)
    if query.summary_count:
        raise Invalid("`_summary=count` is for searches.")
    return query.subset


def _is_control(name: str) -> bool:
    return name in RESULT_PARAMETERS or name.partition(":")[0] in INCLUDES


def _add(query: SearchQuery, name: str, text: str) -> SearchQuery:
    if name == "_filter":
        found = parse_expression(query.resource_type, text) if text else None
    else:
        found = parse_filter(query.resource_type, name, text)
    if found is None:
        return query
    filters = (*query.filters, found)
    # Asked at each, so that a long query is refused before it is read to its end.
    if count_hops([found]) and count_hops(filters) > MAX_HOPS:
        raise Invalid(f"A search follows at most {MAX_HOPS} references.", issue_code="too-costly")
    return replace(query, filters=filters)


def _control(query: SearchQuery, name: str, text: str) -> SearchQuery:
    if name == "_count":
        if not text.isdecimal() or len(text) > 9:
            raise Invalid("`_count` takes a whole number.")
        return replace(query, count=min(int(text), MAX_COUNT))
    if name == "_cursor":
        return replace(query, cursor=text)
    if name.partition(":")[0] in INCLUDES:
        found = parse_include(query.resource_type, name, text)
        return replace(query, includes=(*query.includes, found))
    if name == "_sort":
        return _sorted(query, text)
    if name == "_total":
        if text in ("accurate", "estimate", "none"):
            return replace(query, total=text)
        raise Invalid("`_total` takes `none`, `estimate` or `accurate`.")
    return _subset(query, name, text)


def _subset(query: SearchQuery, name: str, text: str) -> SearchQuery:
    if query.subset or query.summary_count:
        raise Invalid("`_summary` and `_elements` are given once, and not together.")
    if name == "_elements":
        elements = parse_elements(query.resource_type, text)
        return replace(query, subset=Subset(elements=elements)) if elements else query
    if text not in SUMMARIES:
        raise Invalid(f"`_summary` takes one of {', '.join(SUMMARIES)}.")
    if text in ("count", "false"):
        return replace(query, summary_count=text == "count")
    return replace(query, subset=Subset(summary=text))


def _sorted(query: SearchQuery, text: str) -> SearchQuery:
    keys = []
    for word in filter(None, text.split(",")):
        code = word.removeprefix("-")
        parameter = served_parameter(query.resource_type, code)
        if not parameter.is_indexed or parameter.type == "special":
            raise Invalid(f"`_sort` takes no parameter of type {parameter.type}, such as `{code}`.")
        keys.append(SortKey(parameter, word.startswith("-")))
    if len(query.sort) + len(keys) > MAX_SORT_KEYS:
        raise Invalid(f"`_sort` takes at most {MAX_SORT_KEYS} keys.", issue_code="too-costly")
    return replace(query, sort=(*query.sort, *keys))
