"""Where code systems, value sets and concept maps are found by their canonical names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from ehr_fhir.errors import Unprocessable
from ehr_fhir.terminology.code_system import CodeSystem, MemoryCodeSystem

__all__ = ["LayeredLibrary", "Library", "ResourceLibrary", "newest", "version_key"]

TERMINOLOGY_TYPES = ("CodeSystem", "ValueSet", "ConceptMap")
_PARTS = re.compile(r"\d+|[^\d.]+")


class Library(Protocol):
    """A place where terminology is kept; None where it does not have what is asked for."""

    def code_system(self, url: str, version: str | None = None) -> CodeSystem | None:
        """Return a code system, the newest version where none is named."""

    def supplement(self, url: str, version: str | None = None) -> Mapping[str, Any] | None:
        """Return a CodeSystem resource that supplements another, by its own url."""

    def value_set(self, url: str, version: str | None = None) -> Mapping[str, Any] | None:
        """Return a ValueSet resource, the newest version where none is named."""

    def concept_map(self, url: str, version: str | None = None) -> Mapping[str, Any] | None:
        """Return a ConceptMap resource, the newest version where none is named."""

    def concept_maps(self, system: str, code: str) -> Sequence[Mapping[str, Any]]:
        """Return ConceptMap resources that may say something of a code, from or to it."""


class ResourceLibrary:
    """The resources that a request brings along, such as `tx-resource`."""

    def __init__(self, resources: Iterable[Mapping[str, Any]]) -> None:
        self._found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for resource in resources:
            kind, url = str(resource.get("resourceType")), str(resource.get("url", ""))
            if kind not in TERMINOLOGY_TYPES or not url:
                raise Unprocessable(
                    "Send a CodeSystem, a ValueSet or a ConceptMap that has a url.",
                    expression="Parameters.parameter",
                )
            self._found.setdefault((kind, url), []).append(resource)

    def code_system(self, url: str, version: str | None = None) -> CodeSystem | None:
        """Return a code system, the newest version where none is named."""
        complete = [
            one
            for one in self._found.get(("CodeSystem", url), [])
            if one.get("content") != "supplement"
        ]
        resource = newest(complete, version)
        return MemoryCodeSystem(resource) if resource else None

    def supplement(self, url: str, version: str | None = None) -> Mapping[str, Any] | None:
        """Return a CodeSystem resource that supplements another, by its own url."""
        found = self._found.get(("CodeSystem", url), [])
        return newest([one for one in found if one.get("content") == "supplement"], version)

    def value_set(self, url: str, version: str | None = None) -> Mapping[str, Any] | None:
        """Return a ValueSet resource, the newest version where none is named."""
        return newest(self._found.get(("ValueSet", url), []), version)

    def concept_map(self, url: str, version: str | None = None) -> Mapping[str, Any] | None:
        """Return a ConceptMap resource, the newest version where none is named."""
        return newest(self._found.get(("ConceptMap", url), []), version)

    def concept_maps(self, system: str, code: str) -> Sequence[Mapping[str, Any]]:
        """Return every ConceptMap."""
        return [
            one for (kind, _), found in self._found.items() if kind == "ConceptMap" for one in found
        ]


class LayeredLibrary:
    """Several libraries; the first that has what is asked for gives it."""

    def __init__(self, *layers: Library) -> None:
        self._layers = layers
        # One answer of each layer is asked for again and again within a request.
        self._systems: dict[tuple[str, str | None], CodeSystem | None] = {}

    def code_system(self, url: str, version: str | None = None) -> CodeSystem | None:
        """Return a code system, the newest version where none is named."""
        if (url, version) not in self._systems:
            found = (layer.code_system(url, version) for layer in self._layers)
            self._systems[url, version] = next((one for one in found if one is not None), None)
        return self._systems[url, version]

    def supplement(self, url: str, version: str | None = None) -> Mapping[str, Any] | None:
        """Return a CodeSystem resource that supplements another, by its own url."""
        found = (layer.supplement(url, version) for layer in self._layers)
        return next((one for one in found if one is not None), None)

    def value_set(self, url: str, version: str | None = None) -> Mapping[str, Any] | None:
        """Return a ValueSet resource, the newest version where none is named."""
        found = (layer.value_set(url, version) for layer in self._layers)
        return next((one for one in found if one is not None), None)

    def concept_map(self, url: str, version: str | None = None) -> Mapping[str, Any] | None:
        """Return a ConceptMap resource, the newest version where none is named."""
        found = (layer.concept_map(url, version) for layer in self._layers)
        return next((one for one in found if one is not None), None)

    def concept_maps(self, system: str, code: str) -> Sequence[Mapping[str, Any]]:
        """Return the ConceptMap resources of all layers."""
        return [one for layer in self._layers for one in layer.concept_maps(system, code)]


def newest(
    resources: Iterable[Mapping[str, Any]], version: str | None = None
) -> Mapping[str, Any] | None:
    """Return the resource of a version, or the newest of all.

    >>> newest([{"version": "1.9"}, {"version": "1.10"}])
    {'version': '1.10'}
    >>> newest([{"version": "1.9"}], "2") is None
    True
    """
    matching = [one for one in resources if version is None or one.get("version") == version]
    return max(matching, key=lambda one: version_key(one.get("version")), default=None)


def version_key(version: str | None) -> list[tuple[int, int, str]]:
    """Return a key by which versions are ordered: numbers as numbers.

    >>> version_key("4.0.1") < version_key("4.0.10") < version_key("4.1")
    True
    """
    parts = _PARTS.findall(version or "")
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts]
