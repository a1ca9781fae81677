"""Elements of a resource: a JSON value with its FHIR type and place, made as they are visited."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache
from typing import Any

from ehr_fhir import definitions
from ehr_fhir.fhirpath.datatypes import PRIMITIVES, Step, steps

__all__ = ["Element", "all_children", "children", "root"]


class Element:
    """One element: FHIR type, JSON value (None if it has only extensions), and where it stands."""

    __slots__ = ("index", "key", "parent", "shadow", "type", "value")

    # Any: JSON of every shape.
    def __init__(
        self,
        type: str,  # noqa: A002 - FHIR's word
        value: Any,
        shadow: Mapping[str, Any] | None = None,
        parent: Element | None = None,
        key: str = "",
        index: int | None = None,
    ) -> None:
        self.type = type
        self.value = value
        self.shadow = shadow
        self.parent = parent
        self.key = key
        self.index = index

    @property
    def path(self) -> str:
        """The place of the element in its resource, as a FHIRPath expression."""
        here = self.key if self.index is None else f"{self.key}[{self.index}]"
        return f"{self.parent.path}.{here}" if self.parent else self.type

    def __repr__(self) -> str:
        # Never the value: it may be a patient's.
        return f"Element({self.type} at {self.path})"


def root(resource: Mapping[str, Any]) -> Element:
    """Return a resource as an element."""
    kind = resource.get("resourceType")
    return Element(kind if isinstance(kind, str) else "", resource)


def children(items: Sequence[object], name: str) -> list[Any]:
    """Return the elements of this name in each of the items.

    >>> patient = root({"resourceType": "Patient", "name": [{"family": "X"}]})
    >>> children(children([patient], "name"), "family")
    [Element(string at Patient.name[0].family)]
    """
    found: list[Any] = []
    for item in items:
        if type(item) is Element:
            step = _owner(item.type).get(name)
            if step is None:
                _unknown(item, name, found)
            else:
                follow(item, step, found)
        elif name in ("namespace", "name", "value", "unit") and hasattr(item, name):
            # The parts of a type's name and of a Quantity literal.
            found.append(getattr(item, name))
    return found


def follow(item: Element, step: Step, found: list[Any]) -> None:
    """Append the elements one step below an item."""
    holder = item.value if type(item.value) is dict else item.shadow
    if not isinstance(holder, dict):
        return
    if step.choices is not None:
        for key in holder:
            kind = step.choices.get(key.removeprefix("_"))
            if kind is not None and (key[0] != "_" or key[1:] not in holder):
                plain = key.removeprefix("_")
                shadow = holder.get(f"_{plain}") if kind in PRIMITIVES else None
                _append(item, kind, plain, holder.get(plain), shadow, found)
        return
    key = step.key
    shadow = holder.get(step.shadow) if step.shadow else None
    value = holder.get(key)
    if value is not None or shadow is not None:
        _append(item, step.type, key, value, shadow, found)


def all_children(item: object) -> Iterator[Element]:
    """Yield all elements one level below an item, in the order of the JSON text."""
    if not isinstance(item, Element):
        return
    holder = item.value if isinstance(item.value, dict) else item.shadow
    if not isinstance(holder, dict):
        return
    found: list[Element] = []
    known = _by_key(item.type)
    for key in holder:
        if key == "resourceType" or (key[:1] == "_" and key[1:] in holder):
            continue
        plain = key.removeprefix("_")
        shadow = holder.get(f"_{plain}")
        value = holder.get(plain)
        if plain in known:
            _append(item, known[plain], plain, value, shadow, found)
        elif not known:
            _append(item, _guess(value), plain, value, shadow, found)
    yield from found


# A resource type that R4 does not have is followed by JSON's own kinds.
def _unknown(item: Element, name: str, found: list[Any]) -> None:
    if steps(item.type) is None and isinstance(item.value, dict):
        value = item.value.get(name)
        shadow = item.value.get(f"_{name}")
        first = value[0] if isinstance(value, list) and value else value
        if value is not None or shadow is not None:
            _append(item, _guess(first), name, value, shadow, found)


def _append(
    parent: Element, kind: str, key: str, value: Any, shadow: Any, found: list[Any]
) -> None:
    if type(value) is list or type(shadow) is list:
        values = value if isinstance(value, list) else []
        shadows = shadow if isinstance(shadow, list) else []
        for index in range(max(len(values), len(shadows))):
            one = values[index] if index < len(values) else None
            other = shadows[index] if index < len(shadows) else None
            if one is not None or other is not None:
                _append_one(parent, kind, key, one, other, index, found)
    else:
        _append_one(parent, kind, key, value, shadow, None, found)


def _append_one(
    parent: Element, kind: str, key: str, value: Any, shadow: Any, at: int | None, found: list[Any]
) -> None:
    if kind == "Resource" and isinstance(value, dict):
        named = value.get("resourceType")
        kind = named if named in definitions.resource_types() else kind
    found.append(Element(kind, value, shadow, parent, key, at))


@cache
def _owner(kind: str) -> Mapping[str, Step]:
    return steps(kind) or {}


@cache
def _by_key(owner: str) -> Mapping[str, str]:
    found = {}
    for step in (steps(owner) or {}).values():
        if step.choices is None:
            found[step.key] = step.type
        else:
            found.update(step.choices)
    return found


def _guess(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float | Decimal):
        return "decimal"
    return "string" if isinstance(value, str) else ""
