"""Expand `:in`, `:not-in`, `:above` and `:below` into codes, by the library of the requester.

A whole code system, or one of which a few codes are left out, stays what it is and is not listed:
its codes need not be here. What needs a code system that is not here is refused, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ehr_fhir.errors import Invalid, TooCostly
from ehr_fhir.json_text import parse
from ehr_fhir.references import local_target
from ehr_fhir.search.filters import AnyOf, Chain, Clause, Filter, Not, ReverseChain
from ehr_fhir.search.value_parser import SearchValue
from ehr_fhir.terminology.code_system import ConceptFilter, Selection
from ehr_fhir.terminology.library import Library
from ehr_fhir.terminology.r4 import R4_LIBRARY
from ehr_fhir.terminology.value_sets import split_canonical
from ehr_gateway.search.stored_library import Find, escape_search_value

__all__ = [
    "CODE_SET_MODIFIERS",
    "MAX_CODES",
    "TERMINOLOGY_TYPES",
    "TerminologyAccess",
    "expand_codes",
]

# Chosen: such a search takes tens of milliseconds; a set of more is too much for one.
MAX_CODES = 20_000
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
# Chosen: of one search, those that others include and each repetition.
_MAX_VALUE_SETS = 200

# (code system, code); without a code, every code of the system.
Code = tuple[str, str | None]


@dataclass(frozen=True)
class TerminologyAccess:
    """How a requester finds ValueSets, and the library that has their code systems."""

    find: Find
    library: Library
    # The value sets that one search has read.
    read: list[str] = field(default_factory=list)


def expand_codes(search_filter: Filter, terms: TerminologyAccess) -> Filter:
    """Return a filter in which the codes take the place of the names of their sets."""
    if isinstance(search_filter, Chain):
        targets = tuple(
            (kind, expand_codes(target_filter, terms))
            for kind, target_filter in search_filter.targets
        )
        return replace(search_filter, targets=targets)
    if isinstance(search_filter, ReverseChain | Not):
        return replace(search_filter, filter=expand_codes(search_filter.filter, terms))
    if isinstance(search_filter, AnyOf):
        return AnyOf(
            tuple(
                tuple(expand_codes(part, terms) for part in group) for group in search_filter.groups
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
            codes |= dict.fromkeys(_related_in_code_system(value, search_filter.modifier, terms))
        else:
            codes |= dict.fromkeys(_expand_value_set(str(value.url), terms, ()))
    if len(codes) > MAX_CODES:
        raise TooCostly(f"`:{search_filter.modifier}` takes at most {MAX_CODES} codes in all.")
    values = tuple(SearchValue(system=system, code=code) for system, code in codes)
    return replace(search_filter, values=values)


def _related_in_code_system(
    value: SearchValue, direction: str, terms: TerminologyAccess
) -> Iterator[Code]:
    url, _, version = str(value.system).partition("|")
    code = str(value.code)
    system = terms.library.code_system(url, version or None)
    if system is None:
        raise Invalid("There is no such code system here; store the CodeSystem first.")
    if system.header.content != "complete":
        raise Invalid(
            "The code system is stored without all of its concepts.", issue_code="not-supported"
        )
    if not system.header.is_hierarchy:
        raise Invalid(
            "The levels of the code system do not mean that one code is another.",
            issue_code="not-supported",
        )
    if system.find(code) is None:
        raise Invalid("The code system has no such code.")
    yield from ((url, related) for related in system.lineage(code, direction))


def _expand_value_set(name: str, terms: TerminologyAccess, within: tuple[str, ...]) -> list[Code]:
    if name in within or len(within) >= _MAX_DEPTH:
        raise Invalid("A value set holds itself, or others too deep.", issue_code="too-costly")
    terms.read.append(name)
    if len(terms.read) > _MAX_VALUE_SETS:
        raise TooCostly(f"A search takes at most {_MAX_VALUE_SETS} value sets.")
    return _value_set_codes(_load_value_set(name, terms), terms, (*within, name))


def _load_value_set(name: str, terms: TerminologyAccess) -> Mapping[str, Any]:
    """Return R4's own value set, or the only one stored under a reference, a url or `url|1`."""
    local = local_target(name)
    if local and local.type == "ValueSet":
        versions = terms.find("ValueSet", [("_id", local.id)])
    else:
        url, version = split_canonical(name)
        if own := R4_LIBRARY.value_set(url, version):
            return own
        pairs = [("url", escape_search_value(url))]
        if version:
            pairs.append(("version", escape_search_value(version)))
        versions = terms.find("ValueSet", pairs)
    if not versions:
        raise Invalid("There is no such value set here; store the ValueSet first.")
    if len(versions) > 1:
        raise Invalid("Several value sets have this url; say which, as in `url|version`.")
    body: Mapping[str, Any] = parse(versions[0].body)
    return body


def _value_set_codes(
    value_set: Mapping[str, Any], terms: TerminologyAccess, within: tuple[str, ...]
) -> list[Code]:
    expansion = value_set.get("expansion")
    if expansion and len(expansion.get("contains", ())) >= expansion.get("total", 0):
        return list(_expansion_codes(expansion.get("contains", ())))
    compose = value_set.get("compose", {})
    if not compose.get("include"):
        raise Invalid("The value set lists no codes, and has no expansion that is whole.")
    codes: dict[Code, None] = {}
    for element in compose["include"]:
        codes |= dict.fromkeys(_element_codes(element, terms, within))
    for element in compose.get("exclude", ()):
        excluded = set(_element_codes(element, terms, within))
        whole_systems = {system for system, code in excluded if code is None}
        partly = {system for system, _ in excluded} - whole_systems
        # All codes of a system but some: they have to be listed.
        for system in partly & {system for system, code in codes if code is None}:
            del codes[system, None]
            codes |= dict.fromkeys(_select_codes({"system": system}, terms))
        codes = {
            code: None for code in codes if code not in excluded and code[0] not in whole_systems
        }
    return list(codes)


def _expansion_codes(entries: Iterable[Mapping[str, Any]]) -> Iterable[Code]:
    for entry in entries:
        if entry.get("code") and not entry.get("abstract"):
            yield entry.get("system", ""), entry["code"]
        yield from _expansion_codes(entry.get("contains", ()))


def _element_codes(
    element: Mapping[str, Any], terms: TerminologyAccess, within: tuple[str, ...]
) -> list[Code]:
    """Return the codes of one `include` or `exclude`: the intersection of the sets it names."""
    sets = [_expand_value_set(name, terms, within) for name in element.get("valueSet", ())]
    if element.get("filter"):
        sets.append(_select_codes(element, terms))
    elif system := element.get("system"):
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


def _select_codes(element: Mapping[str, Any], terms: TerminologyAccess) -> list[Code]:
    """Return the codes of a code system that is here, by the filters of an `include`."""
    url = str(element.get("system", ""))
    system = terms.library.code_system(url, element.get("version"))
    if system is None or system.header.content != "complete":
        raise Invalid(
            "The value set chooses among the codes of a code system that is not here whole.",
            issue_code="not-supported",
        )
    filters = tuple(
        ConceptFilter(str(one.get("property")), str(one.get("op")), str(one.get("value", "")))
        for one in element.get("filter", ())
    )
    found = system.select(Selection(filters, limit=MAX_CODES + 1))
    return [(url, concept.code) for concept in found]
