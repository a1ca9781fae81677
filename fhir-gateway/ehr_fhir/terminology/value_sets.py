"""A value set resolved against the code systems it names: which codes are in it.

Resolving reads the definition, with the value sets it imports; nothing is listed. Whether one code
is in the set is then decided for itself (R4 §4.9.8), so that it costs the same however many there
are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ehr_fhir.errors import NotFound, TooCostly, Unprocessable
from ehr_fhir.terminology.code_system import (
    CodeSystem,
    ConceptFilter,
    check_filters,
    satisfies,
)
from ehr_fhir.terminology.concepts import Concept
from ehr_fhir.terminology.library import Library

__all__ = [
    "NO_VERSIONS",
    "ListedCode",
    "Membership",
    "Part",
    "ResolvedValueSet",
    "Versions",
    "find_code_system",
    "find_value_set",
    "join_canonical",
    "resolve_value_set",
    "split_canonical",
]

Membership = Literal["yes", "no", "unknown"]
# Chosen: how deep value sets may import others.
_MAX_DEPTH = 16
# Chosen: how many, by whatever ways; R4's largest set imports some dozens.
_MAX_IMPORTS = 1_000


@dataclass(frozen=True)
class Versions:
    """Which versions of code systems a request wants, by their urls."""

    # Where a value set names none.
    default: Mapping[str, str] = field(default_factory=dict)
    # Whatever a value set names.
    forced: Mapping[str, str] = field(default_factory=dict)

    def of(self, system: str, named: str | None) -> str | None:
        """Return the version of a system that is to be used, None for any."""
        return self.forced.get(system) or named or self.default.get(system)


# A request that wants none.
NO_VERSIONS = Versions()


@dataclass(frozen=True)
class ListedCode:
    """A code that a value set lists, with the names it gives it."""

    system: str
    code: str
    display: str | None = None
    designations: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Part:
    """One `include` or `exclude`: what is in the code system's part and in each of the sets."""

    # Empty where it names value sets alone.
    url: str
    version: str | None
    # None where this server does not have it.
    system: CodeSystem | None
    listed: tuple[ListedCode, ...]
    filters: tuple[ConceptFilter, ...]
    sets: tuple[ResolvedValueSet, ...]

    def holds(self, system: str | None, code: str) -> Membership:
        """Say whether a code is in this part; without a system, in whichever the part is of."""
        own = self._own_part_holds(system, code)
        answers = [own, *(value_set.holds(system, code) for value_set in self.sets)]
        if "no" in answers:
            return "no"
        return "unknown" if "unknown" in answers else "yes"

    def _own_part_holds(self, system: str | None, code: str) -> Membership:
        if self.listed:
            return "yes" if self._is_listed(system, code) else "no"
        if not self.url:
            return "yes"
        if system not in (None, self.url):
            return "no"
        if self.system is None:
            return "unknown"
        concept = self.system.find(code)
        if concept is None:
            return "no" if self.system.header.content == "complete" else "unknown"
        check_filters(self.system, self.filters)
        met = all(satisfies(self.system, concept, one) for one in self.filters)
        return "yes" if met else "no"

    def _is_listed(self, system: str | None, code: str) -> bool:
        exact = self.system is None or self.system.header.is_case_sensitive
        wanted = code if exact else code.casefold()
        return any(
            (one.code if exact else one.code.casefold()) == wanted
            for one in self.listed
            if system in (None, one.system)
        )


