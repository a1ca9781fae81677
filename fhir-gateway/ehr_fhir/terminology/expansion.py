"""`$expand`: the codes of a value set as a list, in pages, filtered by words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ehr_fhir.errors import TooCostly, Unprocessable
from ehr_fhir.terminology.code_system import (
    CodeSystem,
    ConceptFilter,
    Selection,
)
from ehr_fhir.terminology.concepts import Concept, has_words, search_words
from ehr_fhir.terminology.value_sets import (
    ListedCode,
    Part,
    ResolvedValueSet,
    join_canonical,
)

__all__ = ["MAX_EXPANSION", "Expansion", "ExpansionRequest", "expand", "list_codes"]

# Chosen: an answer of about a megabyte; more is asked for in pages.
MAX_EXPANSION = 5_000
# Chosen: how many codes are looked through where sets are taken from or put into each other.
_MAX_EXAMINED = 100_000


@dataclass(frozen=True)
class ExpansionRequest:
    """What shapes an expansion."""

    text: str = ""
    offset: int = 0
    # None for all, which are then at most MAX_EXPANSION.
    count: int | None = None
    active_only: bool = False
    exclude_nested: bool = False
    exclude_not_for_ui: bool = False
    with_designations: bool = False
    # `language` or `system|code` of a use; all where none is named.
    designations: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Expansion:
    """The entries of a page as ValueSet.expansion.contains has them, and how many there are."""

    contains: tuple[dict[str, Any], ...]
    total: int
    # Canonicals of the code systems and value sets that were used.
    used_systems: tuple[str, ...]
    used_value_sets: tuple[str, ...]


@dataclass(frozen=True)
class _Member:
    """A code of the set: its concept where the code system is here, its own names if it has."""

    system: str
    code: str
    concept: Concept | None
    listed: ListedCode | None = None
    source: CodeSystem | None = None


def expand(value_set: ResolvedValueSet, request: ExpansionRequest) -> Expansion:
    """Expand a value set; raise TooCostly for one that is too large, Unprocessable for a faulty."""
    if missing := value_set.unknown_systems():
        # The url of a code system is no secret: it stands in the value set.
        raise Unprocessable(
            f"The value set takes codes of a code system that is not here: {missing[0]}.",
            issue_code="not-found",
        )
    part = _only_part(value_set)
    if part is not None and part.system is not None:
        members, total = _select_page(value_set, part, part.system, request)
    else:
        members, total = _merge_page(value_set, request)
    used = dict.fromkeys(
        one.system.header.canonical for one in value_set.parts() if one.system is not None
    )
    entries: Iterable[dict[str, Any]] = (_entry(member, request) for member in members)
    if part is not None and _may_nest(part, request):
        entries = _nest(part.system, list(entries))
    sets = dict.fromkeys(
        join_canonical(one.resource) for one in value_set.list_imports() if one.resource.get("url")
    )
    return Expansion(tuple(entries), total, tuple(used), tuple(sets))


def list_codes(value_set: ResolvedValueSet, most: int) -> list[tuple[str, str]]:
    """Return (system, code) of each code of a value set; raise TooCostly where there are more."""
    if missing := value_set.unknown_systems():
        raise Unprocessable(
            f"The value set takes codes of a code system that is not here: {missing[0]}.",
            issue_code="not-found",
        )
    members = islice(_members(value_set, ExpansionRequest()), most + 1)
    codes = [(member.system, member.code) for member in members]
    if len(codes) > most:
        raise TooCostly(f"The value set has more than {most} codes.")
    return codes


def _only_part(value_set: ResolvedValueSet) -> Part | None:
    """Return the part of a value set that is one selection of one code system."""
    if len(value_set.includes) != 1 or value_set.excludes:
        return None
    part = value_set.includes[0]
    return part if not part.listed and not part.sets and part.system is not None else None


def _select_page(
    value_set: ResolvedValueSet, part: Part, system: CodeSystem, request: ExpansionRequest
) -> tuple[list[_Member], int]:
    """Let the code system itself choose, count and cut out the page."""
    selection = _selection(value_set, part, request)
    total = system.count(selection)
    if request.count is None and total - request.offset > MAX_EXPANSION:
        raise _too_large()
    limit = MAX_EXPANSION if request.count is None else min(request.count, MAX_EXPANSION)
    page = Selection(
        selection.filters, selection.words, selection.active_only, request.offset, limit
    )
    concepts = system.select(page) if limit else ()
    return [_Member(one.system, one.code, one, None, system) for one in concepts], total


def _selection(value_set: ResolvedValueSet, part: Part, request: ExpansionRequest) -> Selection:
    filters = part.filters
    if request.exclude_not_for_ui:
        filters = (*filters, ConceptFilter("notSelectable", "=", "false"))
    return Selection(
        filters,
        search_words(request.text),
        request.active_only or not value_set.has_inactive,
    )


def _merge_page(
    value_set: ResolvedValueSet, request: ExpansionRequest
) -> tuple[list[_Member], int]:
    members = list(_members(value_set, request))
    end = None if request.count is None else request.offset + min(request.count, MAX_EXPANSION)
    page = members[request.offset : end]
    if len(page) > MAX_EXPANSION:
        raise _too_large()
    return page, len(members)


def _members(value_set: ResolvedValueSet, request: ExpansionRequest) -> Iterator[_Member]:
    """Yield each code once, in the order of the includes."""
    seen: set[tuple[str, str]] = set()
    examined = 0
    for part in value_set.includes:
        for member in _part_members(value_set, part, request):
            examined += 1
            if examined > _MAX_EXAMINED:
                raise _too_large()
            key = member.system, member.code
            if key in seen or any(one.holds(*key) == "yes" for one in value_set.excludes):
                continue
            seen.add(key)
            yield member


def _part_members(
    value_set: ResolvedValueSet, part: Part, request: ExpansionRequest
) -> Iterator[_Member]:
    sets = part.sets
    if part.listed:
        found = _listed_members(value_set, part, request)
    elif part.system is not None:
        selection = _selection(value_set, part, request)
        found = (
            _Member(one.system, one.code, one, None, part.system)
            for one in part.system.select(selection)
        )
    else:
        found, sets = _members(sets[0], request), sets[1:]
    for member in found:
        if all(one.holds(member.system, member.code) == "yes" for one in sets):
            yield member


def _listed_members(
    value_set: ResolvedValueSet, part: Part, request: ExpansionRequest
) -> Iterator[_Member]:
    words = search_words(request.text)
    active_only = request.active_only or not value_set.has_inactive
    for listed in part.listed:
        concept = part.system.find(listed.code) if part.system else None
        if concept is None and part.system and part.system.header.content == "complete":
            # The value set lists a code that does not exist.
            continue
        code = concept.code if concept else listed.code
        own = {"display": listed.display, "designation": list(listed.designations)}
        named = concept or Concept(listed.system, code, own)
        if concept is not None:
            if active_only and concept.is_inactive:
                continue
            if request.exclude_not_for_ui and concept.is_abstract:
                continue
        if words and not (
            has_words(named, words) or has_words(Concept(listed.system, code, own), words)
        ):
            continue
        yield _Member(listed.system, code, concept, listed, part.system)


def _entry(member: _Member, request: ExpansionRequest) -> dict[str, Any]:
    """Return one entry of ValueSet.expansion.contains."""
    concept, listed = member.concept, member.listed
    entry: dict[str, Any] = {"system": member.system} if member.system else {}
    if concept is not None and concept.is_abstract:
        entry["abstract"] = True
    if concept is not None and concept.is_inactive:
        entry["inactive"] = True
    entry["code"] = member.code
    own_language = member.source.header.language if member.source else None
    display = concept.display_in(request.languages, own_language) if concept else None
    if listed is not None:
        # The names that the value set gives a code stand before those of the code system.
        own = {"display": listed.display or display, "designation": list(listed.designations)}
        chosen = Concept(member.system, member.code, own).display_in(request.languages)
        is_own = bool(listed.designations) or not request.languages
        display = (chosen if is_own else display) or chosen
    if display:
        entry["display"] = display
    if request.with_designations:
        designations = [
            dict(one)
            for one in (*(listed.designations if listed else ()), *_designations(concept))
            if _is_wanted(one, request.designations)
        ]
        if designations:
            entry["designation"] = designations
    return entry


def _designations(concept: Concept | None) -> Iterable[Mapping[str, Any]]:
    return concept.designations if concept else ()


def _is_wanted(designation: Mapping[str, Any], wanted: tuple[str, ...]) -> bool:
    if not wanted:
        return True
    use = designation.get("use", {})
    names = (
        designation.get("language"),
        f"urn:ietf:bcp:47|{designation.get('language')}",
        f"{use.get('system')}|{use.get('code')}",
    )
    return any(name in wanted for name in names)


def _may_nest(part: Part, request: ExpansionRequest) -> bool:
    """Say whether levels are shown: of a whole code system, all at once."""
    is_whole = not part.filters and not request.text and not request.exclude_not_for_ui
    is_one_page = request.offset == 0 and request.count is None
    is_hierarchy = part.system is not None and part.system.header.is_hierarchy
    return is_whole and is_one_page and is_hierarchy and not request.exclude_nested


def _nest(system: CodeSystem | None, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put each entry below its first parent that is there; entries stand in their order."""
    assert system is not None  # noqa: S101 - `_may_nest` has asked
    by_code = {entry["code"]: entry for entry in entries}
    top = []
    for entry in entries:
        above = next(
            (by_code[code] for code in system.parents(entry["code"]) if code in by_code), None
        )
        if above is None or above is entry or system.is_below(above["code"], entry["code"]):
            top.append(entry)
        else:
            above.setdefault("contains", []).append(entry)
    return top


def _too_large() -> TooCostly:
    return TooCostly(
        f"The expansion has more than {MAX_EXPANSION} codes, or takes too long to make."
        " Ask for a page by `count` and `offset`, or narrow it by `filter`."
    )
