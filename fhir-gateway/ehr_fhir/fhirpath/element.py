"""Elements of a resource: a JSON value with its FHIR type and place, made as they are visited."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache
from itertools import zip_longest
from typing import Any

from ehr_fhir import definitions
from ehr_fhir.fhirpath.datatypes import PRIMITIVES, Step, json_steps

__all__ = ["Element", "all_children", "append_json_step", "append_step", "children", "root_element"]


# Where an element stands that was reached in one go: from which element, over which keys and
# types, and the JSON object that holds it. The elements in between are made when asked for.
Above = tuple["Element", tuple[str, ...], tuple[str, ...], Mapping[str, Any]]


class Element:
    """One element: FHIR type, JSON value (None if it has only extensions), and where it stands."""

    __slots__ = ("_above", "index", "key", "shadow", "type", "value")

    # Any: JSON of every shape.
    def __init__(
        self,
        type: str,  # noqa: A002 - FHIR's word
        value: Any,
        shadow: Mapping[str, Any] | None = None,
        above: Element | Above | None = None,
        key: str = "",
        index: int | None = None,
    ) -> None:
        self.type = type
        self.value = value
        self.shadow = shadow
        self._above = above
        self.key = key
        self.index = index

    @property
    def parent(self) -> Element | None:
        """The element that holds this one; None of a resource."""
        above = self._above
        if type(above) is tuple:
            origin, keys, kinds, holder = above
            above = self._above = _between(origin, keys, kinds, holder)
        return above if isinstance(above, Element) else None

    @property
    def path(self) -> str:
        """The place of the element in its resource, as a FHIRPath expression."""
        here = self.key if self.index is None else f"{self.key}[{self.index}]"
        parent = self.parent
        return f"{parent.path}.{here}" if parent else self.type

    def __repr__(self) -> str:
        # Never the value: it may be a patient's.
        return f"Element({self.type} at {self.path})"


def root_element(resource: Mapping[str, Any]) -> Element:
    """Return a resource as an element."""
    kind = resource.get("resourceType")
    return Element(kind if isinstance(kind, str) else "", resource)


def children(items: Sequence[object], name: str) -> list[Any]:
    """Return the elements of this name in each of the items.

    >>> patient = root_element({"resourceType": "Patient", "name": [{"family": "X"}]})
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
                append_step(item, step, found)
        elif name in ("namespace", "name", "value", "unit") and hasattr(item, name):
            # The parts of a type's name and of a Quantity literal.
            found.append(getattr(item, name))
    return found


def append_step(item: Element, step: Step, found: list[Any]) -> None:
    """Append the elements one step below an item."""
    holder = item.value if type(item.value) is dict else item.shadow
    if type(holder) is dict:
        append_json_step(holder, step, item, found)


def append_json_step(
    holder: Mapping[str, Any], step: Step, above: Element | Above, found: list[Any]
) -> None:
    """Append the elements one step below a JSON object that stands where `above` says."""
    if step.choices is None:
        value = holder.get(step.key)
        shadow = holder.get(step.shadow) if step.shadow else None
        if value is not None or shadow is not None:
            _append(above, step.type, step.key, value, shadow, found)
        return
    for key in holder:
        kind = step.choices.get(key.removeprefix("_"))
        if kind is not None and (key[0] != "_" or key[1:] not in holder):
            plain = key.removeprefix("_")
            shadow = holder.get(f"_{plain}") if kind in PRIMITIVES else None
            _append(above, kind, plain, holder.get(plain), shadow, found)


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
    if json_steps(item.type) is None and isinstance(item.value, dict):
        value = item.value.get(name)
        shadow = item.value.get(f"_{name}")
        first = value[0] if isinstance(value, list) and value else value
        if value is not None or shadow is not None:
            _append(item, _guess(first), name, value, shadow, found)


def _append(
    above: Element | Above, kind: str, key: str, value: Any, shadow: Any, found: list[Any]
) -> None:
    if kind == "Resource":
        _append_resources(above, key, value, found)
    elif type(value) is list:
        if shadow is None:
            for index, item in enumerate(value):
                if item is not None:
                    found.append(Element(kind, item, None, above, key, index))
        else:
            _append_shadowed(above, kind, key, value, shadow, found)
    elif type(shadow) is list:
        _append_shadowed(above, kind, key, [], shadow, found)
    else:
        found.append(Element(kind, value, shadow, above, key))


def _append_shadowed(
    above: Element | Above, kind: str, key: str, value: list[Any], shadow: Any, found: list[Any]
) -> None:
    """Append primitives of which some have an id or extensions, in a list beside them."""
    shadows = shadow if type(shadow) is list else []
    for index, (item, item_shadow) in enumerate(zip_longest(value, shadows)):
        if item is not None or item_shadow is not None:
            found.append(Element(kind, item, item_shadow, above, key, index))


def _append_resources(above: Element | Above, key: str, value: Any, found: list[Any]) -> None:
    for index, resource in enumerate(value if type(value) is list else [value]):
        if isinstance(resource, dict):
            named = resource.get("resourceType")
            if not isinstance(named, str) or named not in definitions.resource_types():
                named = "Resource"
            at = index if type(value) is list else None
            found.append(Element(named, resource, None, above, key, at))


def _between(
    origin: Element, keys: tuple[str, ...], kinds: tuple[str, ...], holder: Mapping[str, Any]
) -> Element | None:
    """Return the element of a JSON object that lies under an element, found by identity."""
    level = [origin]
    for key, kind in zip(keys, kinds, strict=True):
        below: list[Any] = []
        for element in level:
            if isinstance(element.value, dict) and element.value.get(key) is not None:
                _append(element, kind, key, element.value[key], None, below)
        level = below
    return next((element for element in level if element.value is holder), None)


@cache
def _owner(kind: str) -> Mapping[str, Step]:
    return json_steps(kind) or {}


@cache
def _by_key(owner: str) -> Mapping[str, str]:
    found = {}
    for step in (json_steps(owner) or {}).values():
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
