"""Expand `:in`, `:not-in`, `:above` and `:below` into codes of stored ValueSets and CodeSystems.

There is no terminology service: a value set defined by a filter over a code system is refused,
never guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ehr_fhir.errors import Invalid, TooCostly
from ehr_fhir.json_text import parse
from ehr_fhir.references import local_target
from ehr_fhir.search.filters import AnyOf, Chain, Clause, Filter, Not, ReverseChain
from ehr_fhir.search.value_parser import SearchValue
from ehr_gateway.search.code_systems import related_codes
from ehr_gateway.store.store import Version

__all__ = ["CODE_SET_MODIFIERS", "MAX_CODES", "TERMINOLOGY_TYPES", "expand_codes"]

# Chosen: each code is a parameter of the statement, and both databases limit their number.
MAX_CODES = 1000
# Modifiers of a token whose values name a set of codes, and the type that holds the set.
TERMINOLOGY_TYPES = {
    "above": "CodeSystem",
    "below": "CodeSystem",
    "in": "ValueSet",
    "not-in": "ValueSet",
}
CODE_SET_MODIFIERS = frozenset(TERMINOLOGY_TYPES)
# Chosen: how deep value sets may include others.
_MAX_DEPTH = 8

# (code system, code); without a code, every code of the system.
Code = tuple[str, str | None]
# Searches the ValueSets and CodeSystems that the requester can find.
Find = Callable[[str, Sequence[tuple[str, str]]], Sequence[Version]]


def expand_codes(search_filter: Filter, find: Find) -> Filter:
    """Return a filter in which the codes take the place of the names of their sets."""
    if isinstance(search_filter, Chain):
        targets = tuple(
            (kind, expand_codes(target_filter, find))
            for kind, target_filter in search_filter.targets
        )
        return replace(search_filter, targets=targets)
    if isinstance(search_filter, ReverseChain | Not):
        return replace(search_filter, filter=expand_codes(search_filter.filter, find))
    if isinstance(search_filter, AnyOf):
        return AnyOf(
            tuple(
                tuple(expand_codes(part, find) for part in group) for group in search_filter.groups
            )
        )
    if (
        not isinstance(search_filter, Clause)
        or search_filter.parameter.type != "token"
        or search_filter.modifier not in CODE_SET_MODIFIERS
    ):
        return search_filter
    codes: dict[Code, None] = {}
    for value in search_filter.values:
        if search_filter.modifier in ("above", "below"):
            codes |= dict.fromkeys(_related_in_code_system(value, search_filter.modifier, find))
        else:
            codes |= dict.fromkeys(_expand_value_set(str(value.url), find, ()))
    if len(codes) > MAX_CODES:
        raise TooCostly(f"`:{search_filter.modifier}` takes at most {MAX_CODES} codes in all.")
    values = tuple(SearchValue(system=system, code=code) for system, code in codes)
    return replace(search_filter, values=values)


def _related_in_code_system(value: SearchValue, direction: str, find: Find) -> Iterator[Code]:
    system, code = str(value.system), str(value.code)
    body = _load_by_url("CodeSystem", system, find)
    yield from ((system, related) for related in related_codes(body, code, direction))


def _expand_value_set(name: str, find: Find, within: tuple[str, ...]) -> list[Code]:
    if name in within or len(within) >= _MAX_DEPTH:
        raise Invalid("A value set holds itself, or others too deep.", issue_code="too-costly")
    return _value_set_codes(_load_by_url("ValueSet", name, find), find, (*within, name))


_TYPE_WORDS = {"CodeSystem": "code system", "ValueSet": "value set"}


def _load_by_url(kind: str, name: str, find: Find) -> Mapping[str, Any]:
    """Return the only resource stored under a reference, a url, or `url|version`."""
    local = local_target(name)
    if local and local.type == kind:
        versions = find(kind, [("_id", local.id)])
    else:
        url, _, version = name.partition("|")
        pairs = [("url", _escape_search_value(url)), ("version", _escape_search_value(version))]
        versions = find(kind, pairs if version else pairs[:1])
    if not versions:
        raise Invalid(f"There is no such {_TYPE_WORDS[kind]} here; store the {kind} first.")
    if len(versions) > 1:
        raise Invalid(
            f"Several {_TYPE_WORDS[kind]}s have this url; say which, as in `url|version`."
        )
    body: Mapping[str, Any] = parse(versions[0].body)
    return body


def _escape_search_value(text: str) -> str:
    for letter in "\\,|$":
        text = text.replace(letter, f"\\{letter}")
    return text


def _value_set_codes(
    value_set: Mapping[str, Any], find: Find, within: tuple[str, ...]
) -> list[Code]:
    expansion = value_set.get("expansion")
    if expansion and len(expansion.get("contains", ())) >= expansion.get("total", 0):
        return list(_expansion_codes(expansion.get("contains", ())))
    compose = value_set.get("compose", {})
    if not compose.get("include"):
        raise Invalid("The value set lists no codes, and has no expansion that is whole.")
    codes: dict[Code, None] = {}
    for element in compose["include"]:
        codes |= dict.fromkeys(_element_codes(element, find, within))
    for element in compose.get("exclude", ()):
        excluded = set(_element_codes(element, find, within))
        whole_systems = {system for system, code in excluded if code is None}
        partly = {system for system, _ in excluded} - whole_systems
        # All codes of a system but some: without a terminology service they cannot be listed.
        if any(code is None and system in partly for system, code in codes):
            raise _needs_terminology_service()
        codes = {
            code: None for code in codes if code not in excluded and code[0] not in whole_systems
        }
    return list(codes)


def _expansion_codes(entries: Iterable[Mapping[str, Any]]) -> Iterable[Code]:
    for entry in entries:
        if entry.get("code") and not entry.get("abstract"):
            yield entry.get("system", ""), entry["code"]
        yield from _expansion_codes(entry.get("contains", ()))


def _element_codes(element: Mapping[str, Any], find: Find, within: tuple[str, ...]) -> list[Code]:
    """Return the codes of one `include` or `exclude`: the intersection of the sets it names."""
    if element.get("filter"):
        raise _needs_terminology_service()
    sets = [_expand_value_set(name, find, within) for name in element.get("valueSet", ())]
    if system := element.get("system"):
        codes = [concept["code"] for concept in element.get("concept", ())]
        sets.append([(system, code) for code in codes] if codes else [(system, None)])
    if not sets:
        raise Invalid("The value set includes neither a code system nor a value set.")
    common = sets[0]
    for other in sets[1:]:
        common = _intersect(common, other)
    return common


def _intersect(left: Sequence[Code], right: Sequence[Code]) -> list[Code]:
    """Return the codes that are in both; a whole system holds each of its codes."""
    sides = [(left, set(right)), (right, set(left))]
    common = [
        code
        for codes, others in sides
        for code in codes
        if code in others or (code[0], None) in others
    ]
    return list(dict.fromkeys(common))


def _needs_terminology_service() -> Invalid:
    return Invalid(
        "The value set is defined by a filter over a code system, which needs a terminology"
        " service; there is none here. Store it with its expansion.",
        issue_code="not-supported",
    )
