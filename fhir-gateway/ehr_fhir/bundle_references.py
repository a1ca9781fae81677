"""Bundles kept as data: what references between their entries name (R4 §2.36.4.1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ehr_fhir.references import Target, local_target, service_root, strip_version

__all__ = ["BundleEntry", "EntryIndex", "bundle_entries", "local_identity"]

Json = Mapping[str, Any]  # JSON of every shape


@dataclass(frozen=True)
class BundleEntry:
    """A resource held in a Bundle, under the address by which the others may name it."""

    resource: Json
    full_url: str | None = None

    @property
    def relative_name(self) -> str:
        """Return Type/id by the resource's own words."""
        return f"{self.resource['resourceType']}/{self.resource.get('id', '')}"


class EntryIndex:
    """The entries of one Bundle, by fullUrl and by Type/id."""

    def __init__(self, entries: Iterable[BundleEntry] = ()) -> None:
        self._by_url: dict[str, BundleEntry] = {}
        self._by_name: dict[str, BundleEntry] = {}
        for entry in entries:
            if entry.full_url:
                self._by_url[entry.full_url] = entry
            self._by_name.setdefault(entry.relative_name, entry)

    def find(self, reference: str, source: BundleEntry) -> BundleEntry | None:
        """Return the entry that a reference in `source` names, None when it leads elsewhere.

        A relative reference begins at the root of the source's own fullUrl. Where no fullUrl
        answers to it, an entry of that type and id does: many documents have `urn:uuid:` fullUrls
        and relative references.

        >>> patient = BundleEntry({"resourceType": "Patient", "id": "p"}, "http://e/Patient/p")
        >>> source = BundleEntry({"resourceType": "Condition"}, "http://e/Condition/c")
        >>> EntryIndex([patient, source]).find("Patient/p", source) is patient
        True
        """
        plain = strip_version(reference)
        if not local_target(plain):
            return self._by_url.get(plain)
        root = service_root(source.full_url)
        return self._by_url.get(f"{root}/{plain}") or self._by_name.get(plain)


def bundle_entries(bundle: Json) -> Iterator[BundleEntry]:
    """Yield the entries of a Bundle that hold a resource."""
    entries = bundle.get("entry")
    for entry in entries if isinstance(entries, list) else ():
        held = entry.get("resource") if isinstance(entry, Mapping) else None
        if isinstance(held, Mapping) and "resourceType" in held:
            full_url = entry.get("fullUrl")
            yield BundleEntry(held, full_url if isinstance(full_url, str) else None)


def local_identity(entry: BundleEntry, base: str) -> Target | None:
    """Return which resource of this server an entry is, None when it is another's.

    An entry without a fullUrl has no other name than its type and id; one under an address of this
    server is ours; a `urn:` or another server's address is not, whatever its id.

    >>> ann = {"resourceType": "Patient", "id": "ann"}
    >>> str(local_identity(BundleEntry(ann), "http://here")),
    ('Patient/ann',)
    >>> local_identity(BundleEntry(ann, "http://elsewhere/Patient/ann"), "http://here") is None
    True
    """
    if entry.full_url is None:
        return local_target(entry.relative_name)
    if base and entry.full_url.startswith(f"{base}/"):
        return local_target(entry.full_url.removeprefix(f"{base}/"))
    return None
