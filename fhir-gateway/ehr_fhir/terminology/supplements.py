"""Supplements of code systems (R4 §4.8.10): further names of their codes, where they are asked for.

A supplement counts where a call or a value set names it, never by being here: whoever stores one
does not rename codes for others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, islice
from typing import Any

from ehr_fhir.errors import Unprocessable
from ehr_fhir.terminology.code_system import (
    CodeSystem,
    Selection,
    SystemHeader,
    flatten_concepts,
    satisfies,
)
from ehr_fhir.terminology.concepts import Concept, has_words
from ehr_fhir.terminology.library import Library

__all__ = ["SupplementedLibrary", "SupplementedSystem", "named_supplements"]

# The extension of a value set whose expansion needs a supplement.
_NEEDS = "http://hl7.org/fhir/StructureDefinition/valueset-supplement"


def named_supplements(value_set: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the canonicals of the supplements that a value set needs.

    >>> needed = {"url": _NEEDS, "valueCanonical": "http://example.org/names"}
    >>> named_supplements({"extension": [needed]})
    ('http://example.org/names',)
    """
    return tuple(
        str(one["valueCanonical"])
        for one in value_set.get("extension", ())
        if one.get("url") == _NEEDS and "valueCanonical" in one
    )


class SupplementedSystem:
    """A code system with the names that supplements add; all else is the code system's."""

    def __init__(self, system: CodeSystem, supplements: Iterable[Mapping[str, Any]]) -> None:
        self._system = system
        self._designations: dict[str, list[Mapping[str, Any]]] = {}
        for supplement in supplements:
            language = supplement.get("language")
            for detail in flatten_concepts(supplement.get("concept", ())):
                known = system.find(str(detail.get("code", "")))
                if known is not None:
                    added = self._designations.setdefault(known.code, [])
                    added += _designations(detail, language)

    @property
    def header(self) -> SystemHeader:
        """What the code system says of itself."""
        return self._system.header

    def find(self, code: str) -> Concept | None:
        """Return the concept of a code with all its names."""
        found = self._system.find(code)
        return found and self._supplement(found)

    def select(self, selection: Selection) -> Iterator[Concept]:
        """Return concepts in their order; last those that are found by an added name alone."""
        if not selection.words:
            return map(self._supplement, self._system.select(selection))
        found = chain(
            self._system.select(selection.without_page()), self._found_by_added_names(selection)
        )
        end = None if selection.limit is None else selection.offset + selection.limit
        return map(self._supplement, islice(found, selection.offset, end))

    def count(self, selection: Selection) -> int:
        """Return how many concepts there are, on all pages."""
        added = len(self._found_by_added_names(selection)) if selection.words else 0
        return self._system.count(selection) + added

    def parents(self, code: str) -> Sequence[str]:
        """Return the codes next above one."""
        return self._system.parents(code)

    def children(self, code: str) -> Sequence[str]:
        """Return the codes next below one."""
        return self._system.children(code)

    def is_below(self, code: str, ancestor: str) -> bool:
        """Say whether a code is a descendant of another, and not the same."""
        return self._system.is_below(code, ancestor)

    def lineage(self, code: str, direction: str) -> Sequence[str]:
        """Return the codes `above` or `below` one, itself first."""
        return self._system.lineage(code, direction)

    @cached_property
    def _supplemented_concepts(self) -> Sequence[Concept]:
        """The concepts that a supplement names."""
        found = (self._system.find(code) for code in self._designations)
        return [one for one in found if one is not None]

    def _found_by_added_names(self, selection: Selection) -> Sequence[Concept]:
        return [
            concept
            for concept in self._supplemented_concepts
            if not has_words(concept, selection.words)
            and has_words(self._supplement(concept), selection.words)
            and not (selection.active_only and concept.is_inactive)
            and all(satisfies(self._system, concept, one) for one in selection.filters)
        ]

    def _supplement(self, concept: Concept) -> Concept:
        added = self._designations.get(concept.code)
        if not added:
            return concept
        detail = {**concept.detail, "designation": [*concept.designations, *added]}
        return Concept(concept.system, concept.code, detail)


class SupplementedLibrary:
    """A library whose code systems have the names of some supplements."""

    def __init__(self, library: Library, canonicals: Iterable[str]) -> None:
        self._library = library
        self._supplements: list[tuple[str, str, Mapping[str, Any]]] = []
        for canonical in dict.fromkeys(canonicals):
            url, _, version = canonical.partition("|")
            found = library.supplement(url, version or None)
            if found is None:
                raise Unprocessable(
                    "A supplement that is asked for is not here.", issue_code="not-found"
                )
            base, _, base_version = str(found.get("supplements", "")).partition("|")
            self._supplements.append((base, base_version, found))
        self._systems: dict[tuple[str, str | None], CodeSystem | None] = {}

    def code_system(self, url: str, version: str | None = None) -> CodeSystem | None:
        """Return a code system, with the names that are added to this version of it."""
        if (url, version) not in self._systems:
            system = self._library.code_system(url, version)
            if system is not None:
                known = (url, system.header.version)
                added = [
                    one
                    for base, base_version, one in self._supplements
                    if (base, base_version or known[1]) == known
                ]
                system = SupplementedSystem(system, added) if added else system
            self._systems[url, version] = system
        return self._systems[url, version]

    def supplement(self, url: str, version: str | None = None) -> Mapping[str, Any] | None:
        """Return a supplement of the library."""
        return self._library.supplement(url, version)

    def value_set(self, url: str, version: str | None = None) -> Mapping[str, Any] | None:
        """Return a ValueSet of the library."""
        return self._library.value_set(url, version)

    def concept_map(self, url: str, version: str | None = None) -> Mapping[str, Any] | None:
        """Return a ConceptMap of the library."""
        return self._library.concept_map(url, version)

    def concept_maps(self, system: str, code: str) -> Sequence[Mapping[str, Any]]:
        """Return the ConceptMaps of the library."""
        return self._library.concept_maps(system, code)


def _designations(detail: Mapping[str, Any], language: str | None) -> Iterator[Mapping[str, Any]]:
    """Yield the names that a supplement has for a code, in its language where none is said."""
    own = {} if language is None else {"language": language}
    if "display" in detail:
        yield {**own, "value": detail["display"]}
    for designation in detail.get("designation", ()):
        yield {**own, **designation}
