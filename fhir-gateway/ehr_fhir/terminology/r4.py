"""R4's own code systems, value sets and concept maps, and the systems that are defined by grammar.

They are shipped (`definitions/terminology.jsonl.gz`), read when they are first asked for.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from ehr_fhir.errors import TooCostly
from ehr_fhir.fhirpath.ucum import parse_unit
from ehr_fhir.terminology.code_system import (
    CodeSystem,
    MemoryCodeSystem,
    Selection,
    SystemHeader,
    check_filters,
)
from ehr_fhir.terminology.concepts import Concept

__all__ = ["R4_LIBRARY", "GrammarCodeSystem", "R4Library"]

_HEAD = re.compile(r'\{"resourceType":"(\w+)","id":"[^"]*","url":"([^"]*)"')
_VERSION = re.compile(_HEAD.pattern.replace("(", "(?:") + r',"version":"([^"]*)"')
# Parsed code systems and value sets that are kept; the largest take about a megabyte.
_KEPT = 256
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,6}")
_MEDIA_TYPE = re.compile(
    r"[\w!#$&^.+-]{1,127}/[\w!#$&^.+-]{1,127}( *; *[\w-]{1,63}=[^;]{1,127}){0,8}"
)
# Code systems whose codes a grammar defines: no list of them ends.
_GRAMMARS: dict[str, tuple[str, Callable[[str], bool]]] = {
    "http://unitsofmeasure.org": ("UCUM", lambda code: parse_unit(code) is not None),
    "urn:ietf:bcp:47": ("Tags of languages", lambda code: _LANGUAGE.fullmatch(code) is not None),
    "urn:ietf:bcp:13": ("Media types", lambda code: _MEDIA_TYPE.fullmatch(code) is not None),
}


@cache
def _lines() -> Mapping[tuple[str, str], str]:
    """Return (type, url) -> the resource's JSON."""
    raw = (files("ehr_fhir.definitions") / "terminology.jsonl.gz").read_bytes()
    found = {}
    for line in gzip.decompress(raw).decode().splitlines():
        head = _HEAD.match(line)
        assert head is not None  # noqa: S101 - the file is ours
        found[head[1], head[2]] = line
    return found


@cache
def _system_versions() -> tuple[tuple[str, str], ...]:
    """Read the versions from the beginnings of the lines: parsing them all takes a second."""
    found = []
    for (kind, url), line in sorted(_lines().items()):
        version = _VERSION.match(line)
        if kind == "CodeSystem" and version is not None:
            found.append((url, version[1]))
    return tuple(found)


@lru_cache(_KEPT)
def _resource(kind: str, url: str) -> Mapping[str, Any] | None:
    line = _lines().get((kind, url))
    return json.loads(line) if line else None


@lru_cache(_KEPT)
def _code_system(url: str) -> CodeSystem | None:
    if url in _GRAMMARS:
        return GrammarCodeSystem(url)
    resource = _resource("CodeSystem", url)
    return MemoryCodeSystem(resource) if resource else None


@cache
def _concept_maps() -> Sequence[Mapping[str, Any]]:
    return [json.loads(line) for (kind, _), line in _lines().items() if kind == "ConceptMap"]


class R4Library:
    """What R4 (4.0.1) defines itself; a version of its own is each resource's, 4.0.1 or less."""

    def code_system(self, url: str, version: str | None = None) -> CodeSystem | None:
        """Return a code system; None for another version than R4's."""
        found = _code_system(url)
        return found if found and version in (None, found.header.version) else None

    def supplement(self, url: str, version: str | None = None) -> Mapping[str, Any] | None:
        """Return None."""

    def value_set(self, url: str, version: str | None = None) -> Mapping[str, Any] | None:
        """Return a ValueSet resource; None for another version than R4's."""
        found = _resource("ValueSet", url)
        return found if found and version in (None, found.get("version")) else None

    def concept_map(self, url: str, version: str | None = None) -> Mapping[str, Any] | None:
        """Return a ConceptMap resource; None for another version than R4's."""
        found = _resource("ConceptMap", url)
        return found if found and version in (None, found.get("version")) else None

    def concept_maps(self, system: str, code: str) -> Sequence[Mapping[str, Any]]:
        """Return every ConceptMap."""
        return _concept_maps()

    def system_urls(self) -> list[str]:
        """Return the urls of all code systems.

        >>> "http://hl7.org/fhir/administrative-gender" in R4_LIBRARY.system_urls()
        True
        """
        return sorted({url for kind, url in _lines() if kind == "CodeSystem"} | _GRAMMARS.keys())

    def system_versions(self) -> list[tuple[str, str]]:
        """Return the url and the version of each code system that has one."""
        return list(_system_versions())

    def value_set_urls(self) -> list[str]:
        """Return the urls of all value sets."""
        return sorted(url for kind, url in _lines() if kind == "ValueSet")


class GrammarCodeSystem:
    """A code system whose codes a grammar defines; it can be asked about a code, not listed."""

    def __init__(self, url: str) -> None:
        name, self._is_code = _GRAMMARS[url]
        self._header = SystemHeader(url, name=name, is_case_sensitive=True, is_hierarchy=False)

    @property
    def header(self) -> SystemHeader:
        """What it says of itself."""
        return self._header

    def find(self, code: str) -> Concept | None:
        """Return the concept of a code that the grammar takes; the code is its name."""
        if not self._is_code(code):
            return None
        return Concept(self._header.url, code, {"code": code, "display": code})

    def select(self, selection: Selection) -> Iterable[Concept]:
        """Refuse to list them."""
        check_filters(self, selection.filters)
        raise TooCostly("A grammar defines the codes of this system: no list of them ends.")

    def count(self, selection: Selection) -> int:
        """Refuse to count them."""
        raise TooCostly("A grammar defines the codes of this system: no list of them ends.")

    def parents(self, code: str) -> Sequence[str]:
        """Return none."""
        return ()

    def children(self, code: str) -> Sequence[str]:
        """Return none."""
        return ()

    def is_below(self, code: str, ancestor: str) -> bool:
        """Return False."""
        return False

    def lineage(self, code: str, direction: str) -> Sequence[str]:
        """Return the code alone."""
        return [code]


R4_LIBRARY = R4Library()
