"""References: what a `Reference.reference` names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol
from urllib.parse import urlsplit

from ehr_fhir import definitions

__all__ = [
    "EntryNames",
    "Replacements",
    "Target",
    "local_target",
    "referenced_type",
    "relative_reference",
    "service_root",
    "split_conditional_reference",
    "strip_version",
]

_LOCAL = re.compile(r"^([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?$")
# After `_history` a line end is taken, too: were it not, each `/_history/` of a long reference
# would be tried to its end, in quadratic time.
_ABSOLUTE = re.compile(
    r"^https?://.+/([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/(?s:.+))?$"
)
_ROOT = re.compile(r"^(https?://.+)/[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}$")
_CONDITIONAL = re.compile(r"^([A-Z][A-Za-z]+)\?(.+)$")


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


def relative_reference(reference: str, base: str) -> str:
    """Return a reference below a server's base URL as a relative one, any other as it is.

    In every spelling of the address: http and https, the host in capitals, the scheme's own port
    (RFC 3986 §6.2.2.1 and §6.2.3). Else a record could name its patient, or what closes it, by a
    form that no rule matches.

    >>> relative_reference("https://E:443/fhir/Patient/1", "http://e/fhir")
    'Patient/1'
    >>> relative_reference("http://elsewhere/fhir/Patient/1", "http://e/fhir")
    'http://elsewhere/fhir/Patient/1'
    """
    if not base or not reference.startswith("http"):
        return reference
    if reference.startswith(f"{base}/"):
        return reference.removeprefix(f"{base}/")
    try:
        address, own = urlsplit(reference), urlsplit(base)
        is_own = _authority(address.scheme, address.netloc) == _authority(own.scheme, own.netloc)
    except ValueError:
        return reference
    # A query or fragment is no part of a reference to a record, and stays to be refused.
    _, _, path = reference.partition("://")[2].partition("/")
    if not is_own or not f"/{path}".startswith(f"{own.path}/"):
        return reference
    return f"/{path}".removeprefix(f"{own.path}/")


def _authority(scheme: str, netloc: str) -> str:
    """Return the host with its port, without the port that its scheme has anyway."""
    host = netloc.rpartition("@")[2].casefold()
    return host.removesuffix({"http": ":80", "https": ":443"}.get(scheme, ":"))


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
