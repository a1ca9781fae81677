"""The profiles that one validation may use, compiled once: R4's own and those that are loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ehr_fhir import definitions
from ehr_fhir.errors import EhrError
from ehr_fhir.profiles.base_rules import base_node
from ehr_fhir.profiles.codes import Codes, LibraryCodes
from ehr_fhir.profiles.compiler import compile_profile
from ehr_fhir.profiles.findings import Finding, Place, Run
from ehr_fhir.profiles.r4 import find_r4_profile, find_r4_structure
from ehr_fhir.profiles.rules import Node, check_node
from ehr_fhir.profiles.snapshot import with_snapshot
from ehr_fhir.profiles.structure import Profile, read_profile, split_canonical
from ehr_fhir.terminology.library import Library
from ehr_fhir.validation.fast import is_valid_fast
from ehr_fhir.validation.strict import find_issues

__all__ = ["ProfileLibrary"]

# Any: a StructureDefinition as parsed JSON.
FindStructure = Callable[[str, str], Mapping[str, Any] | None]


class ProfileLibrary:
    """R4's definitions and loaded ones; `find_loaded` takes an address and a version or nothing.

    A library is of one state of what is loaded: after a change, make another one. R4's own rules
    are compiled once for all libraries.
    """

    def __init__(
        self,
        find_loaded: FindStructure = lambda url, version: None,
        codes: Codes | None = None,
    ) -> None:
        self._find_loaded = find_loaded
        self._codes = LibraryCodes() if codes is None else codes
        self._profiles: dict[str, Profile | None] = {}
        self._nodes: dict[str, Node | None] = {}
        self._faults: dict[str, str] = {}

    def validate(
        self,
        resource: Mapping[str, Any],
        profiles: Sequence[str] = (),
        *,
        now: datetime,
        uses_own_profiles: bool = True,
        with_invariants: bool = True,
        loaded: Library | None = None,
    ) -> list[Finding]:
        """Return what is wrong with a resource by R4, by some profiles and by those it names.

        `now` is the clock of invariants. `uses_own_profiles` says whether `meta.profile` counts,
        of it and of the resources inside. `loaded` are further code systems.
        """
        kind = resource.get("resourceType")
        if not isinstance(kind, str) or kind not in definitions.resource_types():
            text = "`resourceType` must name a resource type of FHIR R4."
            return [Finding("error", "structure", "resourceType", text)]
        run = Run(
            resource,
            library=self,
            codes=self._codes if loaded is None else self._codes.with_loaded(loaded),
            now=now,
            entries=self.entries(resource),
            uses_own_profiles=uses_own_profiles,
            with_invariants=with_invariants,
        )
        if not is_valid_fast(kind, resource):
            for issue in find_issues(kind, resource):
                run.error(issue.code or "structure", issue.expression or kind, issue.diagnostics)
        # What has another shape than R4's cannot be judged by rules about its content.
        if run.is_sound:
            self.check_resource(resource, kind, run, profiles)
        return list(dict.fromkeys(run.findings))

    def check_resource(
        self,
        resource: Mapping[str, Any],
        path: str,
        run: Run,
        profiles: Sequence[str] = (),
    ) -> None:
        """Check a resource at a path, whose structure is sound."""
        kind = resource["resourceType"]
        place = Place(resource, None, kind, path, kind)
        check_node(base_node(kind), place, run)
        own = resource.get("meta", {}).get("profile", ()) if run.uses_own_profiles else ()
        named = {url: f"{path}.meta.profile[{index}]" for index, url in enumerate(own)}
        for url in dict.fromkeys((*profiles, *own)):
            self._check_profile(place, url, named.get(url, path), run)

    def profile(self, canonical: str) -> Profile | None:
        """Return a profile, None where it is not loaded or cannot be read."""
        if canonical not in self._profiles:
            self._profiles[canonical] = self._load(canonical)
        return self._profiles[canonical]

    def node(self, canonical: str) -> Node | None:
        """Return a profile compiled; one of R4's own types says no more than is checked anyway."""
        if canonical not in self._nodes:
            profile = self.profile(canonical)
            if profile is None:
                self._nodes[canonical] = None
            elif not profile.is_constraint:
                self._nodes[canonical] = Node()
            else:
                self._nodes[canonical] = compile_profile(profile, self.profile)
        return self._nodes[canonical]

    def resource_type(self, canonical: str) -> str | None:
        """Return the type that a profile is of; None where it is not loaded."""
        profile = self.profile(canonical)
        return None if profile is None else profile.type

    def is_modifier_extension(self, canonical: str) -> bool:
        """Say whether the definition of an extension makes it a modifier."""
        structure = self._find(canonical)
        elements = [] if structure is None else structure.get("snapshot", {}).get("element", [])
        return bool(elements) and bool(elements[0].get("isModifier"))

    def entries(self, resource: Mapping[str, Any]) -> dict[str, Mapping[str, Any]] | None:
        """Return the resources of a Bundle by what references call them; None of another type."""
        if resource.get("resourceType") != "Bundle":
            return None
        found: dict[str, Mapping[str, Any]] = {}
        for entry in resource.get("entry", ()):
            inner = entry.get("resource")
            if not isinstance(inner, dict):
                continue
            if isinstance(entry.get("fullUrl"), str):
                found[entry["fullUrl"]] = inner
            if "id" in inner:
                found.setdefault(f"{inner.get('resourceType')}/{inner['id']}", inner)
        return found

    def _check_profile(self, place: Place, url: str, named_at: str, run: Run) -> None:
        node = self.node(url)
        profile = self.profile(url)
        if node is None or profile is None:
            fault = self._faults.get(url)
            text = f"It was not checked against a profile that is not loaded: {url}."
            if fault is not None:
                text = f"It was not checked against the profile {url}: {fault}"
            run.add("warning", "not-found", named_at, text)
        elif profile.type != place.type and profile.type not in ("Resource", "DomainResource"):
            text = f"The profile {url} is of another type: {profile.type}."
            run.error("structure", named_at, text)
        else:
            check_node(node, place, run)

    def _find(self, canonical: str) -> Mapping[str, Any] | None:
        url, version = split_canonical(canonical)
        # R4's own cannot be replaced.
        own = find_r4_structure(url)
        return self._find_loaded(url, version) if own is None else own

    def _load(self, canonical: str) -> Profile | None:
        url, _ = split_canonical(canonical)
        own = find_r4_profile(url)
        if own is not None:
            return own
        structure = self._find(canonical)
        if structure is None:
            return None
        try:
            return read_profile(with_snapshot(structure, self._find))
        except EhrError as error:
            self._faults[canonical] = error.issues[0].diagnostics
            return None
