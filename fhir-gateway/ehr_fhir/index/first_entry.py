"""What a Bundle's `composition` and `message` point to: its own first entry (R4 Bundle, search).

The first entry of a document or a message, and what it names in the same Bundle, are indexed as if
the Bundle contained them. The entries are data of another place (R4 §2.36.4.1), so a reference is
indexed as what it names there.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from ehr_fhir.bundle_references import BundleEntry, EntryIndex, bundle_entries
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_fhir.references import local_target, service_root
from ehr_fhir.resource_links import list_references, replace_references

__all__ = ["FIRST_ENTRIES", "list_first_entries"]

Json = Mapping[str, Any]  # JSON of every shape
# The types of the first entry that `composition` and `message` point to.
FIRST_ENTRIES = frozenset({"Composition", "MessageHeader"})
# In `Bundle.meta`: whose record of this server the Bundle is, by the word of who stores it.
_RECORD_SUBJECT = f"{JURISDICTION.fhir_base}/StructureDefinition/record-subject"


def list_first_entries(bundle: Json) -> list[tuple[Json, Json]]:
    """Return the Bundle's first entry and those that it names, each in two forms.

    In the one, a reference to the first is `#1`, to the next `#2`; in the other, references are as
    they are said from outside the Bundle. Empty where no parameter points to the first entry.

    >>> first = {"resourceType": "Composition", "subject": {"reference": "urn:uuid:a"}}
    >>> second = {"fullUrl": "urn:uuid:a", "resource": {"resourceType": "Patient"}}
    >>> bundle = {"resourceType": "Bundle", "entry": [{"resource": first}, second]}
    >>> [inside["resourceType"] for inside, _ in list_first_entries(bundle)]
    ['Composition', 'Patient']
    >>> list_first_entries(bundle)[0][0]["subject"]
    {'reference': '#2'}
    """
    entries = list(bundle_entries(bundle))
    # The first entry may hold no resource, or what is no resource.
    if not entries or entries[0].resource is not bundle["entry"][0].get("resource"):
        return []
    if entries[0].resource["resourceType"] not in FIRST_ENTRIES:
        return []
    index = EntryIndex(entries)
    numbered = [entries[0]]
    for _, reference in list_references(entries[0].resource):
        named = index.find(reference, entries[0])
        if named is not None and not any(named is entry for entry in numbered):
            numbered.append(named)
    subjects = _stated_subjects(bundle)
    found = []
    for entry in numbered:
        addresses = _addresses(entry, index, subjects)
        numbers = _numbers(entry, index, numbered)
        found.append((_with_names(entry, {**addresses, **numbers}), _with_names(entry, addresses)))
    return found


def _numbers(entry: BundleEntry, index: EntryIndex, numbered: list[BundleEntry]) -> dict[str, str]:
    """Return the numbers of the entries that an entry names, by reference."""
    names = {}
    for _, reference in list_references(entry.resource):
        named = index.find(reference, entry)
        for number, known in enumerate(numbered, 1):
            if named is known:
                names[reference] = f"#{number}"
    return names


def _addresses(entry: BundleEntry, index: EntryIndex, subjects: frozenset[str]) -> dict[str, str]:
    """Return the addresses of what an entry names by relative references that are not ours."""
    names = {}
    for _, reference in list_references(entry.resource):
        if entry.full_url is None or not local_target(reference) or reference in subjects:
            continue
        named = index.find(reference, entry)
        root = service_root(entry.full_url) or entry.full_url
        names[reference] = (named.full_url if named else None) or f"{root}/{reference}"
    return names


def _with_names(entry: BundleEntry, names: Mapping[str, str]) -> Json:
    if not names:
        return entry.resource
    resource = deepcopy(dict(entry.resource))
    replace_references(resource, names)
    return resource


def _stated_subjects(bundle: Json) -> frozenset[str]:
    meta = bundle.get("meta") or {}
    return frozenset(
        str((extension.get("valueReference") or {}).get("reference"))
        for extension in meta.get("extension") or ()
        if extension.get("url") == _RECORD_SUBJECT
    )
