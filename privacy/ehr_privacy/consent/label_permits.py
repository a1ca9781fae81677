"""Rules by label, and what a provision that permits lifts of them.

A record may have several labels. It opens to whom a provision permits some of them only if every
label that closes it is permitted. One rule row with one exception cannot say so: the exception for
one label would lift what the rule closes for another. So whatever is closed and has exceptions by
label becomes one rule for each label, and an exception belongs to the rules of its own labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ehr_privacy.consent.labels import LABELS, LEVELS, parent_label, permits_at_level
from ehr_privacy.consent.model import Value
from ehr_privacy.consent.provision import Provision
from ehr_privacy.consent.tables import SELECTOR_COLUMNS

__all__ = [
    "EVERYONE",
    "EVERY_RECORD",
    "closed_labels",
    "closing_rows",
    "is_lifted_for_all",
    "lifting_conditions",
    "rules_by_label",
]

Values = dict[str, Value]

# The rule that closes whatever its selector matches, of any label or none.
EVERY_RECORD = "0"
EVERYONE: Values = {"actor_kind": "everyone", "actor_value": None}


def closing_rows(
    conditions: Iterable[Values], rules: Iterable[str], permits: Sequence[Provision]
) -> Iterator[tuple[str, Values]]:
    """Yield (table, values) of the restrictions of some rules, and of the exceptions from them.

    `conditions` are those of what is closed, whatever its label.
    """
    closed = list(conditions)
    for rule in rules:
        label = None if rule == EVERY_RECORD else rule
        for condition in closed:
            yield "consent_restriction", {**condition, "rule": rule, "label": label}
        for permit in permits:
            for lifted in lifting_conditions(permit, rule):
                yield "consent_exception", {**lifted, "rule": rule}


def is_lifted_for_all(rule: str, permit: Provision) -> bool:
    """Say whether a provision that permits leaves nothing closed by a rule."""
    everything = {**dict.fromkeys(column.name for column in SELECTOR_COLUMNS), **EVERYONE}
    return everything in lifting_conditions(permit, rule)


def lifting_conditions(permit: Provision, rule: str) -> list[Values]:
    """Return the conditions under which a provision that permits lifts the rule of a label.

    A level of confidentiality lifts what is closed by a label of that level or a lower one. A
    sensitivity label lifts its own rule and those of what it comes with: narrower labels, and on a
    record that bears it the broader label and the confidentiality R.
    """
    conditions = permit.conditions()
    levels = [label for label in permit.labels if label in LEVELS]
    if not permit.labels or any(
        rule == EVERY_RECORD or permits_at_level(level, rule) for level in levels
    ):
        return conditions
    return [
        {**condition, "label": label}
        for label in permit.labels
        if label not in LEVELS
        and (rule in (EVERY_RECORD, "R", label, parent_label(label)) or parent_label(rule) == label)
        for condition in conditions
    ]


def rules_by_label(closed: Iterable[str], permits: Sequence[Provision]) -> Iterator[str]:
    """Yield the rules that are needed to close some labels: those that the permits tell apart.

    `closed` has EVERY_RECORD or labels. A label needs no rule of its own if every permit lifts it
    just where it lifts all records, or the broader label.
    """
    rules = {*closed}
    if EVERY_RECORD in rules:
        rules |= LABELS
    for rule in sorted(rules):
        covering = {EVERY_RECORD, parent_label(rule)} & rules - {rule}
        lifted = [lifting_conditions(permit, rule) for permit in permits]
        if not any(
            lifted == [lifting_conditions(permit, other) for permit in permits]
            for other in covering
        ):
            yield rule


def closed_labels(labels: Iterable[str]) -> frozenset[str]:
    """Return what a denial of some labels closes: them, their narrower ones, and higher levels.

    >>> sorted(closed_labels(["R", "ETH"])), sorted(closed_labels([]))
    (['ETH', 'ETHUD', 'OPIOIDUD', 'R', 'V'], ['0'])
    """
    denied = frozenset(labels)
    if not denied:
        return frozenset({EVERY_RECORD})
    narrower = {label for label in LABELS if parent_label(label) in denied}
    return denied | narrower | ({"V"} if "R" in denied else set())
