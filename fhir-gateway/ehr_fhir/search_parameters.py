"""The registry of search parameters, read from HL7's official definitions."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, cached_property
from types import MappingProxyType

from ehr_fhir import definitions, fhirpath
from ehr_fhir.fhirpath import Expression, Walk

__all__ = [
    "INDEXED_TYPES",
    "AddedParameters",
    "Component",
    "SearchParameter",
    "compile_expression",
    "official_parameters",
    "paired_elements",
    "parameters_of",
    "use_added_parameters",
]


# R4 has one special parameter with an expression: `near`.
INDEXED_TYPES = frozenset(
    {"date", "number", "quantity", "reference", "special", "string", "token", "uri"}
)
_BASES = ("Resource", "DomainResource")
# R4 gives these no expression: they search the words of the narrative, and of the whole resource.
_FULL_TEXT = frozenset({"_content", "_text"})


# The expression of the parameters that give access to the first entry of a document or message.
_FIRST_ENTRY = "Bundle.entry[0].resource"


@dataclass(frozen=True)
class Component:
    """One part of a composite: a parameter, and whether it is of the resource as a whole."""

    code: str
    of_resource: bool = False


@dataclass(frozen=True)
class SearchParameter:
    """One parameter of one resource type."""

    resource_type: str
    code: str
    type: str
    targets: frozenset[str]
    expression: str = ""
    components: tuple[Component, ...] = ()

    @property
    def is_indexed(self) -> bool:
        """Say whether values of the parameter are indexed, so that it can be searched."""
        return self.type in INDEXED_TYPES and bool(self.expression)

    @property
    def is_searchable(self) -> bool:
        """Say whether it can be searched, by values of its own or of its parts, or by words."""
        return self.is_indexed or bool(self.components) or self.is_full_text

    @property
    def is_full_text(self) -> bool:
        """Say whether it is `_text` or `_content`."""
        return self.code in _FULL_TEXT

    @property
    def points_inside(self) -> bool:
        """Say whether it leads to an entry of the Bundle itself: Bundle's composition, message."""
        return self.resource_type == "Bundle" and self.expression == _FIRST_ENTRY

    @cached_property
    def compiled_expression(self) -> Expression:
        """The expression, ready for resources of the one type."""
        return compile_expression(self.expression, self.resource_type)

    @property
    def paths(self) -> tuple[Walk, ...]:
        """Return the plain paths that its values come from; none of any other expression."""
        return (self.compiled_expression.walks or ()) if self.is_indexed else ()

    @cached_property
    def datatypes(self) -> frozenset[str]:
        """The FHIR datatypes that the paths end in; of an expression that is no path, `any`."""
        if self.is_indexed and self.compiled_expression.walks is None:
            return frozenset({"any"})
        return frozenset(path.datatype for path in self.paths)


def compile_expression(expression: str, resource_type: str) -> Expression:
    """Compile the terms of a search parameter's expression that are about one resource type."""
    return fhirpath.compile(expression, context_type=resource_type, as_filters=True, own_terms=True)


# Resource type -> code -> parameter: those that an installation has added to R4's.
AddedParameters = Mapping[str, Mapping[str, SearchParameter]]
_ADDED: ContextVar[AddedParameters] = ContextVar(
    "added search parameters", default=MappingProxyType({})
)


@contextmanager
def use_added_parameters(added: AddedParameters) -> Iterator[None]:
    """Let searches parsed inside this context use added parameters besides R4's."""
    token = _ADDED.set(added)
    try:
        yield
    finally:
        _ADDED.reset(token)


def parameters_of(resource_type: str) -> Mapping[str, SearchParameter]:
    """Return code -> parameter for one resource type, those of every resource included.

    >>> parameters_of("Patient")["birthdate"].type
    'date'
    """
    known, added = official_parameters(resource_type), _ADDED.get().get(resource_type)
    return ChainMap(dict(added), dict(known)) if added else known


@cache
def official_parameters(resource_type: str) -> Mapping[str, SearchParameter]:
    """Return R4's own parameters of a resource type."""
    found: dict[str, SearchParameter] = {}
    for base in (*_BASES, resource_type):
        for definition in _definitions().get(base, ()):
            found[str(definition["code"])] = _parameter(resource_type, definition)
    return MappingProxyType(found)


@cache
def paired_elements(resource_type: str) -> Mapping[str, frozenset[str]]:
    """Return code -> elements whose ordinal goes with each value, so that composites can pair it.

    >>> sorted(paired_elements("Observation")["combo-code"])
    ['component']
    """
    found: dict[str, set[str]] = {}
    for parameter in official_parameters(resource_type).values():
        if not parameter.components:
            continue
        for walk in compile_expression(parameter.expression, resource_type).walks or ():
            for component in parameter.components:
                if walk.steps and not component.of_resource:
                    found.setdefault(component.code, set()).add(str(walk.steps[0]))
    return {code: frozenset(keys) for code, keys in found.items()}


def _parameter(resource_type: str, definition: Mapping[str, object]) -> SearchParameter:
    targets = definition.get("target", ())
    return SearchParameter(
        resource_type=resource_type,
        code=str(definition["code"]),
        type=str(definition["type"]),
        targets=frozenset(targets) if isinstance(targets, list) else frozenset(),
        expression=str(definition.get("expression", "")),
        components=_components(definition),
    )


def _components(definition: Mapping[str, object]) -> tuple[Component, ...]:
    parts = definition.get("component")
    if not isinstance(parts, list):
        return ()
    return tuple(
        Component(_codes()[part["definition"]], part["expression"].startswith("%resource"))
        for part in parts
    )


@cache
def _codes() -> Mapping[str, str]:
    entries = definitions.load_definition("search-parameters.json.gz")["entry"]
    return {entry["resource"]["url"]: entry["resource"]["code"] for entry in entries}


@cache
def _definitions() -> Mapping[str, list[Mapping[str, object]]]:
    by_base: dict[str, list[Mapping[str, object]]] = {}
    for entry in definitions.load_definition("search-parameters.json.gz")["entry"]:
        definition = entry["resource"]
        for base in definition["base"]:
            by_base.setdefault(base, []).append(definition)
    return by_base
