"""The look ahead over a whole load: which resources it names, and what its searches mean.

Conditional references may point at anything in the set, in any file, or in the store.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

import orjson

from ehr_fhir.references import split_conditional_reference
from ehr_gateway.store.store import Store
from ehr_inbound.bulk_files.files import Unit
from ehr_inbound.bulk_files.items import Item, read_items
from ehr_inbound.bulk_files.scratch import Scratch

__all__ = ["ResolvedReferences", "UnitScan", "merge_scans", "resolve_searches", "scan_unit"]

# (resource type, system, value)
Identifier = tuple[str, str, str]


@dataclass
class UnitScan:
    """What one unit shows: identifiers, conditional references, conditional creates."""

    identifiers: list[tuple[Identifier, str]] = field(default_factory=list)
    searches: set[str] = field(default_factory=set)
    creates: list[tuple[str, str, str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class ResolvedReferences:
    """What a reference by search, and the name of an entry that exists already, stand for."""

    searches: dict[str, str] = field(default_factory=dict)
    existing: dict[str, str] = field(default_factory=dict)


def scan_unit(unit: Unit) -> UnitScan:
    """Look over one unit, without judging it."""
    sight = UnitScan()
    # Most units hold neither searches nor the targets of any; a quick parse finds out.
    for item in _parse_quickly(unit):
        kind = item.resource.get("resourceType")
        identifiers = item.resource.get("identifier")
        if not isinstance(kind, str):
            continue
        for one in identifiers if isinstance(identifiers, list) else ():
            if isinstance(one, dict) and isinstance(one.get("value"), str):
                sight.identifiers.append(
                    ((kind, str(one.get("system", "")), one["value"]), item.id)
                )
        if item.if_none_exist and item.full_url:
            sight.creates.append((item.full_url, kind, item.id, item.if_none_exist))
        _collect_searches(item.resource, sight.searches)
    return sight


def merge_scans(sights: Iterable[UnitScan], scratch: Scratch) -> UnitScan:
    """Return the searches and creates of all units; their identifiers go to the scratch."""
    every = UnitScan()
    for sight in sights:
        scratch.executemany(
            "INSERT INTO identifier VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            ((*identifier, identity) for identifier, identity in sight.identifiers),
        )
        every.searches |= sight.searches
        every.creates += sight.creates
    return every


def resolve_searches(store: Store, sight: UnitScan, scratch: Scratch) -> ResolvedReferences:
    """Find out what the searches of a set mean, in the set first and then in the store."""
    searches = {}
    for reference in sight.searches:
        kind, criteria = split_conditional_reference(reference) or ("", "")
        wanted = _parse_identifier_search(kind, criteria)
        if wanted is None:
            continue
        ids = _find_in_load(scratch, wanted) or _find_in_store(store, wanted)
        if len(ids) == 1:
            searches[reference] = f"{kind}/{next(iter(ids))}"
    existing = {}
    for full_url, kind, identity, criteria in sight.creates:
        wanted = _parse_identifier_search(kind, criteria)
        ids = _find_in_store(store, wanted) if wanted else set()
        if len(ids) == 1 and identity not in ids:
            existing[full_url] = f"{kind}/{next(iter(ids))}"
    return ResolvedReferences(searches, existing)


def _parse_quickly(unit: Unit) -> Iterable[Item]:
    if unit.whole:
        return [item for item in read_items(unit) if isinstance(item, Item)]
    found = []
    for line, text in unit.lines:
        try:
            content = orjson.loads(text)
        except ValueError:
            continue
        if isinstance(content, dict) and isinstance(content.get("id"), str):
            found.append(Item(line, content, content["id"]))
    return found


def _collect_searches(node: object, found: set[str]) -> None:
    if isinstance(node, dict):
        reference = node.get("reference")
        if isinstance(reference, str) and "?" in reference:
            found.add(reference)
        for value in node.values():
            if isinstance(value, dict | list):
                _collect_searches(value, found)
    elif isinstance(node, list):
        for value in node:
            _collect_searches(value, found)


def _parse_identifier_search(kind: str, criteria: str) -> Identifier | None:
    pairs = parse_qsl(criteria)
    if len(pairs) != 1 or pairs[0][0] != "identifier" or "|" not in pairs[0][1]:
        return None
    system, _, value = pairs[0][1].partition("|")
    return kind, system, value


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
