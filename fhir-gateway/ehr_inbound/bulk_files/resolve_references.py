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
from ehr_inbound.bulk_files.items import Item, items
from ehr_inbound.bulk_files.scratch import Scratch

__all__ = ["Meanings", "Sight", "gathered", "look", "meanings"]

# (resource type, system, value)
Identifier = tuple[str, str, str]


@dataclass
class Sight:
    """What one unit shows: identifiers, conditional references, conditional creates."""

    identifiers: list[tuple[Identifier, str]] = field(default_factory=list)
    searches: set[str] = field(default_factory=set)
    creates: list[tuple[str, str, str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Meanings:
    """What a reference by search, and the name of an entry that exists already, stand for."""

    searches: dict[str, str] = field(default_factory=dict)
    existing: dict[str, str] = field(default_factory=dict)


def look(unit: Unit) -> Sight:
    """Look over one unit, without judging it."""
    sight = Sight()
    # Most units hold neither searches nor the targets of any; a quick parse finds out.
    for item in _quickly(unit):
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
        _searches(item.resource, sight.searches)
    return sight


def gathered(sights: Iterable[Sight], scratch: Scratch) -> Sight:
    """Return the searches and creates of all units; their identifiers go to the scratch."""
    every = Sight()
    for sight in sights:
        scratch.executemany(
            "INSERT INTO identifier VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            ((*identifier, identity) for identifier, identity in sight.identifiers),
        )
        every.searches |= sight.searches
        every.creates += sight.creates
    return every


def meanings(store: Store, sight: Sight, scratch: Scratch) -> Meanings:
    """Find out what the searches of a set mean, in the set first and then in the store."""
    searches = {}
    for reference in sight.searches:
        kind, criteria = split_conditional_reference(reference) or ("", "")
        wanted = _identifier(kind, criteria)
        if wanted is None:
            continue
        ids = _inside(scratch, wanted) or _stored(store, wanted)
        if len(ids) == 1:
            searches[reference] = f"{kind}/{next(iter(ids))}"
    existing = {}
    for full_url, kind, identity, criteria in sight.creates:
        wanted = _identifier(kind, criteria)
        ids = _stored(store, wanted) if wanted else set()
        if len(ids) == 1 and identity not in ids:
            existing[full_url] = f"{kind}/{next(iter(ids))}"
    return Meanings(searches, existing)


def _quickly(unit: Unit) -> Iterable[Item]:
    if unit.whole:
        return [item for item in items(unit) if isinstance(item, Item)]
    found = []
    for line, text in unit.lines:
        try:
            content = orjson.loads(text)
        except ValueError:
            continue
        if isinstance(content, dict) and isinstance(content.get("id"), str):
            found.append(Item(line, content, content["id"]))
    return found


def _searches(node: object, found: set[str]) -> None:
    if isinstance(node, dict):
        reference = node.get("reference")
        if isinstance(reference, str) and "?" in reference:
            found.add(reference)
        for value in node.values():
            if isinstance(value, dict | list):
                _searches(value, found)
    elif isinstance(node, list):
        for value in node:
            _searches(value, found)


def _identifier(kind: str, criteria: str) -> Identifier | None:
    pairs = parse_qsl(criteria)
    if len(pairs) != 1 or pairs[0][0] != "identifier" or "|" not in pairs[0][1]:
        return None
    system, _, value = pairs[0][1].partition("|")
    return kind, system, value


def _inside(scratch: Scratch, identifier: Identifier) -> set[str]:
    query = "SELECT id FROM identifier WHERE type = ? AND system = ? AND value = ?"
    return {identity for (identity,) in scratch.execute(query, identifier)}


def _stored(store: Store, identifier: Identifier) -> set[str]:
    kind, system, value = identifier
    param = store.parameter_ids.get((kind, "identifier"))
    with store.read_transaction() as connection:
        rows = connection.execute(
            "SELECT r.id FROM idx_token i JOIN resource r ON r.pk = i.pk"
            " WHERE i.param = ? AND i.code = ? AND i.system = ? AND r.current = 1",
            (param, value, system),
        )
        return {row["id"] for row in rows}
