"""A profile as tables: what to check of a value, and where to go on below it.

Made once by `compiler`. A node's `keys` are met as the JSON has them, so that an absent element
costs nothing; its `elements` are those that may be missing, too many, or sliced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from ehr_fhir.profiles.findings import Place, Run

__all__ = [
    "Check",
    "ElementRule",
    "KeyRule",
    "Matcher",
    "Node",
    "SliceRule",
    "check_node",
    "items_of",
]

Check = Callable[[Place, Run], None]
Matcher = Callable[[Place, Run], bool]


@dataclass(eq=False, slots=True)
class Node:
    """What is checked of a value of one element or type."""

    checks: list[Check] = field(default_factory=list)
    keys: dict[str, KeyRule] = field(default_factory=dict)
    elements: list[ElementRule] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to check."""
        return not (self.checks or self.keys or self.elements)


@dataclass(eq=False, slots=True)
class KeyRule:
    """What is checked of the values under a JSON key."""

    key: str
    type: str
    defined_at: str
    nodes: tuple[Node, ...]


@dataclass(eq=False, slots=True)
class SliceRule:
    """A slice: which values it takes, how many there may be, and what is checked of them."""

    name: str
    matches: Matcher
    least: int
    most: int | None
    node: Node


@dataclass(eq=False, slots=True)
class ElementRule:
    """An element that a profile makes required, limits, or slices."""

    name: str
    keys: tuple[KeyRule, ...]
    # None where the profile leaves R4's cardinality as it is.
    least: int
    most: int | None
    # The datatypes that the profile allows, None for all of R4's.
    types: frozenset[str] | None
    slices: tuple[SliceRule, ...]
    rules: str
    ordered: bool
    # The profile, for messages.
    profile: str


def check_node(node: Node, place: Place, run: Run) -> None:
    """Check a value and all below it."""
    for check in node.checks:
        check(place, run)
    value = place.value
    # A primitive's extensions are the extensions of its element.
    holder = value if type(value) is dict else place.extension
    if type(holder) is not dict:
        for rule in node.elements:
            _check_element(rule, {}, place, run)
        return
    keys = node.keys
    if keys:
        for key in holder:
            rule_of_key = keys.get(key)
            if rule_of_key is not None:
                # `_key` comes with its value, unless the value alone has nothing to check.
                if key[0] == "_" and key[1:] in keys and key[1:] in holder:
                    continue
                for item in items_of(rule_of_key, holder, place):
                    for inner in rule_of_key.nodes:
                        check_node(inner, item, run)
    for rule in node.elements:
        _check_element(rule, holder, place, run)


def items_of(rule: KeyRule, holder: Mapping[str, Any], parent: Place) -> Iterator[Place]:
    """Yield the values under a key, each with a primitive's extensions."""
    key, kind, defined_at, path = rule.key, rule.type, rule.defined_at, parent.path
    value, extension = holder.get(key), holder.get(f"_{key}")
    if type(value) is list:
        if extension is None:
            for index, item in enumerate(value):
                yield Place(item, None, kind, f"{path}.{key}[{index}]", defined_at, parent)
            return
        extension = extension if type(extension) is list else ()
    elif type(extension) is list:
        value = ()
    else:
        if value is not None or extension is not None:
            yield Place(value, extension, kind, f"{path}.{key}", defined_at, parent)
        return
    for index, (item, beside) in enumerate(zip_longest(value, extension)):
        if item is not None or beside is not None:
            yield Place(item, beside, kind, f"{path}.{key}[{index}]", defined_at, parent)


def _check_element(rule: ElementRule, holder: Mapping[str, Any], place: Place, run: Run) -> None:
    items: list[Place] = []
    for of_key in rule.keys:
        if of_key.key in holder or f"_{of_key.key}" in holder:
            found = list(items_of(of_key, holder, place))
            if rule.types is not None and of_key.type not in rule.types:
                named = ", ".join(sorted(rule.types))
                text = f"{rule.name} must be of the type {named} (profile {rule.profile})."
                run.error("structure", f"{place.path}.{of_key.key}", text)
            for item in found:
                for inner in of_key.nodes:
                    check_node(inner, item, run)
            items += found
    _check_count(rule.name, len(items), rule.least, rule.most, rule, place, run)
    if rule.slices:
        _check_slices(rule, items, place, run)


def _check_count(
    name: str, count: int, least: int, most: int | None, rule: ElementRule, place: Place, run: Run
) -> None:
    where = f"{place.path}.{rule.name.removesuffix('[x]')}"
    if count < least:
        text = f"{name} must be there at least {_times(least)} (profile {rule.profile})."
        run.error("required", where, text)
    elif most is not None and count > most:
        limit = f"at most {_times(most)}" if most else "not at all"
        run.error("structure", where, f"{name} may be there {limit} (profile {rule.profile}).")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _check_slices(rule: ElementRule, items: list[Place], place: Place, run: Run) -> None:
    """Put each value into the slice that takes it; count, and check it by the slice's rules."""
    counts = [0] * len(rule.slices)
    last, is_after_slices = 0, False
    for item in items:
        index = next((i for i, one in enumerate(rule.slices) if one.matches(item, run)), None)
        if index is None:
            is_after_slices = True
            if rule.rules == "closed":
                text = f"{rule.name} is in none of the slices (profile {rule.profile})."
                run.error("structure", item.path, text)
            continue
        if rule.rules == "openAtEnd" and is_after_slices:
            text = f"{rule.name} of no slice must come last (profile {rule.profile})."
            run.error("structure", item.path, text)
        if rule.ordered and index < last:
            text = f"{rule.name} is not in the order of the slices (profile {rule.profile})."
            run.error("structure", item.path, text)
        last = max(last, index)
        counts[index] += 1
        check_node(rule.slices[index].node, item, run)
    for of_slice, count in zip(rule.slices, counts, strict=True):
        name = f"{rule.name}:{of_slice.name}"
        _check_count(name, count, of_slice.least, of_slice.most, rule, place, run)