@dataclass(frozen=True)
class ResolvedValueSet:
    """A value set with its parts; `resource` is what it was made from."""

    resource: Mapping[str, Any]
    includes: tuple[Part, ...]
    excludes: tuple[Part, ...]

    @property
    def has_inactive(self) -> bool:
        """Whether codes that are no longer used are in it."""
        return self.resource.get("compose", {}).get("inactive") is not False

    def holds(self, system: str | None, code: str) -> Membership:
        """Say whether a code is in the set; unknown where a code system is not here."""
        included = [part.holds(system, code) for part in self.includes]
        if "yes" not in included:
            return "unknown" if "unknown" in included else "no"
        excluded = [part.holds(system, code) for part in self.excludes]
        if "yes" in excluded:
            return "no"
        if not self.has_inactive and self._is_inactive(system, code):
            return "no"
        return "unknown" if "unknown" in excluded else "yes"

    def concept(self, system: str | None, code: str) -> Concept | None:
        """Return the concept of a code in the first of the set's code systems that has it."""
        for part in self.parts():
            if part.system is not None and system in (None, part.url):
                if (found := part.system.find(code)) and part.holds(system, code) == "yes":
                    return found
        return None

    def parts(self) -> Iterator[Part]:
        """Yield the includes, with those of imported sets."""
        for part in self.includes:
            yield part
            for value_set in part.sets:
                yield from value_set.parts()

    def list_imports(self) -> Iterator[ResolvedValueSet]:
        """Yield the value sets that it is made of, also by what it excludes."""
        for part in (*self.includes, *self.excludes):
            for value_set in part.sets:
                yield value_set
                yield from value_set.list_imports()

    def unknown_systems(self) -> list[str]:
        """Return the code systems it needs that are not here."""
        missing = {
            part.url
            for part in self.parts()
            if part.url and part.system is None and not part.listed
        }
        return sorted(missing)

    def _is_inactive(self, system: str | None, code: str) -> bool:
        concept = self.concept(system, code)
        return concept is not None and concept.is_inactive


def split_canonical(canonical: str) -> tuple[str, str | None]:
    """Split `url|version`.

    >>> split_canonical("http://example.org/vs|2"), split_canonical("urn:x")
    (('http://example.org/vs', '2'), ('urn:x', None))
    """
    url, _, version = canonical.partition("|")
    return url, version or None


def join_canonical(resource: Mapping[str, Any]) -> str:
    """Return `url|version` of a resource, its url where it has no version.

    >>> join_canonical({"url": "urn:x", "version": "2"})
    'urn:x|2'
    """
    version = resource.get("version")
    return f"{resource['url']}|{version}" if version else str(resource["url"])


def find_code_system(library: Library, url: str, version: str | None = None) -> CodeSystem:
    """Return a code system; raise NotFound for one that is not here."""
    found = library.code_system(url, version)
    if found is None:
        raise NotFound(_absent("code system", version), issue_code="not-found")
    return found


def find_value_set(library: Library, canonical: str) -> Mapping[str, Any]:
    """Return a ValueSet, also the implicit one of a code system; raise NotFound if absent."""
    url, version = split_canonical(canonical)
    found = library.value_set(url, version) or _implicit_value_set(library, url)
    if found is None:
        raise NotFound(_absent("value set", version), issue_code="not-found")
    return found


def resolve_value_set(
    value_set: Mapping[str, Any],
    library: Library,
    versions: Versions = NO_VERSIONS,
    within: tuple[str, ...] = (),
    counted: list[str] | None = None,
) -> ResolvedValueSet:
    """Resolve a value set; raise Unprocessable for a faulty definition or a missing import."""
    url = str(value_set.get("url") or f"#{value_set.get('id', '')}")
    if (url != "#" and url in within) or len(within) >= _MAX_DEPTH:
        raise Unprocessable("A value set imports itself, or others too deep.")
    # Those that import each other by many ways would be asked by each of them.
    counted = [] if counted is None else counted
    counted.append(url)
    if len(counted) > _MAX_IMPORTS:
        raise TooCostly(f"A value set imports more than {_MAX_IMPORTS} others.")
    contained = [one for one in value_set.get("contained", ()) if one.get("id")]
    if contained:
        library = _ContainedValueSets(contained, library)
    compose = value_set.get("compose", {})
    if not compose.get("include"):
        return ResolvedValueSet(value_set, (_expansion_part(value_set),), ())
    below = (*within, url)
    return ResolvedValueSet(
        value_set,
        tuple(
            _resolve_part(part, library, versions, below, counted) for part in compose["include"]
        ),
        tuple(
            _resolve_part(part, library, versions, below, counted)
            for part in compose.get("exclude", ())
        ),
    )


