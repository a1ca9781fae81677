"""Resolve conditional references over a whole load, in a first pass over all files.

A conditional reference (`Practitioner?identifier=s|v`) may point to a resource in any file of the
load, or in the store. So each unit is scanned for identifiers and such references first; then the
references are looked up in the load, and in the store if the load has no match.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from urllib.parse import parse_qsl

import orjson

from ehr_fhir.references import relative_reference, split_conditional_reference
from ehr_fhir.resource_links import list_references
from ehr_fhir.token_keys import token_key
from ehr_gateway.store.store import Store
from ehr_inbound.bulk_files.files import Unit
from ehr_inbound.bulk_files.items import Item, read_items
from ehr_inbound.bulk_files.scratch import Scratch

__all__ = ["ResolvedReferences", "UnitScan", "merge_scans", "resolve_searches", "scan_unit"]

# (resource type, system, value as the index has it)
Identifier = tuple[str, str, str]


@dataclass(frozen=True)
class ConditionalCreate:
    """A Bundle entry with `ifNoneExist`."""

    full_url: str
    type: str
    id: str
    criteria: str


@dataclass
class UnitScan:
    """What the first pass finds in one unit, or in all."""

    # With the id of the resource that has the identifier.
    identifiers: list[tuple[Identifier, str]] = field(default_factory=list)
    conditional_references: set[str] = field(default_factory=set)
    conditional_creates: list[ConditionalCreate] = field(default_factory=list)


@dataclass(frozen=True)
class ResolvedReferences:
    """What conditional references, and fullUrls of entries that exist already, stand for."""

    # Conditional reference -> Type/id.
    references: dict[str, str] = field(default_factory=dict)
    # fullUrl of an entry whose `ifNoneExist` matches in the store -> Type/id.
    existing: dict[str, str] = field(default_factory=dict)


def scan_unit(unit: Unit) -> UnitScan:
    """Scan a unit for identifiers, conditional references and conditional creates."""
    scan = UnitScan()
    for item in _parse_quickly(unit):
        kind = item.resource.get("resourceType")
        identifiers = item.resource.get("identifier")
        if not isinstance(kind, str):
            continue
        for identifier in identifiers if isinstance(identifiers, list) else ():
            if isinstance(identifier, dict) and isinstance(identifier.get("value"), str):
                system = str(identifier.get("system", ""))
                value = token_key(system, identifier["value"])
                scan.identifiers.append(((kind, system, value), item.id))
        if item.if_none_exist and item.full_url:
            scan.conditional_creates.append(
                ConditionalCreate(item.full_url, kind, item.id, item.if_none_exist)
            )
        scan.conditional_references.update(
            reduce(relative_reference, unit.bases, reference)
            for _, reference in list_references(item.resource)
            if "?" in reference
        )
    return scan


def merge_scans(scans: Iterable[UnitScan], scratch: Scratch) -> UnitScan:
    """Merge the scans of all units; the identifiers go to the scratch database instead."""
    merged = UnitScan()
    for scan in scans:
        scratch.executemany(
            "INSERT INTO identifier VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            ((*identifier, identity) for identifier, identity in scan.identifiers),
        )
        merged.conditional_references |= scan.conditional_references
        merged.conditional_creates += scan.conditional_creates
    return merged


def resolve_searches(store: Store, scan: UnitScan, scratch: Scratch) -> ResolvedReferences:
    """Look up conditional references and creates; those without one match are left out."""
    references = {}
    for reference in scan.conditional_references:
        kind, criteria = split_conditional_reference(reference) or ("", "")
        identifier = _parse_identifier_search(kind, criteria)
        if identifier is None:
            continue
        ids = _find_in_load(scratch, identifier) or _find_in_store(store, identifier)
        if len(ids) == 1:
            references[reference] = f"{kind}/{next(iter(ids))}"
    existing = {}
    for create in scan.conditional_creates:
        identifier = _parse_identifier_search(create.type, create.criteria)
        ids = _find_in_store(store, identifier) if identifier else set()
        # Its own id is there when the load is run again: then the entry is an update.
        if len(ids) == 1 and create.id not in ids:
            existing[create.full_url] = f"{create.type}/{next(iter(ids))}"
    return ResolvedReferences(references, existing)


def _parse_quickly(unit: Unit) -> Iterable[Item]:
    """Yield the items of a unit without validating NDJSON lines: the second pass does that."""
    if unit.whole:
        return [item for item in read_items(unit) if isinstance(item, Item)]
    items = []
    for line, text in unit.lines:
        try:
            content = orjson.loads(text)
        except ValueError:
            continue
        if isinstance(content, dict) and isinstance(content.get("id"), str):
            items.append(Item(line, content, content["id"]))
    return items


def _parse_identifier_search(kind: str, criteria: str) -> Identifier | None:
    """Parse `identifier=system|value`, the only search that a load resolves; else None."""
    pairs = parse_qsl(criteria)
    if len(pairs) != 1 or pairs[0][0] != "identifier" or "|" not in pairs[0][1]:
        return None
    system, _, value = pairs[0][1].partition("|")
    return kind, system, token_key(system, value)


def _find_in_load(scratch: Scratch, identifier: Identifier) -> set[str]:
    query = "SELECT id FROM identifier WHERE type = ? AND system = ? AND value = ?"
    return {identity for (identity,) in scratch.execute(query, identifier)}


def _find_in_store(store: Store, identifier: Identifier) -> set[str]:
    kind, system, value = identifier
    param = store.parameter_ids.get((kind, "identifier"))
    with store.read_transaction() as connection:
        rows = connection.execute(
            "SELECT r.id FROM idx_token i JOIN resource r ON r.pk = i.pk"
            " WHERE i.param = ? AND i.code = ? AND i.system = ? AND r.current = 1",
            (param, value, system),
        )
        return {row["id"] for row in rows}
