"""The place of an element in JSON, and how the value of a Parameters resource is written there.

A primitive stands in two keys: its value under the name, its id and extensions under `_name`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from ehr_fhir import definitions
from ehr_fhir.fhirpath import Element
from ehr_fhir.fhirpath.datatypes import PRIMITIVES, STRING_TYPES, base_types, json_properties

__all__ = [
    "ElementDefinition",
    "ParameterValue",
    "Slot",
    "ensure_object",
    "find_element",
    "slot_of_element",
]

# A value, and the object of its `_key`: a primitive's id and extensions.
Pair = tuple[Any, Any]


@dataclass(frozen=True)
class ParameterValue:
    """The value of a patch parameter: a typed value, a resource, or the parts of an element."""

    suffix: str = ""
    # Any: JSON of every shape.
    value: Any = None
    shadow: Any = None
    parts: tuple[tuple[str, ParameterValue], ...] | None = None

    @classmethod
    def of(cls, part: Mapping[str, Any]) -> ParameterValue | None:
        """Read the value of a parameter; nothing where there is none."""
        for key in part:
            plain = key.removeprefix("_")
            if plain.startswith("value"):
                return cls(plain[5:], part.get(plain), part.get(f"_{plain}"))
        if "resource" in part:
            return cls("Resource", part["resource"])
        inner = [(str(below["name"]), cls.of(below)) for below in part.get("part", ())]
        found = tuple((name, value) for name, value in inner if value is not None)
        return cls(parts=found) if found and len(found) == len(inner) else None

    @property
    def type(self) -> str:
        """The FHIR type of the value."""
        lowered = self.suffix[:1].lower() + self.suffix[1:]
        return lowered if lowered in PRIMITIVES else self.suffix


@dataclass(frozen=True)
class ElementDefinition:
    """One element of a type: its name, the types it takes, and whether it repeats."""

    name: str
    kinds: Mapping[str, str]
    choice: bool
    repeats: bool

    def accepts(self, value: ParameterValue) -> bool:
        """Say whether a value is of a type that the element takes."""
        if self.choice:
            return self.key_for(value) in self.kinds
        kind = self.kinds[self.name]
        if value.parts is not None:
            return self._complete(kind, value.parts)
        if kind in PRIMITIVES:
            both_texts = kind in STRING_TYPES and value.type in STRING_TYPES
            return both_texts or value.type in base_types(kind) or kind in _bases(value.type)
        return value.type == kind or kind in _bases(value.type) or value.type in base_types(kind)

    def key_for(self, value: ParameterValue) -> str:
        """Return the JSON key for a value: of a choice it names the datatype."""
        return f"{self.name}{value.suffix}" if self.choice else self.name

    def is_present_in(self, holder: Mapping[str, Any]) -> bool:
        """Say whether an object has this element, in any of its datatypes."""
        return any(key in holder or f"_{key}" in holder for key in self.kinds)

    def to_pair(self, value: ParameterValue) -> Pair:
        """Return a value as JSON, with the object for its `_key`."""
        if value.parts is None:
            # One patch may be applied many times; what is stored must be its own.
            return deepcopy(value.value), deepcopy(value.shadow)
        kind = self.kinds[self.name]
        holder: dict[str, Any] = {}
        for name, part in value.parts:
            definition = find_element(kind, name)
            if definition is not None:
                slot = Slot(holder, definition.key_for(part), definition.repeats)
                slot.write_pairs([*slot.read_pairs(), definition.to_pair(part)])
        return holder, None

    @staticmethod
    def _complete(kind: str, parts: Sequence[tuple[str, ParameterValue]]) -> bool:
        for name, part in parts:
            definition = find_element(kind, name)
            if definition is None or not definition.accepts(part):
                return False
            if not definition.repeats and [part_name for part_name, _ in parts].count(name) > 1:
                return False
        return kind not in PRIMITIVES


@dataclass(frozen=True)
class Slot:
    """The place of an element, or of a list of them, in the JSON object that holds it."""

    holder: dict[str, Any]
    key: str
    repeats: bool

    def read_pairs(self) -> list[Pair]:
        """Return (value, `_value` extension object) pairs at this place."""
        value, shadow = self.holder.get(self.key), self.holder.get(f"_{self.key}")
        if self.repeats:
            return list(zip_longest(value or [], shadow or []))
        return [] if value is None and shadow is None else [(value, shadow)]

    def write_pairs(self, pairs: Sequence[Pair]) -> None:
        """Replace the pairs at this place; remove the key when none is left."""
        for number, key in enumerate((self.key, f"_{self.key}")):
            column = [pair[number] for pair in pairs]
            if all(item is None for item in column):
                self.holder.pop(key, None)
            else:
                self.holder[key] = column if self.repeats else column[0]


def find_element(owner: str, name: str) -> ElementDefinition | None:
    """Return an element of a type, by its name or by the JSON key of one of its types.

    >>> find_element("Observation", "valueQuantity").name, find_element("Patient", "name").repeats
    ('value', True)
    """
    known = json_properties(owner) or {}
    for plain, step in known.items():
        if name in (plain, step.key) or (step.choices and name in step.choices):
            kinds = step.choices or {step.key: step.type}
            holder = definitions.json_elements("Element" if owner in PRIMITIVES else owner)
            repeats = holder[next(iter(kinds))].repeats
            return ElementDefinition(plain, kinds, step.choices is not None, repeats)
    return None


def ensure_object(element: Element) -> dict[str, Any]:
    """Return the JSON object for an element's children; of a primitive it is created if missing."""
    if isinstance(element.value, dict):
        return element.value
    if isinstance(element.primitive_extension, dict):
        return element.primitive_extension
    shadow: dict[str, Any] = {}
    slot = slot_of_element(element)
    if slot is not None:
        pairs = slot.read_pairs()
        at = element.index or 0
        pairs[at] = (pairs[at][0], shadow)
        slot.write_pairs(pairs)
    return shadow


def slot_of_element(element: Element) -> Slot | None:
    """Return the place of an element; None of a whole resource, which lies in no other object."""
    parent = element.parent
    if parent is None:
        return None
    holder = parent.value if isinstance(parent.value, dict) else parent.primitive_extension
    if not isinstance(holder, dict):
        return None
    return Slot(holder, element.key, element.index is not None)


def _bases(name: str) -> frozenset[str]:
    return base_types(name) if name in PRIMITIVES or name in definitions.elements() else frozenset()
