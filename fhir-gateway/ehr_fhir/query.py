"""A search as it was asked, understood: parameters, modifiers, values, form of the answer.

Chains, `_has`, composites, `near` and text search are refused here, by name, until they are served.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from ehr_fhir import definitions
from ehr_fhir.errors import Invalid, Issue
from ehr_fhir.query_values import SearchValue, parse_value, split
from ehr_fhir.search_parameters import SearchParameter, parameters

__all__ = ["DEFAULT_COUNT", "LARGEST_COUNT", "Clause", "Include", "SearchQuery", "parse"]

DEFAULT_COUNT = 50
LARGEST_COUNT = 1000
_MODIFIERS = {
    "date": {"missing"},
    "number": {"missing"},
    "quantity": {"missing"},
    "reference": {"identifier", "missing"},
    "string": {"contains", "exact", "missing"},
    "token": {"missing", "not"},
    "uri": {"above", "below", "missing"},
}
# Of the whole exchange, not of the search; the HTTP side answers to them.
_ELSEWHERE = frozenset({"_format", "_pretty"})
_NOT_YET = frozenset(
    {"_contained", "_containedType", "_content", "_elements", "_filter", "_has", "_list", "_query",
     "_revinclude", "_score", "_text", "_type"}
)  # fmt: skip
_CONTROLS = frozenset({"_count", "_cursor", "_include", "_sort", "_summary", "_total"})


@dataclass(frozen=True)
class Clause:
    """One parameter of a search: any of its values must hold; all clauses must."""

    parameter: SearchParameter
    modifier: str | None
    values: tuple[SearchValue, ...]


@dataclass(frozen=True)
class Include:
    """What `_include` asks for: the targets of one reference parameter, of one type or any."""

    parameter: SearchParameter
    target: str | None


@dataclass(frozen=True)
class SearchQuery:
    """A whole search of one resource type."""

    resource_type: str
    clauses: tuple[Clause, ...] = ()
    includes: tuple[Include, ...] = ()
    count: int = DEFAULT_COUNT
    sort: str = "_id"  # or _lastUpdated
    descending: bool = False
    total: str = "none"  # or accurate, estimate
    summary_count: bool = False
    cursor: str | None = None
    # What was understood, for the self link; what was not, for the answer's OperationOutcome.
    applied: tuple[tuple[str, str], ...] = ()
    issues: tuple[Issue, ...] = field(default=(), compare=False)


def parse(
    resource_type: str, pairs: Iterable[tuple[str, str]], *, lenient: bool = False
) -> SearchQuery:
    """Understand the parameters of a search; with `lenient`, pass over those that are not known."""
    if resource_type not in definitions.resource_types():
        raise Invalid(f"`{resource_type}` is not a resource type of FHIR R4.")
    query = SearchQuery(resource_type)
    for name, value in pairs:
        if name in _ELSEWHERE:
            continue
        try:
            query = _control(query, name, value) if name in _CONTROLS else _add(query, name, value)
        except _Unknown as unknown:
            if not lenient:
                raise Invalid(str(unknown), issue_code="not-supported") from None
            issue = Issue(f"{unknown} It was ignored.", None, "not-supported", "warning")
            query = replace(query, issues=(*query.issues, issue))
            continue
        if name != "_cursor":
            query = replace(query, applied=(*query.applied, (name, value)))
    return query


class _Unknown(Exception):
    """A parameter that this server does not know or serve; lenient handling passes over it."""


def _add(query: SearchQuery, name: str, text: str) -> SearchQuery:
    code, _, modifier = name.partition(":")
    parameter = _known(query.resource_type, code)
    if text == "":
        # R4 §3.1.1.2: a parameter without a value is passed over.
        return query
    _check_modifier(parameter, modifier)
    if modifier == "missing":
        if text not in ("true", "false"):
            raise Invalid(f"`{name}` takes `true` or `false`.")
        values: tuple[SearchValue, ...] = (SearchValue(code=text),)
    else:
        values = tuple(_value(parameter, modifier, one, name) for one in split(text, ","))
    clause = Clause(parameter, modifier or None, values)
    return replace(query, clauses=(*query.clauses, clause))


def _value(parameter: SearchParameter, modifier: str, text: str, name: str) -> SearchValue:
    try:
        return parse_value(parameter, modifier or None, text)
    except Invalid as error:
        raise Invalid(f"`{name}`: {error}") from None


def _known(resource_type: str, code: str) -> SearchParameter:
    known = parameters(resource_type)
    if code in known and known[code].supported:
        return known[code]
    if code in known or code in _NOT_YET:
        raise _Unknown(f"The search parameter `{code}` is not served yet.")
    if "." in code and code.split(".")[0] in known:
        raise _Unknown(f"Chained parameters such as `{code}` are not served yet.")
    names = [*(name for name, one in known.items() if one.supported), *_CONTROLS]
    nearest = difflib.get_close_matches(code, names, 1, 0)
    raise _Unknown(
        f"{resource_type} has no search parameter `{code}`; the nearest name is `{nearest[0]}`."
    )


def _check_modifier(parameter: SearchParameter, modifier: str) -> None:
    if not modifier or modifier in _MODIFIERS[parameter.type]:
        if modifier and parameter.code in ("_id", "_lastUpdated"):
            raise Invalid(f"`{parameter.code}` takes no modifier.")
        return
    if parameter.type == "reference" and modifier in definitions.resource_types():
        if not parameter.targets or modifier in parameter.targets:
            return
        raise Invalid(f"`{parameter.code}` does not refer to a {modifier}.")
    raise Invalid(
        f"`:{modifier}` is not served on `{parameter.code}`, which is of type {parameter.type}.",
        issue_code="not-supported",
    )


def _control(query: SearchQuery, name: str, text: str) -> SearchQuery:
    if name == "_count":
        if not text.isdecimal() or len(text) > 9:
            raise Invalid("`_count` takes a whole number.")
        return replace(query, count=min(int(text), LARGEST_COUNT))
    if name == "_cursor":
        return replace(query, cursor=text)
    if name == "_include":
        return replace(query, includes=(*query.includes, _include(query.resource_type, text)))
    if name == "_sort":
        return _sorted(query, text)
    if name == "_total":
        if text in ("accurate", "estimate", "none"):
            return replace(query, total=text)
        raise Invalid("`_total` takes `none`, `estimate` or `accurate`.")
    if text not in ("count", "false"):
        raise _Unknown("Of the values of `_summary`, `count` and `false` are served.")
    return replace(query, summary_count=text == "count")


def _sorted(query: SearchQuery, text: str) -> SearchQuery:
    key = text.removeprefix("-")
    if key not in ("_id", "_lastUpdated"):
        raise _Unknown(
            "`_sort` takes `_id` or `_lastUpdated`, with `-` before it to turn it round."
        )
    return replace(query, sort=key, descending=text.startswith("-"))


def _include(resource_type: str, text: str) -> Include:
    source, code, target = [*_padded(text.split(":"))][:3]
    if source != resource_type:
        raise Invalid(f"`_include` must start with the type searched: `{resource_type}:`.")
    parameter = _known(resource_type, code)
    if parameter.type != "reference":
        raise Invalid(f"`_include` needs a reference; `{code}` is of type {parameter.type}.")
    if target and target not in definitions.resource_types():
        raise Invalid(f"`{target}` is not a resource type of FHIR R4.")
    return Include(parameter, target or None)


def _padded(parts: Sequence[str]) -> Sequence[str]:
    return [*parts, "", "", ""]
