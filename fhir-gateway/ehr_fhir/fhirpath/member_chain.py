"""Member chains: invocations of members in a row (`name.given`), without elements in between.

The plan of a walk is made once for each type that it starts from. Where a member in between is a
choice, any resource or not defined, the chain is walked member by member instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ehr_fhir.fhirpath.datatypes import PRIMITIVES, JsonProperty, json_properties
from ehr_fhir.fhirpath.element import Element, append_children, append_property, children

__all__ = ["compile_member_chain"]


@dataclass(frozen=True, slots=True)
class _Plan:
    """How to walk a chain from one type."""

    keys: tuple[str, ...]  # JSON keys of the complex elements in between
    type_names: tuple[str, ...]
    last: JsonProperty | None  # None: R4 has no such element, so the result is empty


def compile_member_chain(names: tuple[str, ...]) -> Callable[[list[Any]], list[Any]]:
    """Compile a chain to a function from items to the elements that the last member holds."""
    plans: dict[str, _Plan | None] = {}

    def walk_chain(items: list[Any]) -> list[Any]:
        elements: list[Any] = []
        for item in items:
            if type(item) is not Element:
                elements += _walk_by_name([item], names)
                continue
            type_name = item.type
            if type_name in plans:
                plan = plans[type_name]
            else:
                plan = plans[type_name] = _plan_walk(type_name, names)
            if plan is None:
                elements += _walk_by_name([item], names)
            elif plan.last is not None:
                _walk_plan(item, plan, plan.last, elements)
        return elements

    return walk_chain


def _walk_plan(item: Element, plan: _Plan, last: JsonProperty, elements: list[Any]) -> None:
    """Append the elements at the end of a plan, walking the JSON in between level by level."""
    nodes: list[Any] = [item.value]
    for key in plan.keys:
        next_level: list[Any] = []
        for node in nodes:
            if type(node) is dict:
                value = node.get(key)
                if type(value) is list:
                    next_level += value
                elif value is not None:
                    next_level.append(value)
        if not next_level:
            return
        nodes = next_level
    if not plan.keys:
        append_children(item, last, elements)
        return
    for node in nodes:
        if type(node) is dict:
            append_property(node, last, (item, plan.keys, plan.type_names, node), elements)


def _walk_by_name(items: list[Any], names: tuple[str, ...]) -> list[Any]:
    for name in names:
        items = children(items, name)
    return items


def _plan_walk(type_name: str, names: tuple[str, ...]) -> _Plan | None:
    """Plan the walk from a type; return None if it must go member by member."""
    if type_name in PRIMITIVES:
        return None
    keys: list[str] = []
    type_names: list[str] = []
    for position, name in enumerate(names):
        properties = json_properties(type_name)
        if properties is None:
            return None
        json_property = properties.get(name)
        if json_property is None or position == len(names) - 1:
            return _Plan(tuple(keys), tuple(type_names), json_property)
        if (
            json_property.choices is not None
            or json_property.type in PRIMITIVES
            or json_property.type == "Resource"
        ):
            return None
        type_name = json_property.type
        keys.append(json_property.key)
        type_names.append(type_name)
    return None
