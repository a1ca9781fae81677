"""Facts that a record inherits from the records that it names.

A record bears the labels of every record, Medication or Substance that it names, and belongs to the
episodes of every Encounter that it names; an Encounter to those of the Encounter that it is part
of. One whose author is a PractitionerRole or a CareTeam has those as its authors whom that names.
References may run in circles, so the facts are the least ones that satisfy this: what nobody
states outside a circle, nobody in it inherits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from ehr_fhir.references import local_target
from ehr_privacy.consent.held_facts import STEWARD_NOT, UPDATE, HeldFact, held_values
from ehr_privacy.consent.model import Record
from ehr_privacy.consent.resource_facts import (
    AUTHOR_GROUPS,
    PEOPLE_AND_PLACES,
    is_author_path,
)

__all__ = [
    "FactNode",
    "FactTargets",
    "Key",
    "OutwardFacts",
    "fact_targets",
    "gives_facts",
    "may_be_target",
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
class FactTargets:
    """What a record inherits from, as far as it names resources of this server."""

    # What it names in whichever element: it has their labels and episodes.
    records: frozenset[Key] = frozenset()
    # The roles and teams that it names as its authors.
    authors: frozenset[Key] = frozenset()

    @property
    def all(self) -> frozenset[Key]:
        """Whatever it inherits something from."""
        return self.records | self.authors if self.authors else self.records


@dataclass(frozen=True)
class FactNode:
    """A record among those whose inherited facts are worked out: its facts, and whom it names."""

    record: Record
    held: frozenset[HeldFact]
    targets: FactTargets

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


def may_be_target(resource_type: str) -> bool:
    """Say whether something may be inherited from a resource of this type.

    >>> may_be_target("PractitionerRole"), may_be_target("Practitioner")
    (True, False)
    """
    return gives_facts(resource_type) or resource_type in AUTHOR_GROUPS


def fact_targets(record: Record, references: Iterable[tuple[str, str]]) -> FactTargets:
    """Return what a record inherits from, given the (path, reference) of its references.

    >>> named = [("Basic.author.reference", "PractitionerRole/r"),
    ...          ("Basic.extension[0].valueReference.reference", "Encounter/e/_history/1"),
    ...          ("Basic.subject.reference", "Patient/p")]
    >>> targets = fact_targets(Record("Basic", "b"), named)
    >>> sorted(targets.records), sorted(targets.authors)
    ([('Encounter', 'e')], [('PractitionerRole', 'r')])
    """
    if not shares_facts(record):
        return FactTargets()
    records, authors = set(), set()
    for path, reference in references:
        target = local_target(reference)
        if target is None:
            continue
        if gives_facts(target.type):
            records.add((target.type, target.id))
        if target.type in AUTHOR_GROUPS and is_author_path(path):
            authors.add((target.type, target.id))
    return FactTargets(frozenset(records), frozenset(authors))


def shares_facts(record: Record) -> bool:
    """Say whether a record inherits from what it names, and hands on what it bears.

    A Consent that is a rule does not: it may name just what it closes.
    """
    return gives_facts(record.type) and (record.type != "Consent" or record.clinical_consent)


def outward_facts(record: Record, held: Iterable[HeldFact]) -> OutwardFacts:
    """Return what those inherit that name a record, with the record that each fact comes from.

    The id of an Encounter is left out: who names it states the episode.
    """
    name = f"{record.type}/{record.id}"
    sources: dict[tuple[str, str], str] = {}
    if record.type in AUTHOR_GROUPS:
        sources |= {("author_person", person): name for person in record.author_people}
    if shares_facts(record):
        sources |= {("label", label): name for label in record.labels}
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
    for kind, values, added in _facts_by_kind(record):
        own = values - added
        updates = held_values(kept, kind, UPDATE) - held_values(kept, kind, STEWARD_NOT) - own
        merged[kind] = own, updates | {fact.value for fact in inherited if fact.kind == kind}
    own_labels, added_labels = merged["label"]
    own_episodes, added_episodes = merged["episode"]
    own_people, added_people = merged["author_person"]
    changed = replace(
        record,
        labels=own_labels | added_labels,
        added_labels=frozenset(added_labels),
        episodes=own_episodes | added_episodes,
        added_episodes=frozenset(added_episodes),
        author_people=own_people | added_people,
        added_people=frozenset(added_people),
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
            for target in node.targets.all:
                facts = given[target] if target in given else boundary.get(target)
                for fact, origin in (facts or {}).items():
                    if fact in excluded[key] or not _inherits_kind(fact[0], target, node.targets):
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


def _facts_by_kind(record: Record) -> tuple[tuple[str, frozenset[str], frozenset[str]], ...]:
    """Return the kinds of facts that can be inherited: all values, and those that were added."""
    return (
        ("label", record.labels, record.added_labels),
        ("episode", record.episodes, record.added_episodes),
        ("author_person", record.author_people, record.added_people),
    )


def _hands_on(record: Record, kind: str) -> bool:
    """Say whether those that name a record inherit its facts of a kind."""
    if kind == "author_person":
        return record.type in AUTHOR_GROUPS
    return shares_facts(record) and (kind == "label" or record.type == "Encounter")


def _inherits_kind(kind: str, target: Key, targets: FactTargets) -> bool:
    """Say whether a record inherits facts of a kind from one of its targets."""
    return target in (targets.authors if kind == "author_person" else targets.records)


def _list_excluded(node: FactNode) -> set[tuple[str, str]]:
    """Return the facts that a record does not inherit: its own, and those a steward denies."""
    own = {
        (kind, value)
        for kind, values, added in _facts_by_kind(node.record)
        for value in values - added
    }
    return own | {(fact.kind, fact.value) for fact in node.held if fact.source == STEWARD_NOT}


def _only_inherited(record: Record, held: Iterable[HeldFact]) -> Iterable[tuple[str, str, str]]:
    """Yield the inherited facts that nobody states: kind, value and origin."""
    held = list(held)
    added_by_kind = {kind: added for kind, _, added in _facts_by_kind(record)}
    updates = {(fact.kind, fact.value) for fact in held if fact.source == UPDATE}
    for fact in sorted(held, reverse=True):
        if (
            fact.is_inherited
            and fact.value in added_by_kind.get(fact.kind, ())
            and (fact.kind, fact.value) not in updates
        ):
            yield fact.kind, fact.value, fact.source
