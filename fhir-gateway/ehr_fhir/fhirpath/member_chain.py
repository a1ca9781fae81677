"""A run of plain names (`name.given`) walked in one go, without elements for what lies between.

How to walk is worked out once for each type it starts from. Where a name in between is a choice,
any resource, or not in the definitions, the walk goes name by name instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ehr_fhir.fhirpath.datatypes import PRIMITIVES, Step, json_steps
from ehr_fhir.fhirpath.element import Element, append_json_step, append_step, children

__all__ = ["compile_member_chain"]


@dataclass(frozen=True, slots=True)
class _Plan:
    keys: tuple[str, ...]  # of the complex elements in between
    kinds: tuple[str, ...]
    last: Step | None  # None: no such element, nothing to find


def compile_member_chain(names: tuple[str, ...]) -> Callable[[list[Any]], list[Any]]:
    """Return a function from items to the elements that lie under these names."""
    plans: dict[str, _Plan | None] = {}

    def run(items: list[Any]) -> list[Any]:
        found: list[Any] = []
        for item in items:
            if type(item) is not Element:
                found += _slow([item], names)
                continue
            kind = item.type
            if kind in plans:
                plan = plans[kind]
            else:
                plan = plans[kind] = _plan(kind, names)
            if plan is None:
                found += _slow([item], names)
            elif plan.last is not None:
                _walk(item, plan, plan.last, found)
        return found

    return run


def _walk(item: Element, plan: _Plan, last: Step, found: list[Any]) -> None:
    nodes: list[Any] = [item.value]
    for key in plan.keys:
        below: list[Any] = []
        for node in nodes:
            if type(node) is dict:
                value = node.get(key)
                if type(value) is list:
                    below += value
                elif value is not None:
                    below.append(value)
        if not below:
            return
        nodes = below
    if not plan.keys:
        append_step(item, last, found)
        return
    for node in nodes:
        if type(node) is dict:
            append_json_step(node, last, (item, plan.keys, plan.kinds, node), found)


def _slow(items: list[Any], names: tuple[str, ...]) -> list[Any]:
    for name in names:
        items = children(items, name)
    return items


def _plan(kind: str, names: tuple[str, ...]) -> _Plan | None:
    """Return how to walk from a type, or None if only name by name will do."""
    if kind in PRIMITIVES:
        return None
    keys: list[str] = []
    kinds: list[str] = []
    for position, name in enumerate(names):
        known = json_steps(kind)
        if known is None:
            return None
        step = known.get(name)
        if step is None or position == len(names) - 1:
            return _Plan(tuple(keys), tuple(kinds), step)
        if step.choices is not None or step.type in PRIMITIVES or step.type == "Resource":
            return None
        kind = step.type
        keys.append(step.key)
        kinds.append(kind)
    return None