class _ContainedValueSets:
    """The value sets that a value set contains, before those of a library."""

    def __init__(self, contained: Iterable[Mapping[str, Any]], library: Library) -> None:
        self._contained = {
            f"#{one['id']}": one for one in contained if one.get("resourceType") == "ValueSet"
        }
        self._library = library

    def value_set(self, url: str, version: str | None = None) -> Mapping[str, Any] | None:
        """Return a ValueSet resource; `#id` names one that is contained."""
        return self._contained.get(url) or self._library.value_set(url, version)

    def code_system(self, url: str, version: str | None = None) -> CodeSystem | None:
        """Return a code system of the library."""
        return self._library.code_system(url, version)

    def supplement(self, url: str, version: str | None = None) -> Mapping[str, Any] | None:
        """Return a supplement of the library."""
        return self._library.supplement(url, version)

    def concept_map(self, url: str, version: str | None = None) -> Mapping[str, Any] | None:
        """Return a ConceptMap of the library."""
        return self._library.concept_map(url, version)

    def concept_maps(self, system: str, code: str) -> Sequence[Mapping[str, Any]]:
        """Return the ConceptMaps of the library."""
        return self._library.concept_maps(system, code)


def _resolve_part(
    part: Mapping[str, Any],
    library: Library,
    versions: Versions,
    within: tuple[str, ...],
    counted: list[str],
) -> Part:
    url = str(part.get("system", ""))
    version = versions.of(url, part.get("version"))
    listed = tuple(
        ListedCode(url, str(one.get("code")), one.get("display"), tuple(one.get("designation", ())))
        for one in part.get("concept", ())
    )
    filters = tuple(
        ConceptFilter(str(one.get("property")), str(one.get("op")), str(one.get("value", "")))
        for one in part.get("filter", ())
    )
    names = part.get("valueSet", ())
    if not url and not names:
        raise Unprocessable("A part of a value set names a code system or a value set.")
    if filters and (listed or not url):
        raise Unprocessable("A filter of a value set is of a code system whose codes it chooses.")
    sets = []
    for name in names:
        try:
            imported = find_value_set(library, name)
        except NotFound as error:
            raise Unprocessable(
                "A value set that is imported is not here.", issue_code="not-found"
            ) from error
        sets.append(resolve_value_set(imported, library, versions, within, counted))
    system = library.code_system(url, version) if url else None
    return Part(url, version, system, listed, filters, tuple(sets))


def _expansion_part(value_set: Mapping[str, Any]) -> Part:
    """Return what a value set without a definition lists, if its expansion is whole."""
    expansion = value_set.get("expansion", {})
    listed = tuple(_expansion_codes(expansion.get("contains", ())))
    if not expansion or len(listed) < int(expansion.get("total", 0)):
        raise Unprocessable("The value set lists no codes, and has no expansion that is whole.")
    return Part("", None, None, listed, (), ())


def _expansion_codes(entries: Any) -> Iterator[ListedCode]:  # Any: JSON, nested
    for entry in entries:
        if entry.get("code") and not entry.get("abstract"):
            yield ListedCode(str(entry.get("system", "")), entry["code"], entry.get("display"))
        yield from _expansion_codes(entry.get("contains", ()))


# SNOMED CT's implicit value sets (R4 §4.3.0.9) and LOINC's have forms of their own.
_SNOMED = "http://snomed.info/sct"


def _implicit_value_set(library: Library, url: str) -> Mapping[str, Any] | None:
    """Return the value set that a url stands for by its form: all of SNOMED CT, or a part."""
    system, sign, query = url.partition("?fhir_vs")
    if not sign or not system.startswith(_SNOMED):
        return None
    include: dict[str, Any] = {"system": _SNOMED}
    if system.startswith(f"{_SNOMED}/"):
        include["version"] = system
    if query.startswith("=isa/"):
        value = query.removeprefix("=isa/")
        include["filter"] = [{"property": "concept", "op": "is-a", "value": value}]
    elif query:
        return None
    return {"resourceType": "ValueSet", "url": url, "compose": {"include": [include]}}


def _absent(what: str, version: str | None) -> str:
    return f"There is no such {what} here{', or not in this version' if version else ''}."
