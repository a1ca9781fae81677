"""Read the resources of a unit of work and choose the id under which each is stored."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from ehr_fhir.errors import EhrError, Invalid
from ehr_fhir.json_text import MAX_LINE_BYTES, parse
from ehr_fhir.references import relative_reference
from ehr_fhir.resource_links import CONTAINERS, list_references, replace_references
from ehr_inbound.bulk_files.files import MAX_JSON_FILE_BYTES, LoadReject, Unit
from ehr_privacy.consent import state_patients

__all__ = ["Item", "read_items"]

_LOADABLE_BUNDLES = frozenset({"batch", "collection", "history", "searchset", "transaction"})
_ID_NAMESPACE = uuid.UUID("6f1b3c52-6f0c-5c5e-9d26-4a3c1c1f7c55")


@dataclass(frozen=True)
class Item:
    """One resource of a unit; `entry_references` maps the fullUrls of its Bundle to Type/id."""

    line: int
    resource: dict[str, Any]
    id: str
    full_url: str | None = None
    if_none_exist: str | None = None
    entry_references: dict[str, str] | None = None


def read_items(unit: Unit) -> Iterator[Item | LoadReject]:
    """Yield the resources of a unit, and a reject for each part that holds none."""
    for line, text in unit.lines:
        try:
            content = parse(text, MAX_JSON_FILE_BYTES if unit.whole else MAX_LINE_BYTES)
            _check_type(unit, content)
            bases = _list_bases_in(text, unit.bases)
            if unit.whole and content.get("resourceType") == "Bundle":
                if content.get("type") in _LOADABLE_BUNDLES:
                    yield from _bundle_items(unit, content, bases)
                    continue
            yield Item(
                line, _with_relative_references(content, bases), _choose_id(content, None, text)
            )
        except EhrError as error:
            yield LoadReject(unit.file, line, None, None, str(error))


def _check_type(unit: Unit, content: dict[str, Any]) -> None:
    """Refuse a resource of another type than its file was said to hold."""
    if unit.type and content.get("resourceType") != unit.type:
        raise Invalid(f"The file was said to hold {unit.type}; this is another type, or none.")


def _bundle_items(
    unit: Unit, bundle: dict[str, Any], bases: Sequence[str]
) -> Iterator[Item | LoadReject]:
    entries = bundle.get("entry", [])
    if not isinstance(entries, list):
        raise Invalid("Bundle.entry must be an array.")
    items = []
    names: dict[str, str] = {}
    for number, entry in enumerate(entries, 1):
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(resource, dict):
            text = "The entry has no resource."
            yield LoadReject(unit.file, number, None, None, text)
            continue
        full_url = entry.get("fullUrl") if isinstance(entry.get("fullUrl"), str) else None
        request = entry.get("request") if isinstance(entry.get("request"), dict) else {}
        criteria = request.get("ifNoneExist")
        identity = _choose_id(resource, full_url, f"{unit.file}#{number}".encode())
        if full_url:
            names[full_url] = f"{resource.get('resourceType')}/{identity}"
        items.append(
            Item(number, resource, identity, full_url,
                 criteria if isinstance(criteria, str) else None, names)
        )  # fmt: skip
    for item in items:
        resource = _with_relative_references(item.resource, bases, names)
        yield replace(item, resource=resource)


def _list_bases_in(text: bytes, bases: Sequence[str]) -> list[str]:
    """Return the addresses whose host stands in a text: most files have none to look for."""
    lowered = text.lower() if bases else b""
    return [base for base in bases if (urlsplit(base).hostname or base).encode() in lowered]


def _with_relative_references(
    resource: dict[str, Any], bases: Sequence[str], names: Container[str] = ()
) -> dict[str, Any]:
    """Return a resource with references to this server as relative ones, as a request stores it.

    `names` are the fullUrls of its Bundle, which are resolved there. A Bundle or Parameters kept as
    data stays as it is inside; whose it is stands in its `meta`.
    """
    for base in bases:
        if resource.get("resourceType") in CONTAINERS:
            if isinstance(resource.get("meta", {}), dict):
                resource = state_patients(resource, base)
            continue
        relative = {
            reference: relative_reference(reference, base)
            for _, reference in list_references(resource)
            if reference not in names
        }
        replace_references(resource, relative)
    return resource


def _choose_id(resource: dict[str, Any], full_url: str | None, otherwise: bytes) -> str:
    """Return the source's own id, or one derived from its content or place in the file.

    So the same file gives the same ids in each load.
    """
    identity = resource.get("id")
    if isinstance(identity, str):
        return identity
    if full_url and full_url.startswith("urn:uuid:"):
        return full_url.removeprefix("urn:uuid:")
    return str(uuid.uuid5(_ID_NAMESPACE, hashlib.sha256(otherwise).hexdigest()))
