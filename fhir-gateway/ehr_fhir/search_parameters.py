"""The registry of search parameters, read from HL7's official definitions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from ehr_fhir import definitions
from ehr_fhir.paths import Path, compile_expression

__all__ = ["INDEXED", "SearchParameter", "parameters"]

INDEXED = frozenset({"date", "number", "quantity", "reference", "string", "token", "uri"})
_BASES = ("Resource", "DomainResource")


@dataclass(frozen=True)
class SearchParameter:
    """One parameter of one resource type, with the paths its values come from."""

    resource_type: str
    code: str
    type: str
    targets: frozenset[str]
    paths: tuple[Path, ...]
    # Of a composite whose parts all lie in the resource itself: the codes of the parts.
    components: tuple[str, ...] = ()

    @property
    def supported(self) -> bool:
        """Say whether values of the parameter are indexed, so that it can be searched."""
        return self.type in INDEXED and bool(self.paths)

    @property
    def searched(self) -> bool:
        """Say whether it can be searched, by values of its own or of its parts."""
        return self.supported or bool(self.components)

    @property
    def datatypes(self) -> frozenset[str]:
        """Return the FHIR datatypes that the paths end in."""
        return frozenset(path.datatype for path in self.paths)


@cache
def parameters(resource_type: str) -> Mapping[str, SearchParameter]:
    """Return code -> parameter for one resource type, those of every resource included.

    >>> parameters("Patient")["birthdate"].type
    'date'
    """
    found: dict[str, SearchParameter] = {}
    for base in (*_BASES, resource_type):
        for definition in _definitions().get(base, ()):
            found[str(definition["code"])] = _parameter(resource_type, definition)
    return MappingProxyType(found)


def _parameter(resource_type: str, definition: Mapping[str, object]) -> SearchParameter:
    indexed = definition["type"] in INDEXED
    targets = definition.get("target", ())
    return SearchParameter(
        resource_type=resource_type,
        code=str(definition["code"]),
        type=str(definition["type"]),
        targets=frozenset(targets) if isinstance(targets, list) else frozenset(),
        paths=compile_expression(str(definition.get("expression", "")), resource_type)
        if indexed
        else (),
        components=_components(resource_type, definition),
    )


def _components(resource_type: str, definition: Mapping[str, object]) -> tuple[str, ...]:
    # Parts of an element that repeats belong together, which an index of single values cannot say.
    parts = definition.get("component")
    if definition.get("expression") != resource_type or not isinstance(parts, list):
        return ()
    return tuple(_codes()[part["definition"]] for part in parts)


@cache
def _codes() -> Mapping[str, str]:
    entries = definitions.load("search-parameters.json.gz")["entry"]
    return {entry["resource"]["url"]: entry["resource"]["code"] for entry in entries}


@cache
def _definitions() -> Mapping[str, list[Mapping[str, object]]]:
    by_base: dict[str, list[Mapping[str, object]]] = {}
    for entry in definitions.load("search-parameters.json.gz")["entry"]:
        definition = entry["resource"]
        for base in definition["base"]:
            by_base.setdefault(base, []).append(definition)
    return by_base
