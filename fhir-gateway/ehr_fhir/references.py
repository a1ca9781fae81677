"""References: what a `Reference.reference` names, and where a resource holds one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ehr_fhir import definitions

__all__ = [
    "Target",
    "conditional",
    "references",
    "replace_references",
    "target",
    "type_named",
    "unversioned",
]

_LOCAL = re.compile(r"^([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?$")
_ABSOLUTE = re.compile(r"^https?://.+/([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/.+)?$")
_CONDITIONAL = re.compile(r"^([A-Z][A-Za-z]+)\?(.+)$")


@dataclass(frozen=True)
class Target:
    """A resource on this server."""

    type: str
    id: str

    def __str__(self) -> str:
        return f"{self.type}/{self.id}"


def target(reference: str) -> Target | None:
    """Return the local resource that a reference names, if it names one.

    >>> str(target("Patient/a1/_history/2"))
    'Patient/a1'
    >>> target("http://elsewhere.org/fhir/Patient/a1") is None
    True
    """
    found = _LOCAL.match(reference)
    if not found or found[1] not in definitions.resource_types():
        return None
    return Target(found[1], found[2])


def type_named(reference: str) -> str | None:
    """Return the resource type that a relative or absolute reference shows, if it shows one."""
    found = _LOCAL.match(reference) or _ABSOLUTE.match(reference)
    return found[1] if found else None


def unversioned(reference: str) -> str:
    """Return a reference without the version it names.

    >>> unversioned("http://elsewhere.org/fhir/Patient/a1/_history/2")
    'http://elsewhere.org/fhir/Patient/a1'
    """
    return reference.partition("/_history/")[0]


def conditional(reference: str) -> tuple[str, str] | None:
    """Split a conditional reference into resource type and search criteria.

    >>> conditional("Practitioner?identifier=a|b")
    ('Practitioner', 'identifier=a|b')
    """
    found = _CONDITIONAL.match(reference)
    return (found[1], found[2]) if found and found[1] in definitions.resource_types() else None


def references(node: Any, path: str = "") -> Iterator[tuple[str, str]]:  # Any: JSON of every shape
    """Yield (FHIRPath expression, reference) for every reference in a resource."""
    if isinstance(node, dict):
        start = path or str(node.get("resourceType", ""))
        for key, value in node.items():
            if key == "reference" and isinstance(value, str):
                yield f"{start}.reference", value
            elif isinstance(value, dict | list):
                yield from references(value, f"{start}.{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            if isinstance(value, dict | list):
                yield from references(value, f"{path}[{index}]")


def replace_references(node: Any, replacements: Mapping[str, str]) -> None:
    """Replace in place references, and uris equal to a `urn:` of a Bundle (R4 §3.1.0.11.2)."""
    if isinstance(node, dict):
        for key, value in node.items():
            if isinstance(value, str):
                if (key == "reference" or value.startswith("urn:")) and value in replacements:
                    node[key] = replacements[value]
            elif isinstance(value, dict | list):
                replace_references(value, replacements)
    elif isinstance(node, list):
        for value in node:
            if isinstance(value, dict | list):
                replace_references(value, replacements)
