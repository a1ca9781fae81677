"""The library of one request: R4's own terminology, what was loaded, and the resources stored here.

Of stored resources those that the requester can find: what is hidden from them changes no answer.
R4's own and what the operator loaded come first, so that nobody who stores a resource redefines
them for others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from ehr_fhir.errors import Invalid
from ehr_fhir.json_text import parse
from ehr_fhir.terminology.code_system import CodeSystem, MemoryCodeSystem
from ehr_fhir.terminology.library import LayeredLibrary, Library, ResourceLibrary, newest
from ehr_fhir.terminology.r4 import R4_LIBRARY
from ehr_gateway.database import Connection
from ehr_gateway.store.store import Version
from ehr_gateway.terminology.library import LoadedLibrary

__all__ = ["Find", "StoredLibrary", "escape_search_value", "library_of"]

# Searches resources of a type that the requester can find.
Find = Callable[[str, Sequence[tuple[str, str]]], Sequence[Version]]
# What a code system has to say of itself to be asked about its concepts.
_WITH_CONCEPTS = frozenset({"complete", "fragment"})


def library_of(
    connection: Connection, find: Find, resources: Iterable[Mapping[str, Any]] = ()
) -> Library:
    """Return the library of a request, which may bring resources of its own (`tx-resource`)."""
    return LayeredLibrary(
        ResourceLibrary(resources), R4_LIBRARY, LoadedLibrary(connection), StoredLibrary(find)
    )


class StoredLibrary:
    """CodeSystem, ValueSet and ConceptMap resources, found by a requester's own search."""

    def __init__(self, find: Find) -> None:
        self._find = find

    def code_system(self, url: str, version: str | None = None) -> CodeSystem | None:
        """Return a code system, the newest version where none is named."""
        stored = [
            (resource, body)
            for body in self._bodies("CodeSystem", url, version)
            if (resource := parse(body)).get("content") in _WITH_CONCEPTS
        ]
        chosen = _newest_of_all([resource for resource, _ in stored], "code systems")
        if chosen is None:
            return None
        return _read_code_system(next(body for one, body in stored if one is chosen))

    def supplement(self, url: str, version: str | None = None) -> Mapping[str, Any] | None:
        """Return a CodeSystem resource that supplements another, by its own url."""
        stored = [parse(body) for body in self._bodies("CodeSystem", url, version)]
        found = [one for one in stored if one.get("content") == "supplement"]
        return _newest_of_all(found, "supplements")

    def value_set(self, url: str, version: str | None = None) -> Mapping[str, Any] | None:
        """Return a ValueSet resource, the newest version where none is named."""
        found = [parse(body) for body in self._bodies("ValueSet", url, version)]
        return _newest_of_all(found, "value sets")

    def concept_map(self, url: str, version: str | None = None) -> Mapping[str, Any] | None:
        """Return a ConceptMap resource, the newest version where none is named."""
        found = [parse(body) for body in self._bodies("ConceptMap", url, version)]
        return _newest_of_all(found, "concept maps")

    def concept_maps(self, system: str, code: str) -> Sequence[Mapping[str, Any]]:
        """Return the ConceptMap resources that have a code as a source or a target."""
        wanted = escape_search_value(code)
        found = {
            version.pk: version.body
            for name in ("source-code", "target-code")
            for version in self._find("ConceptMap", [(name, wanted)])
        }
        return [parse(body) for body in found.values()]

    def _bodies(self, kind: str, url: str, version: str | None) -> list[bytes]:
        pairs = [("url", escape_search_value(url))]
        if version:
            pairs.append(("version", escape_search_value(version)))
        return [found.body for found in self._find(kind, pairs)]


def _newest_of_all(resources: Sequence[Mapping[str, Any]], words: str) -> Mapping[str, Any] | None:
    """Return the newest resource; refuse to choose between two of one version."""
    chosen = newest(resources)
    if chosen is not None:
        same = [one for one in resources if one.get("version") == chosen.get("version")]
        if len(same) > 1:
            raise Invalid(f"Several {words} have this url; say which, as in `url|version`.")
    return chosen


# Chosen: each may take some megabytes. The bytes are the key, so a new version is another entry.
@lru_cache(16)
def _read_code_system(body: bytes) -> CodeSystem:
    return MemoryCodeSystem(parse(body))


def escape_search_value(text: str) -> str:
    """Return a text as the value of a search parameter."""
    for letter in "\\,|$":
        text = text.replace(letter, f"\\{letter}")
    return text
