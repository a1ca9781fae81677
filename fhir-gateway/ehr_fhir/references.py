"""References: what a `Reference.reference` names, and where a resource holds one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from ehr_fhir import definitions

__all__ = [
    "EntryNames",
    "Target",
    "list_references",
    "local_target",
    "referenced_type",
    "replace_references",
    "service_root",
    "split_conditional_reference",
    "strip_version",
]

_LOCAL = re.compile(r"^([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?$")
_ABSOLUTE = re.compile(r"^https?://.+/([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/.+)?$")
_ROOT = re.compile(r"^(https?://.+)/[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}$")
_CONDITIONAL = re.compile(r"^([A-Z][A-Za-z]+)\?(.+)$")
# What a narrative refers to (R4 §3.1.0.11.2 names these two); a fragment alone is a place in it.
_LINK = re.compile(r"""((?:href|src)\s*=\s*["'])([^"'#]+)""")


@dataclass(frozen=True)
class Target:
    """A resource on this server."""

    type: str
    id: str

    def __str__(self) -> str:
        return f"{self.type}/{self.id}"


class Replacements(Protocol):
    """A mapping from references to what replaces them; a Mapping is one."""

    def get(self, key: str, /) -> str | None:
        """Return the replacement of a reference, None to keep it."""


@dataclass
class EntryNames:
    """The names by which an entry of a Bundle may refer to the others.

    `known` maps a fullUrl to Type/id. A name in `late` is resolved later; `waits` says whether one
    was met.
    """

    known: Mapping[str, str]
    # The root of this entry's own fullUrl: relative references begin there (R4 §2.36.4.1).
    root: str | None = None
    late: frozenset[str] = frozenset()
    waits: bool = field(default=False, init=False)

    def get(self, key: str, /) -> str | None:
        """Return Type/id for a reference to an entry, in whichever form.

        >>> names = EntryNames({"http://e/Patient/1": "Patient/a"}, root="http://e")
        >>> names.get("Patient/1"), names.get("http://e/Patient/1/_history/2")
        ('Patient/a', 'Patient/a')
        """
        plain = key.partition("/_history/")[0]
        forms = [plain]
        if self.root is not None and _LOCAL.match(plain):
            forms.append(f"{self.root}/{plain}")
        for form in forms:
            if form in self.late:
                self.waits = True
                return None
            if form in self.known:
                return self.known[form]
        return None


def service_root(full_url: str | None) -> str | None:
    """Return the address of the service that a fullUrl belongs to, if it shows one.

    >>> service_root("http://e/fhir/Patient/1"), service_root("urn:oid:1.2")
    ('http://e/fhir', None)
    """
    found = _ROOT.match(full_url) if full_url else None
    return found[1] if found else None


# One resource's references to its patient are looked at a dozen times.
@lru_cache(4096)
def local_target(reference: str) -> Target | None:
    """Return the resource of this server that a reference names, None for any other.

    >>> str(local_target("Patient/a1/_history/2"))
    'Patient/a1'
    >>> local_target("http://elsewhere.org/fhir/Patient/a1") is None
    True
    """
    found = _LOCAL.match(reference)
    if not found or found[1] not in definitions.resource_types():
        return None
    return Target(found[1], found[2])


def referenced_type(reference: str) -> str | None:
    """Return the resource type that a relative or absolute reference shows, if it shows one."""
    found = _LOCAL.match(reference) or _ABSOLUTE.match(reference)
    return found[1] if found else None


def strip_version(reference: str) -> str:
    """Return a reference without the version it names.

    >>> strip_version("http://elsewhere.org/fhir/Patient/a1/_history/2")
    'http://elsewhere.org/fhir/Patient/a1'
    """
    return reference.partition("/_history/")[0]


def split_conditional_reference(reference: str) -> tuple[str, str] | None:
    """Split a conditional reference into resource type and search criteria.

    >>> split_conditional_reference("Practitioner?identifier=a|b")
    ('Practitioner', 'identifier=a|b')
    """
    if "?" not in reference:
        return None
    found = _CONDITIONAL.match(reference)
    return (found[1], found[2]) if found and found[1] in definitions.resource_types() else None


# (name,), or the way before with the element below it, and its index in an array.
_Way = tuple[Any, ...]


def list_references(resource: Mapping[str, Any], place: str = "") -> list[tuple[str, str]]:
    """Return (FHIRPath expression, reference) for every reference in a resource.

    >>> list_references({"resourceType": "Condition", "subject": {"reference": "Patient/1"}})
    [('Condition.subject.reference', 'Patient/1')]
    """
    found: list[tuple[str, str]] = []
    _gather(resource, (place or resource.get("resourceType", ""),), found)
    return found


# The way to a node is put into words where a reference stands, and nowhere else.
def _gather(node: Mapping[str, Any], way: _Way, found: list[tuple[str, str]]) -> None:
    for key, value in node.items():
        kind = type(value)
        if kind is dict:
            _gather(value, (way, key), found)
        elif kind is list:
            for index, item in enumerate(value):
                if type(item) is dict:
                    _gather(item, (way, key, index), found)
        elif key == "reference" and kind is str:
            found.append((f"{_said(way)}.reference", value))


def _said(way: _Way) -> str:
    if len(way) == 1:
        return str(way[0])
    return f"{_said(way[0])}.{way[1]}" + (f"[{way[2]}]" if len(way) == 3 else "")


def replace_references(node: Any, replacements: Replacements) -> None:  # Any: JSON of every shape
    """Replace in place what names an entry of a Bundle (R4 §3.1.0.11.2).

    References; any uri that is a `urn:`; the addresses of attachments; the links of a narrative.
    Other uris that are addresses stay: a definition's own `url` is often its fullUrl.
    """
    # Of every resource of a Bundle: by exact types, which JSON has, and no call for a plain value.
    if type(node) is dict:
        for key, value in node.items():
            kind = type(value)
            if kind is str:
                if (
                    key == "reference"
                    or value[:4] == "urn:"
                    or (key == "url" and "contentType" in node)
                ):
                    meaning = replacements.get(value)
                    if meaning is not None:
                        node[key] = meaning
                elif key == "div" and "=" in value:
                    node[key] = _LINK.sub(lambda link: _relinked(link, replacements), value)
            elif kind is dict or kind is list:
                replace_references(value, replacements)
    elif type(node) is list:
        for at, value in enumerate(node):
            kind = type(value)
            if kind is dict or kind is list:
                replace_references(value, replacements)
            elif kind is str and value[:4] == "urn:":
                node[at] = replacements.get(value) or value


def _relinked(link: re.Match[str], replacements: Replacements) -> str:
    return link[1] + (replacements.get(link[2]) or link[2])
