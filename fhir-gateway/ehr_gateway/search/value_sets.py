"""What codes a token's modifier stands for: those of stored value sets, and of code systems.

No terminology service: what is defined by a filter over a code system is refused, never guessed.
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

__all__ = ["CODE_SET_MODIFIERS", "MAX_CODES", "expand_codes"]

MAX_CODES = 1000
# A token's modifiers whose values name codes, and are none.
CODE_SET_MODIFIERS = frozenset({"above", "below", "in", "not-in"})
_MAX_DEPTH = 8

# A code system and a code of it; no code stands for all of the system.
Code = tuple[str, str | None]
# Searches the value sets and code systems that the requester may find.
Find = Callable[[str, Sequence[tuple[str, str]]], Sequence[Version]]


def expand_codes(one: Filter, find: Find) -> Filter:
    """Return a filter with the codes that it means in the place of their names."""
    if isinstance(one, Chain):
        targets = tuple((kind, expand_codes(after, find)) for kind, after in one.targets)
        return replace(one, targets=targets)
    if isinstance(one, ReverseChain | Not):
        return replace(one, filter=expand_codes(one.filter, find))
    if isinstance(one, AnyOf):
        return AnyOf(
            tuple(tuple(expand_codes(part, find) for part in group) for group in one.groups)
        )
    if (
        not isinstance(one, Clause)
        or one.parameter.type != "token"
        or one.modifier not in CODE_SET_MODIFIERS
    ):
        return one
    codes: dict[Code, None] = {}
    for value in one.values:
        if one.modifier in ("above", "below"):
            codes |= dict.fromkeys(_related_in_code_system(value, one.modifier, find))
        else:
            codes |= dict.fromkeys(_expand_value_set(str(value.url), find, ()))
    if len(codes) > MAX_CODES:
        raise TooCostly(f"`:{one.modifier}` takes at most {MAX_CODES} codes in all.")
    values = tuple(SearchValue(system=system, code=code) for system, code in codes)
    return replace(one, values=values)


def _related_in_code_system(value: SearchValue, direction: str, find: Find) -> Iterator[Code]:
    system, code = str(value.system), str(value.code)
    body = _load_by_url("CodeSystem", system, find)
    yield from ((system, one) for one in related_codes(body, code, direction))


def _expand_value_set(name: str, find: Find, within: tuple[str, ...]) -> list[Code]:
    if name in within or len(within) >= _MAX_DEPTH:
        raise Invalid("A value set holds itself, or others too deep.", issue_code="too-costly")
    return _value_set_codes(_load_by_url("ValueSet", name, find), find, (*within, name))


_TYPE_WORDS = {"CodeSystem": "code system", "ValueSet": "value set"}


def _load_by_url(kind: str, name: str, find: Find) -> Mapping[str, Any]:
    """Return what is stored under an id, a url, or a url with a version."""
    local = local_target(name)
    if local and local.type == kind:
        found = find(kind, [("_id", local.id)])
    else:
        url, _, version = name.partition("|")
        pairs = [("url", _escape_search_value(url)), ("version", _escape_search_value(version))]
        found = find(kind, pairs if version else pairs[:1])
    if not found:
        raise Invalid(f"There is no such {_TYPE_WORDS[kind]} here; store the {kind} first.")
    if len(found) > 1:
        raise Invalid(
            f"Several {_TYPE_WORDS[kind]}s have this url; say which, as in `url|version`."
        )
    body: Mapping[str, Any] = parse(found[0].body)
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
    found: dict[Code, None] = {}
    for one in compose["include"]:
        found |= dict.fromkeys(_element_codes(one, find, within))
    for one in compose.get("exclude", ()):
        out = set(_element_codes(one, find, within))
        whole = {system for system, code in out if code is None}
        partly = {system for system, _ in out} - whole
        if any(code is None and system in partly for system, code in found):
            raise _needs_terminology_service()
        found = {code: None for code in found if code not in out and code[0] not in whole}
    return list(found)


def _expansion_codes(entries: Iterable[Mapping[str, Any]]) -> Iterable[Code]:
    for one in entries:
        if one.get("code") and not one.get("abstract"):
            yield one.get("system", ""), one["code"]
        yield from _expansion_codes(one.get("contains", ()))


def _element_codes(one: Mapping[str, Any], find: Find, within: tuple[str, ...]) -> list[Code]:
    """Return the codes of one `include` or `exclude`: those that all it names have in common."""
    if one.get("filter"):
        raise _needs_terminology_service()
    sets = [_expand_value_set(name, find, within) for name in one.get("valueSet", ())]
    if system := one.get("system"):
        codes = [concept["code"] for concept in one.get("concept", ())]
        sets.append([(system, code) for code in codes] if codes else [(system, None)])
    if not sets:
        raise Invalid("The value set includes neither a code system nor a value set.")
    common = sets[0]
    for other in sets[1:]:
        common = _intersect(common, other)
    return common


def _intersect(some: Sequence[Code], others: Sequence[Code]) -> list[Code]:
    sides = [(some, set(others)), (others, set(some))]
    found = [one for ones, rest in sides for one in ones if one in rest or (one[0], None) in rest]
    return list(dict.fromkeys(found))


def _needs_terminology_service() -> Invalid:
    return Invalid(
        "The value set is defined by a filter over a code system, which needs a terminology"
        " service; there is none here. Store it with its expansion.",
        issue_code="not-supported",
    )
