"""Write the facts that records inherit from what they name, in the transaction that changes them.

The rules are those of `ehr_privacy.consent.inherited_facts`. A record that is written inherits from
its targets. Where what it hands on changes, everything that names it, at any depth, is worked out
anew and written with it, so nobody sees the one without the other.

Records that name a target are found by the index of references. Elements that no search parameter
covers have rows there too, under a number of their own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

from ehr_fhir.index.rows import IndexRow, indexed_parameters
from ehr_fhir.references import local_target
from ehr_fhir.resource_links import list_references
from ehr_gateway.database import Connection, Row
from ehr_gateway.store.named_versions import from_current_versions
from ehr_gateway.store.parameter_ids import UNINDEXED_PARAMETER
from ehr_gateway.store.stored_facts import (
    StoredFacts,
    facts_columns,
    replace_held_facts,
    update_facts,
)
from ehr_privacy.consent import Record
from ehr_privacy.consent.inherited_facts import (
    FactNode,
    Key,
    OutwardFacts,
    fact_targets,
    gives_facts,
    may_be_target,
    outward_facts,
    replace_inherited,
    solve_inheritance,
)
from ehr_privacy.consent.resource_facts import AUTHOR_GROUPS

__all__ = [
    "GIVING_COLUMNS",
    "InheritedChange",
    "WrittenRecord",
    "may_give_facts",
    "read_node",
    "read_outward_facts",
    "read_targets",
    "settle_inheritance",
    "unindexed_references",
]

# What tells of a row of `resource r` whether it may hand on anything: most hand on nothing.
GIVING_COLUMNS = (
    "r.type, r.id, r.episodes, r.author_people,"
    " EXISTS (SELECT 1 FROM record_label gl WHERE gl.pk = r.pk) AS labelled"
)
# Chosen: far below the limits of both databases on parameters of a statement.
_KEYS_PER_STATEMENT = 100


@dataclass(frozen=True)
class WrittenRecord:
    """A record that the transaction has written, with the facts that its rows have now."""

    pk: int
    node: FactNode
    # What it handed on before to those that name it; None where nothing can name it yet.
    before: OutwardFacts | None = None
    # Whether it no longer names something that it named before.
    has_lost_reference: bool = False


@dataclass(frozen=True)
class InheritedChange:
    """The facts in force of a record before and after it inherits anew.

    Of a record that the transaction has written, `before` are those its rows got with its version.
    """

    before: Record
    after: Record


@dataclass(frozen=True)
class _StoredNode:
    pk: int
    node: FactNode


def unindexed_references(
    resource_type: str, references: Iterable[str], rows: Iterable[IndexRow]
) -> Iterator[IndexRow]:
    """Yield index rows for the targets of a record that no search parameter covers."""
    # The rows of a contained resource have numbers that `_reference_parameters` does not return.
    own_rows = (row for row in rows if row.kind == "reference" and not row.contained_type)
    indexed = {row.values[:2] for row in own_rows}
    # Of a type alone: of Consents, the rows of those that are rules are one or two too many.
    if gives_facts(resource_type):
        targets = (local_target(reference) for reference in references)
        keys = {(t.type, t.id) for t in targets if t is not None and may_be_target(t.type)}
        for key in sorted(keys - indexed):
            yield IndexRow("reference", "", (*key, 0))


def read_outward_facts(connection: Connection, targets: Iterable[Key]) -> dict[Key, OutwardFacts]:
    """Return what stored records hand on, by record; those that hand on nothing are left out."""
    given = {}
    for row in _select_current(connection, facts_columns(connection.dialect), targets):
        facts = StoredFacts.from_row(row)
        if outward := outward_facts(facts.record, facts.held):
            given[facts.record.type, facts.record.id] = outward
    return given


def read_targets(connection: Connection, targets: Iterable[Key]) -> dict[Key, OutwardFacts]:
    """Return what stored records hand on, by record; those that are not stored are left out."""
    given: dict[Key, OutwardFacts] = {}
    giving = []
    for row in _select_current(connection, GIVING_COLUMNS, targets):
        given[row["type"], row["id"]] = {}
        if may_give_facts(row):
            giving.append((row["type"], row["id"]))
    return given | read_outward_facts(connection, giving)


def may_give_facts(row: Row) -> bool:
    """Say whether a stored record may hand on anything, from a row with GIVING_COLUMNS."""
    has_episodes = row["type"] == "Encounter" and row["episodes"] != f"|{row['id']}|"
    has_people = row["type"] in AUTHOR_GROUPS and row["author_people"] is not None
    return bool(row["labelled"]) or has_episodes or has_people


def settle_inheritance(
    connection: Connection,
    parameter_ids: Mapping[tuple[str, str], int],
    written: Sequence[WrittenRecord],
    boundary: Mapping[Key, OutwardFacts],
) -> dict[Key, InheritedChange]:
    """Write what written records inherit, and what those that name them inherit anew.

    `boundary` has the outward facts of what the written records name. Returns the records whose
    facts in force are others than their rows had, those that name a written one among them.
    """
    nodes = {record.node.key: record.node for record in written}
    pks = {record.node.key: record.pk for record in written}
    if not boundary and not any(_is_concerned(record) for record in written):
        return {}
    solved = solve_inheritance(nodes.values(), boundary)
    # A stored record may hand back what came from one that is written now, over any way round.
    sources = {source for facts in boundary.values() for source in facts.values()}
    changed = [
        record.node.key
        for record in written
        if _hands_on_anew(record, solved) or "/".join(record.node.key) in sources
    ]
    if changed:
        for stored in _find_referrers(connection, parameter_ids, changed, exclude=nodes):
            nodes[stored.node.key], pks[stored.node.key] = stored.node, stored.pk
        targets = {key for node in nodes.values() for key in node.targets.all} - nodes.keys()
        boundary = read_outward_facts(connection, targets)
        solved = solve_inheritance(nodes.values(), boundary)
    changes = {}
    for key, node in nodes.items():
        record, held = replace_inherited(node.record, node.held, solved[key])
        replace_held_facts(connection, *key, node.held, held)
        update_facts(connection, pks[key], node.record, record)
        if record != node.record:
            changes[key] = InheritedChange(node.record, record)
    return changes


def _is_concerned(record: WrittenRecord) -> bool:
    """Say whether a written record hands on anything, or did before, or inherited something."""
    return bool(
        record.before
        or outward_facts(record.node.record, ())
        or any(fact.is_inherited for fact in record.node.held)
    )


def _hands_on_anew(record: WrittenRecord, solved: Mapping[Key, Iterable[Any]]) -> bool:
    """Say whether what names the record has to be worked out anew.

    Also where it inherits something and names less than before: what it named may have led round to
    what it inherits from.
    """
    if record.before is None:
        return False
    inherited = frozenset(solved[record.node.key])
    facts, held = replace_inherited(record.node.record, record.node.held, inherited)
    return outward_facts(facts, held) != record.before or (
        record.has_lost_reference and bool(inherited)
    )


def _find_referrers(
    connection: Connection,
    parameter_ids: Mapping[tuple[str, str], int],
    targets: Iterable[Key],
    exclude: Iterable[Key],
) -> list[_StoredNode]:
    """Return the current records that name one of the targets, at any depth.

    Those to `exclude` are not returned, but what names them is.
    """
    found: dict[Key, _StoredNode] = {}
    excluded = {*exclude}
    remaining = [*targets]
    known = {*remaining}
    while remaining:
        pks = _select_referrers(connection, parameter_ids, remaining)
        remaining = []
        for stored in _select_nodes(connection, pks):
            key = stored.node.key
            if key not in known:
                known.add(key)
                remaining.append(key)
                if key not in excluded:
                    found[key] = stored
    return list(found.values())


def _select_referrers(
    connection: Connection,
    parameter_ids: Mapping[tuple[str, str], int],
    targets: Iterable[Key],
) -> set[int]:
    by_type: dict[str, list[str]] = defaultdict(list)
    for kind, identity in targets:
        by_type[kind].append(identity)
    pks: set[int] = set()
    for kind, identities in by_type.items():
        numbers = ", ".join(map(str, _reference_parameters(parameter_ids, kind)))
        for batch in _batches(identities):
            places = ", ".join("?" * len(batch))
            rows = connection.execute(
                f"SELECT pk FROM idx_reference WHERE param IN ({numbers})"  # noqa: S608
                f" AND target_id IN ({places}) AND target_type = ?",
                (*batch, kind),
            )
            pks.update(row["pk"] for row in rows)
    return pks


def _reference_parameters(
    parameter_ids: Mapping[tuple[str, str], int], target_type: str
) -> list[int]:
    """Return the numbers of the parameters whose index rows may name a type."""
    numbers = {UNINDEXED_PARAMETER}
    for kind in {kind for kind, _ in parameter_ids}:
        for parameter in indexed_parameters(kind):
            is_reference = parameter.type in ("reference", "uri")
            if is_reference and (not parameter.targets or target_type in parameter.targets):
                numbers.add(parameter_ids[kind, parameter.code])
    return sorted(numbers)


def _select_nodes(connection: Connection, pks: Iterable[int]) -> Iterator[_StoredNode]:
    for batch in _batches(sorted(pks)):
        rows = connection.execute(
            f"SELECT r.pk, r.body, {facts_columns(connection.dialect)} FROM resource r"  # noqa: S608
            f" WHERE r.pk IN ({', '.join('?' * len(batch))}) AND r.current = 1 AND r.deleted = 0",
            tuple(batch),
        ).fetchall()
        yield from (_StoredNode(row["pk"], read_node(row)) for row in rows)


def read_node(row: Row) -> FactNode:
    """Build the node of a stored record from its row with `facts_columns`."""
    facts = StoredFacts.from_row(row)
    # A plain parser will do: references have no digits to lose.
    references = list_references(orjson.loads(row["body"]))
    return FactNode(facts.record, facts.held, fact_targets(facts.record, references))


def _select_current(connection: Connection, columns: str, keys: Iterable[Key]) -> Iterator[Row]:
    for batch in _batches(sorted(keys)):
        yield from connection.execute(
            f"SELECT {columns} {from_current_versions(['(?, ?)'] * len(batch))}",
            tuple(part for key in batch for part in key),
        ).fetchall()


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    remaining = iter(items)
    while batch := list(islice(remaining, _KEYS_PER_STATEMENT)):
        yield batch
