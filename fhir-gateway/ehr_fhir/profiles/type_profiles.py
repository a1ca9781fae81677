"""Checks against other profiles: of a datatype, and of what a reference names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ehr_fhir.profiles.findings import Place, Run
from ehr_fhir.profiles.rules import Check, check_node
from ehr_fhir.validation.targets import contained_types, find_target_fault

__all__ = ["conforms", "make_target_check", "make_type_profile_check"]


def make_type_profile_check(urls: Sequence[str]) -> Check:
    """Return the check that a value meets one of some profiles of its datatype."""

    def check(place: Place, run: Run) -> None:
        if run.is_deep:
            return
        trials = []
        for url in urls:
            node = run.library.node(url)
            if node is None:
                # One that is not loaded may be the one it meets.
                run.add("warning", "not-found", place.path, f"The profile {url} is not loaded.")
                return
            trial = run.trial()
            check_node(node, place, trial)
            if trial.is_sound:
                run.extend(trial.findings)
                return
            trials.append(trial)
        run.extend(trials[0].findings)

    return check


def make_target_check(urls: Sequence[str], profile: str) -> Check:
    """Return the check that a reference names a resource of one of some profiles."""

    def check(place: Place, run: Run) -> None:
        reference = place.value
        if type(reference) is not dict:
            return
        types = {url: run.library.resource_type(url) for url in urls}
        if None in types.values() or "Resource" in types.values():
            return
        named = {**contained_types(run.root), **_entry_types(run)}
        fault = find_target_fault(reference, frozenset(str(kind) for kind in types.values()), named)
        if fault is not None:
            text = f"The reference {fault.text} (profile {profile})."
            run.error("value", f"{place.path}.{fault.element}", text)
            return
        address = reference.get("reference")
        target = run.resolve(address) if isinstance(address, str) else None
        if target is None or run.is_deep:
            return
        kind = target.get("resourceType")
        fitting = [url for url, of_type in types.items() if of_type == kind]
        if not any(conforms(target, url, run) for url in fitting):
            text = f"The reference names a resource of none of the profiles (profile {profile})."
            run.error("value", f"{place.path}.reference", text)

    return check


# Any: a resource as parsed JSON.
def conforms(resource: Mapping[str, Any], url: str, run: Run) -> bool:
    """Say whether a resource meets a profile; one that is not loaded is met by every resource."""
    node = run.library.node(url)
    if node is None or node.is_empty or run.is_deep:
        return True
    trial = run.within(resource, None)
    kind = str(resource.get("resourceType", ""))
    check_node(node, Place(resource, None, kind, kind, kind), trial)
    return trial.is_sound


def _entry_types(run: Run) -> dict[str, str]:
    return {name: str(entry.get("resourceType", "")) for name, entry in run.entries.items()}
