"""Facts that a record inherits from the records that it names.

A record bears the labels of every record, Medication or Substance that it names, and belongs to the
episodes of every Encounter that it names; an Encounter to those of the Encounter that it is part
of. References may run in circles, so the facts are the least ones that satisfy this: what nobody
states outside a circle, nobody in it inherits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from ehr_privacy.consent.held_facts import STEWARD_NOT, UPDATE, HeldFact, held_values
from ehr_privacy.consent.model import Record
from ehr_privacy.consent.resource_facts import PEOPLE_AND_PLACES

__all__ = [
    "FactNode",
    "Key",
    "OutwardFacts",
    "gives_facts",
    "outward_facts",
    "replace_inherited",
    "shares_facts",
    "solve_inheritance",
]

# Type and id of a resource.
Key = tuple[str, str]
# (kind, value) -> the record that the fact comes from, such as "Medication/m1".
OutwardFacts = Mapping[tuple[str, str], str]


@dataclass(frozen=True)
class FactNode:
    """A record among those whose inherited facts are worked out: its facts, and whom it names."""

    record: Record
    held: frozenset[HeldFact]
    targets: frozenset[Key]

    @property
    def key(self) -> Key:
        """Its type and id."""
        return self.record.type, self.record.id


def gives_facts(resource_type: str) -> bool:
    """Say whether records inherit from what they name of this type.

    Of Consents only those do that are clinical documents, which a reference does not tell.

    >>> gives_facts("Medication"), gives_facts("Practitioner"), gives_facts("Consent")
    (True, False, True)
    """
    return resource_type == "Consent" or resource_type not in PEOPLE_AND_PLACES


def shares_facts(record: Record) -> bool:
    """Say whether a record inherits from what it names, and hands on what it bears.

    A Consent that is a rule does not: it may name just what it closes.
    """
    return gives_facts(record.type) and (record.type != "Consent" or record.clinical_consent)


def outward_facts(record: Record, held: Iterable[HeldFact]) -> OutwardFacts:
    """Return what those inherit that name a record, with the record that each fact comes from.

    The id of an Encounter is left out: who names it states the episode.
    """
    if not shares_facts(record):
        return {}
    name = f"{record.type}/{record.id}"
    sources = {("label", label): name for label in record.labels}
    if record.type == "Encounter":
        episodes = record.episodes - {record.id}
        sources |= {("episode", episode): name for episode in episodes}
    if sources:
        for kind, value, origin in _only_inherited(record, held):
            if (kind, value) in sources:
                sources[kind, value] = origin
    return sources


def replace_inherited(
    record: Record, held: Collection[HeldFact], inherited: Collection[HeldFact]
) -> tuple[Record, frozenset[HeldFact]]:
    """Return a record's facts and held facts with other inherited ones in place of its own."""
    kept = frozenset(fact for fact in held if not fact.is_inherited)
    merged = {}
    for kind, own in (
        ("label", record.labels - record.added_labels),
        ("episode", record.episodes - record.added_episodes),
    ):
        updates = held_values(kept, kind, UPDATE) - held_values(kept, kind, STEWARD_NOT) - own
        merged[kind] = own, updates | {fact.value for fact in inherited if fact.kind == kind}
    own_labels, added_labels = merged["label"]
    own_episodes, added_episodes = merged["episode"]
    changed = replace(
        record,
        labels=own_labels | added_labels,
        added_labels=frozenset(added_labels),
        episodes=own_episodes | added_episodes,
        added_episodes=frozenset(added_episodes),
    )
    return changed, kept | frozenset(inherited)


def solve_inheritance(
    nodes: Iterable[FactNode], boundary: Mapping[Key, OutwardFacts]
) -> dict[Key, frozenset[HeldFact]]:
    """Return by record the least facts that it inherits.

    `boundary` has the outward facts of targets that are no nodes; they must not depend on nodes. Of
    several records that a fact comes from, the first by name is its source.
    """
    by_key = {node.key: node for node in nodes}
    base: dict[Key, dict[tuple[str, str], str]] = {}
    for key, node in by_key.items():
        stated, _ = replace_inherited(node.record, node.held, ())
        base[key] = dict(outward_facts(stated, ()))
    given = {key: dict(facts) for key, facts in base.items()}
    inherited: dict[Key, dict[tuple[str, str], str]] = {key: {} for key in by_key}
    excluded = {key: _list_excluded(node) for key, node in by_key.items()}
    changed = True
    while changed:
        changed = False
        for key, node in by_key.items():
            for target in node.targets:
                facts = given[target] if target in given else boundary.get(target)
                for fact, origin in (facts or {}).items():
                    if fact in excluded[key]:
                        continue
                    known = inherited[key].get(fact)
                    if known is None or origin < known:
                        inherited[key][fact] = origin
                        changed = True
                        if fact not in base[key] and _hands_on(node.record, fact[0]):
                            given[key][fact] = origin
    return {
        key: frozenset(HeldFact(kind, value, origin) for (kind, value), origin in facts.items())
        for key, facts in inherited.items()
    }


def _hands_on(record: Record, kind: str) -> bool:
    """Say whether those that name a record inherit its facts of a kind."""
    return shares_facts(record) and (kind == "label" or record.type == "Encounter")


def _list_excluded(node: FactNode) -> set[tuple[str, str]]:
    """Return the facts that a record does not inherit: its own, and those a steward denies."""
    record = node.record
    facts = {("label", label) for label in record.labels - record.added_labels}
    facts |= {("episode", episode) for episode in record.episodes - record.added_episodes}
    return facts | {(fact.kind, fact.value) for fact in node.held if fact.source == STEWARD_NOT}


def _only_inherited(record: Record, held: Iterable[HeldFact]) -> Iterable[tuple[str, str, str]]:
    """Yield the inherited facts that nobody states: kind, value and origin."""
    held = list(held)
    added = {"label": record.added_labels, "episode": record.added_episodes}
    updates = {(fact.kind, fact.value) for fact in held if fact.source == UPDATE}
    for fact in sorted(held, reverse=True):
        if (
            fact.is_inherited
            and fact.value in added.get(fact.kind, ())
            and (fact.kind, fact.value) not in updates
        ):
            yield fact.kind, fact.value, fact.source
