"""What a code system is asked, and the one that is held in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Protocol

from ehr_fhir.errors import TooCostly, Unprocessable
from ehr_fhir.fhirpath.linear_regex import compile_pattern
from ehr_fhir.terminology.concepts import Concept, has_words, property_values

__all__ = [
    "FILTER_OPERATORS",
    "CodeSystem",
    "ConceptFilter",
    "MemoryCodeSystem",
    "Selection",
    "SystemHeader",
    "flatten_concepts",
    "hierarchy_edges",
    "satisfies",
]

# Operators of ValueSet.compose.include.filter (R4 filter-operator).
FILTER_OPERATORS = frozenset(
    {"=", "is-a", "descendent-of", "is-not-a", "regex", "in", "not-in", "generalizes", "exists"}
)
HIERARCHY_OPERATORS = frozenset({"is-a", "descendent-of", "is-not-a", "generalizes"})
# Names by which filters mean the concept's own code.
OWN_CODE = frozenset({"concept", "code"})
# Of one match: no pattern of a value set comes near, and a hundred thousand matches take seconds.
_MAX_PATTERN_STEPS = 20
# Codes for which all above or below them is remembered. Chosen: those of a value set's filters.
_MAX_WALKS = 64


@dataclass(frozen=True)
class SystemHeader:
    """What a code system says of itself."""

    url: str
    version: str | None = None
    name: str | None = None
    title: str | None = None
    # complete, fragment, example, not-present or supplement
    content: str = "complete"
    is_case_sensitive: bool = False
    # Whether one level below another means "is-a"; what says nothing is read so.
    is_hierarchy: bool = True
    language: str | None = None
    # Code of each defined property -> its URI, empty where it has none.
    properties: Mapping[str, str] = field(default_factory=dict)

    @property
    def canonical(self) -> str:
        """The url, with the version where there is one."""
        return f"{self.url}|{self.version}" if self.version else self.url

    @classmethod
    def from_resource(cls, resource: Mapping[str, Any]) -> SystemHeader:
        """Return the header of a CodeSystem resource."""
        return cls(
            url=str(resource.get("url", "")),
            version=resource.get("version"),
            name=resource.get("name"),
            title=resource.get("title"),
            content=str(resource.get("content", "complete")),
            is_case_sensitive=resource.get("caseSensitive") is True,
            is_hierarchy=resource.get("hierarchyMeaning", "is-a") == "is-a",
            language=resource.get("language"),
            properties={
                str(one.get("code")): str(one.get("uri", ""))
                for one in resource.get("property", ())
            },
        )


@dataclass(frozen=True)
class ConceptFilter:
    """One filter of ValueSet.compose.include."""

    property: str
    operator: str
    value: str


@dataclass(frozen=True)
class Selection:
    """Which concepts of a code system to return: all that meet every condition, in order."""

    filters: tuple[ConceptFilter, ...] = ()
    words: tuple[str, ...] = ()
    active_only: bool = False
    offset: int = 0
    limit: int | None = None

    def without_page(self) -> Selection:
        """Return the same selection from its beginning to its end."""
        return replace(self, offset=0, limit=None)


class CodeSystem(Protocol):
    """One version of a code system; in memory, or in the tables of a store."""

    @property
    def header(self) -> SystemHeader:
        """What it says of itself."""

    def find(self, code: str) -> Concept | None:
        """Return the concept of a code, in any case where case means nothing."""

    def select(self, selection: Selection) -> Iterable[Concept]:
        """Return concepts in their order."""

    def count(self, selection: Selection) -> int:
        """Return how many concepts there are, on all pages."""

    def parents(self, code: str) -> Sequence[str]:
        """Return the codes next above one."""

    def children(self, code: str) -> Sequence[str]:
        """Return the codes next below one."""

    def is_below(self, code: str, ancestor: str) -> bool:
        """Say whether a code is a descendant of another, and not the same."""

    def lineage(self, code: str, direction: str) -> Sequence[str]:
        """Return the codes `above` or `below` one, itself first."""


class MemoryCodeSystem:
    """A code system read whole from its resource."""

    def __init__(self, resource: Mapping[str, Any]) -> None:
        self._header = header = SystemHeader.from_resource(resource)
        self._concepts: dict[str, Concept] = {}
        renamed = _standard_properties(header)
        for detail in flatten_concepts(resource.get("concept", ())):
            own = {key: value for key, value in detail.items() if key != "concept"}
            if renamed and "property" in own:
                own["property"] = [*own["property"], *_rename_properties(own["property"], renamed)]
            code = str(own.get("code", ""))
            self._concepts.setdefault(self._key(code), Concept(header.url, code, own))
        self._walked: dict[tuple[str, str], Mapping[str, None]] = {}
        self._parents: dict[str, list[str]] = defaultdict(list)
        self._children: dict[str, list[str]] = defaultdict(list)
        for edge in dict.fromkeys(hierarchy_edges(resource.get("concept", ()))):
            child, parent = map(self._own_code, edge)
            self._parents[child].append(parent)
            self._children[parent].append(child)

    @property
    def header(self) -> SystemHeader:
        """What it says of itself."""
        return self._header

    def _key(self, code: str) -> str:
        return code if self._header.is_case_sensitive else code.casefold()

    def _own_code(self, code: str) -> str:
        """Return a code as the system writes it."""
        concept = self.find(code)
        return concept.code if concept else code

    def find(self, code: str) -> Concept | None:
        """Return the concept of a code, in any case where case means nothing."""
        return self._concepts.get(self._key(code))

    def select(self, selection: Selection) -> Iterator[Concept]:
        """Return concepts in their order."""
        end = None if selection.limit is None else selection.offset + selection.limit
        return islice(self._select_concepts(selection), selection.offset, end)

    def count(self, selection: Selection) -> int:
        """Return how many concepts there are, on all pages."""
        return sum(1 for _ in self._select_concepts(selection))

    def parents(self, code: str) -> Sequence[str]:
        """Return the codes next above one."""
        return self._parents.get(self._own_code(code), ())

    def children(self, code: str) -> Sequence[str]:
        """Return the codes next below one."""
        return self._children.get(self._own_code(code), ())

    def is_below(self, code: str, ancestor: str) -> bool:
        """Say whether a code is a descendant of another, and not the same."""
        code, ancestor = self._own_code(code), self._own_code(ancestor)
        if code == ancestor:
            return False
        # A filter asks of one code again and again: what was walked for it is kept.
        if (above := self._walked.get((code, "above"))) is not None:
            return ancestor in above
        return code in self._reach(ancestor, "below")

    def lineage(self, code: str, direction: str) -> Sequence[str]:
        """Return the codes `above` or `below` one, itself first."""
        return list(self._reach(self._own_code(code), direction))

    def _reach(self, code: str, direction: str) -> Mapping[str, None]:
        key = code, direction
        if key not in self._walked:
            if len(self._walked) >= _MAX_WALKS:
                self._walked.clear()
            neighbours = self._parents if direction == "above" else self._children
            self._walked[key] = self._walk(code, neighbours)
        return self._walked[key]

    def _select_concepts(self, selection: Selection) -> Iterator[Concept]:
        check_filters(self, selection.filters)
        return (
            concept
            for concept in self._concepts.values()
            if not (selection.active_only and concept.is_inactive)
            and (not selection.words or has_words(concept, selection.words))
            and all(satisfies(self, concept, one) for one in selection.filters)
        )

    def _walk(self, code: str, neighbours: Mapping[str, list[str]]) -> Mapping[str, None]:
        """Visit each code once: concepts may have several parents, and data may have circles."""
        visited = {code: None}
        to_visit = [code]
        while to_visit:
            new = [other for other in neighbours.get(to_visit.pop(), ()) if other not in visited]
            visited |= dict.fromkeys(new)
            to_visit += new
        return visited


def check_filters(system: CodeSystem, filters: Iterable[ConceptFilter]) -> None:
    """Refuse a filter that this server does not know, or whose code the system does not have."""
    for one in filters:
        if one.operator not in FILTER_OPERATORS:
            known = ", ".join(sorted(FILTER_OPERATORS))
            raise Unprocessable(
                f"The operators of a value set's filters are {known}.", issue_code="not-supported"
            )
        if one.operator in HIERARCHY_OPERATORS:
            if one.property not in OWN_CODE:
                raise Unprocessable(
                    f"The operator {one.operator} takes the property `concept`.",
                    issue_code="not-supported",
                )
            if not system.header.is_hierarchy:
                raise Unprocessable(
                    "The levels of the code system do not mean that one code is another.",
                    issue_code="not-supported",
                )
            if system.find(one.value) is None:
                raise Unprocessable(
                    "A filter of the value set names a code that the code system does not have.",
                    issue_code="code-invalid",
                )
        if one.operator == "exists" and one.value not in ("true", "false"):
            raise Unprocessable("The operator exists takes true or false.")
        if one.operator == "regex":
            compile_pattern(one.value)


def satisfies(system: CodeSystem, concept: Concept, one: ConceptFilter) -> bool:
    """Say whether a concept meets a filter (R4 §4.9.8); the filter was checked before."""
    if one.operator in HIERARCHY_OPERATORS:
        named = system.find(one.value)
        code = named.code if named else one.value
        if one.operator == "generalizes":
            return concept.code in system.lineage(code, "above")
        is_below = system.is_below(concept.code, code)
        if one.operator == "descendent-of":
            return is_below
        return (is_below or concept.code == code) == (one.operator == "is-a")
    values = filter_values(system, concept, one.property)
    if one.operator == "exists":
        return bool(values) == (one.value == "true")
    if one.operator == "regex":
        pattern = compile_pattern(one.value)
        return any(pattern.matches_whole(value, _check_steps) for value in values)
    listed = one.value.split(",") if one.operator in ("in", "not-in") else [one.value]
    wanted = {value.strip() for value in listed}
    if one.property in OWN_CODE and not system.header.is_case_sensitive:
        wanted = {value.casefold() for value in wanted}
        values = [value.casefold() for value in values]
    return wanted.isdisjoint(values) == (one.operator == "not-in")


def _check_steps(number: int) -> None:
    """Refuse a match that costs too much: a filter makes one for each concept."""
    if number > _MAX_PATTERN_STEPS:
        raise TooCostly("A regular expression of the value set is too costly for its texts.")


def filter_values(system: CodeSystem, concept: Concept, name: str) -> Sequence[str]:
    """Return the values that a filter on a property compares."""
    if name in OWN_CODE:
        return [concept.code]
    if name == "display":
        return [concept.display] if concept.display else []
    if name == "parent":
        return system.parents(concept.code)
    if name == "child":
        return system.children(concept.code)
    if name == "inactive":
        return ["true" if concept.is_inactive else "false"]
    if name == "notSelectable":
        return ["true" if concept.is_abstract else "false"]
    return property_values(concept, name)


def hierarchy_edges(concepts: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield (child, parent) of each edge: of nesting, and of HL7's properties for it.

    >>> animal = {"code": "animal", "concept": [{"code": "cat"}]}
    >>> lion = {"code": "lion", "property": [{"code": "parent", "valueCode": "cat"}]}
    >>> list(hierarchy_edges([animal, lion]))
    [('cat', 'animal'), ('lion', 'cat')]
    """
    for concept in flatten_concepts(concepts):
        code = concept.get("code", "")
        for nested in concept.get("concept", ()):
            yield nested.get("code", ""), code
        for one in concept.get("property", ()):
            if "valueCode" in one and one.get("code") in ("parent", "subsumedBy"):
                yield code, one["valueCode"]
            elif "valueCode" in one and one.get("code") == "child":
                yield one["valueCode"], code


def flatten_concepts(concepts: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield each concept, then those nested in it; without recursion, for data may be deep."""
    waiting = [iter(concepts)]
    while waiting:
        concept = next(waiting[-1], None)
        if concept is None:
            waiting.pop()
            continue
        yield concept
        waiting.append(iter(concept.get("concept", ())))


# HL7's URIs of properties; a code system may call them otherwise.
_STANDARD = "http://hl7.org/fhir/concept-properties#"


def _standard_properties(header: SystemHeader) -> dict[str, str]:
    """Return own name -> HL7's name of each property that is called otherwise."""
    return {
        code: uri.removeprefix(_STANDARD)
        for code, uri in header.properties.items()
        if uri.startswith(_STANDARD) and uri != f"{_STANDARD}{code}"
    }


def _rename_properties(
    properties: Iterable[Mapping[str, Any]], names: Mapping[str, str]
) -> Iterator[Mapping[str, Any]]:
    for one in properties:
        if one.get("code") in names:
            yield {**one, "code": names[str(one["code"])]}
