"""Every element of every R4 type, each in a small resource that holds it, for generated tests."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from ehr_fhir import definitions
from ehr_fhir.definitions import JsonElement
from tests.lib.minimal import minimal, minimal_value


@dataclass(frozen=True)
class Holder:
    """An object of one type inside a resource, and the way to it as keys."""

    owner: str
    resource: dict[str, Any]
    way: tuple[str, ...]

    @property
    def resource_elements(self) -> frozenset[str]:
        """The keys that the resource may have."""
        return frozenset(definitions.json_elements(str(self.resource["resourceType"])))

    def with_element(self, element: JsonElement, value: Any, *, prefix: str = "") -> dict[str, Any]:
        """Return the resource with a value for one element in the place of what it has of it."""
        resource = copy.deepcopy(self.resource)
        node = resource
        for key in self.way:
            node = node[key][0] if isinstance(node[key], list) else node[key]
        for key, other in definitions.json_elements(self.owner).items():
            is_other_half = self.owner == "Extension" and {key, element.key} >= {"extension"}
            if other.name == element.name or (is_other_half and element.key.startswith("value")):
                node.pop(key, None)
        if self.owner == "Extension" and element.key == "extension":
            node.pop("valueBoolean", None)
        node[f"{prefix}{element.key}"] = value
        return resource

    def path(self, element: JsonElement) -> str:
        """Return the FHIRPath of an element that has one value."""
        expression = str(self.resource["resourceType"])
        owner = expression
        for key in self.way:
            repeats = definitions.json_elements(owner)[key].repeats
            expression += f".{key}[0]" if repeats else f".{key}"
            owner = definitions.json_elements(owner)[key].type
        return f"{expression}.{element.key}"


@cache
def holders() -> tuple[Holder, ...]:
    """Return a holder for every type: resources, their parts, datatypes."""
    found: dict[str, Holder] = {}
    waiting = [
        Holder(kind, minimal(kind, "a"), ()) for kind in sorted(definitions.resource_types())
    ]
    while waiting:
        holder = waiting.pop(0)
        if holder.owner in found:
            continue
        found[holder.owner] = holder
        for key, element in definitions.json_elements(holder.owner).items():
            if element.type in definitions.elements() and element.type != "Resource":
                if element.type not in found:
                    inner = holder.with_element(element, minimal_value(holder.owner, key))
                    waiting.append(Holder(element.type, inner, (*holder.way, key)))
    return tuple(found.values())


def all_elements() -> Iterator[tuple[Holder, JsonElement]]:
    """Yield every element of every type, with a holder of its type."""
    for holder in holders():
        for element in definitions.json_elements(holder.owner).values():
            yield holder, element
