"""What codes a value set holds, for `:in` and `:not-in`: stored value sets that list them.

No terminology service: what is defined by a filter over a code system is refused, never guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ehr_fhir.errors import Invalid, TooCostly
from ehr_fhir.json_text import parse
from ehr_fhir.query_filters import AnyOf, Chain, Clause, Filter, Has, Not
from ehr_fhir.query_values import SearchValue
from ehr_fhir.references import target
from ehr_gateway.store import Version

__all__ = ["MOST_CODES", "expanded"]

MOST_CODES = 1000
_DEEPEST = 8

# A code system and a code of it; no code stands for all of the system.
Code = tuple[str, str | None]
# Searches the value sets that the requester may find.
Find = Callable[[Sequence[tuple[str, str]]], Sequence[Version]]


def expanded(one: Filter, find: Find) -> Filter:
    """Return a filter with the codes of its value sets in the place of their names."""
    if isinstance(one, Chain):
        targets = tuple((kind, expanded(after, find)) for kind, after in one.targets)
        return replace(one, targets=targets)
    if isinstance(one, Has | Not):
        return replace(one, filter=expanded(one.filter, find))
    if isinstance(one, AnyOf):
        return AnyOf(tuple(tuple(expanded(part, find) for part in group) for group in one.groups))
    if not isinstance(one, Clause) or one.modifier not in ("in", "not-in"):
        return one
    codes: dict[Code, None] = {}
    for value in one.values:
        codes |= dict.fromkeys(_named(str(value.url), find, ()))
    if len(codes) > MOST_CODES:
        raise TooCostly(f"`:{one.modifier}` takes value sets of at most {MOST_CODES} codes.")
    values = tuple(SearchValue(system=system, code=code) for system, code in codes)
    return replace(one, values=values)


def _named(name: str, find: Find, within: tuple[str, ...]) -> list[Code]:
    if name in within or len(within) >= _DEEPEST:
        raise Invalid("A value set holds itself, or others too deep.", issue_code="too-costly")
    local = target(name)
    if local and local.type == "ValueSet":
        found = find([("_id", local.id)])
    else:
        url, _, version = name.partition("|")
        pairs = [("url", _escaped(url)), ("version", _escaped(version))]
        found = find(pairs if version else pairs[:1])
    if not found:
        raise Invalid("There is no such value set here; store the ValueSet first.")
    if len(found) > 1:
        raise Invalid("Several value sets have this url; say which, as in `url|version`.")
    return _codes(parse(found[0].body), find, (*within, name))


def _escaped(text: str) -> str:
    for letter in "\\,|$":
        text = text.replace(letter, f"\\{letter}")
    return text


def _codes(value_set: Mapping[str, Any], find: Find, within: tuple[str, ...]) -> list[Code]:
    expansion = value_set.get("expansion")
    if expansion and len(expansion.get("contains", ())) >= expansion.get("total", 0):
        return list(_contained(expansion.get("contains", ())))
    compose = value_set.get("compose", {})
    if not compose.get("include"):
        raise Invalid("The value set lists no codes, and has no expansion that is whole.")
    found: dict[Code, None] = {}
    for one in compose["include"]:
        found |= dict.fromkeys(_included(one, find, within))
    for one in compose.get("exclude", ()):
        out = set(_included(one, find, within))
        whole = {system for system, code in out if code is None}
        partly = {system for system, _ in out} - whole
        if any(code is None and system in partly for system, code in found):
            raise _open_ended()
        found = {code: None for code in found if code not in out and code[0] not in whole}
    return list(found)


def _contained(entries: Iterable[Mapping[str, Any]]) -> Iterable[Code]:
    for one in entries:
        if one.get("code") and not one.get("abstract"):
            yield one.get("system", ""), one["code"]
        yield from _contained(one.get("contains", ()))


def _included(one: Mapping[str, Any], find: Find, within: tuple[str, ...]) -> list[Code]:
    """Return the codes of one `include` or `exclude`: those that all it names have in common."""
    if one.get("filter"):
        raise _open_ended()
    sets = [_named(name, find, within) for name in one.get("valueSet", ())]
    if system := one.get("system"):
        codes = [concept["code"] for concept in one.get("concept", ())]
        sets.append([(system, code) for code in codes] if codes else [(system, None)])
    if not sets:
        raise Invalid("The value set includes neither a code system nor a value set.")
    common = sets[0]
    for other in sets[1:]:
        common = _common(common, other)
    return common


def _common(some: Sequence[Code], others: Sequence[Code]) -> list[Code]:
    sides = [(some, set(others)), (others, set(some))]
    found = [one for ones, rest in sides for one in ones if one in rest or (one[0], None) in rest]
    return list(dict.fromkeys(found))


def _open_ended() -> Invalid:
    return Invalid(
        "The value set is defined by a filter over a code system, which needs a terminology"
        " service; there is none here. Store it with its expansion.",
        issue_code="not-supported",
    )
