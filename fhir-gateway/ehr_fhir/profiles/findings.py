"""Findings of a validation, and what its checks share: the resource, its profiles, the clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from ehr_fhir.fhirpath import Element
from ehr_fhir.profiles.codes import Codes

if TYPE_CHECKING:
    from ehr_fhir.profiles.library import ProfileLibrary

__all__ = ["Finding", "Place", "Run", "Severity"]

Severity = Literal["error", "warning", "information"]
# Chosen: what a person reads; the first faults often cause the later ones.
_MAX_FINDINGS = 500
# Chosen: profiles that name each other's resources may go round in circles.
_MAX_DEPTH = 12


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong: `expression` is where; the text names the rule, never a value."""

    severity: Severity
    code: str
    expression: str
    text: str


class Place:
    """A value in a resource: its JSON, a primitive's extensions, its type and its path."""

    __slots__ = ("defined_at", "extension", "holder", "path", "type", "value")

    # Any: JSON of every shape; None of a primitive that has only extensions.
    def __init__(
        self,
        value: Any,
        extension: Any,
        type_name: str,
        path: str,
        defined_at: str,
        holder: Place | None = None,
    ) -> None:
        self.value = value
        self.extension = extension
        self.type = type_name
        self.path = path
        # Where R4 defines the element: `HumanName.family`, wherever the name is.
        self.defined_at = defined_at
        self.holder = holder

    def element(self) -> Element:
        """Return the value as FHIRPath takes it."""
        return Element(self.type, self.value, self.extension)


class Run:
    """One validation: what was found so far, and what its checks ask."""

    # Any: a resource as parsed JSON.
    def __init__(
        self,
        resource: Mapping[str, Any],
        *,
        library: ProfileLibrary,
        codes: Codes,
        now: datetime,
        root: Mapping[str, Any] | None = None,
        entries: Mapping[str, Mapping[str, Any]] | None = None,
        depth: int = 0,
        uses_own_profiles: bool = True,
        with_invariants: bool = True,
    ) -> None:
        self.resource = resource
        # The resource that contains this one; itself where none does.
        self.root = resource if root is None else root
        # Resources of the Bundle that all this is in, by fullUrl.
        self.entries = {} if entries is None else entries
        self.library = library
        self.codes = codes
        self.now = now
        self.depth = depth
        self.uses_own_profiles = uses_own_profiles
        self.with_invariants = with_invariants
        self.findings: list[Finding] = []
        self._root_element = Element(str(self.root.get("resourceType", "")), self.root)

    @property
    def variables(self) -> Mapping[str, object]:
        """FHIRPath's environment variables."""
        return {"rootResource": self._root_element}

    @property
    def is_deep(self) -> bool:
        """Whether profiles led to each other so often that no further one is followed."""
        return self.depth >= _MAX_DEPTH

    def add(self, severity: Severity, code: str, place: str, text: str) -> None:
        """Record a finding."""
        if len(self.findings) < _MAX_FINDINGS:
            self.findings.append(Finding(severity, code, place, text))

    def error(self, code: str, place: str, text: str) -> None:
        """Record an error."""
        self.add("error", code, place, text)

    def extend(self, findings: list[Finding]) -> None:
        """Record what another run found."""
        self.findings += findings[: _MAX_FINDINGS - len(self.findings)]

    def trial(self) -> Run:
        """Return a run of the same resource whose findings are counted elsewhere."""
        return self.within(self.resource, self.root)

    def within(
        self,
        resource: Mapping[str, Any],
        root: Mapping[str, Any] | None,
        entries: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Run:
        """Return a run of a resource inside this one."""
        return Run(
            resource,
            library=self.library,
            codes=self.codes,
            now=self.now,
            root=root,
            entries=self.entries if entries is None else entries,
            depth=self.depth + 1,
            uses_own_profiles=self.uses_own_profiles,
            with_invariants=self.with_invariants,
        )

    def resolve(self, reference: str) -> Mapping[str, Any] | None:
        """Return what a reference names inside the request: a contained resource or an entry."""
        if reference.startswith("#"):
            contained = self.root.get("contained", ())
            named = [one for one in contained if one.get("id") == reference[1:]]
            return self.root if reference == "#" else next(iter(named), None)
        return self.entries.get(reference)

    @property
    def is_sound(self) -> bool:
        """Whether no error was found."""
        return all(finding.severity != "error" for finding in self.findings)
