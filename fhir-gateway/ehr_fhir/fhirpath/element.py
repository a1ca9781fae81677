"""Elements of a resource: a JSON value with its FHIR type and its path.

They are created while an expression walks the resource, not beforehand: most expressions visit only
a few of its elements.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache
from itertools import zip_longest
from typing import Any

from ehr_fhir import definitions
from ehr_fhir.fhirpath.datatypes import PRIMITIVES, JsonProperty, json_properties

__all__ = [
    "Element",
    "all_children",
    "append_children",
    "append_property",
    "children",
    "root_element",
]


# The ancestor of an element that a member chain reached without the elements in between: the
# chain's first element, its keys and types, and the JSON object that holds the new element. The
# elements in between are created when `parent` asks for them, which few expressions do.
_Ancestor = tuple["Element", tuple[str, ...], tuple[str, ...], Mapping[str, Any]]


class Element:
    """An element: its FHIR type, its JSON value, and its place in the resource.

    The value is None where a primitive has only extensions. `primitive_extension` is the object of
    a primitive's id and extensions, which JSON holds under a key with an underscore (R4 §2.6.2).
    """

    __slots__ = ("_ancestor", "index", "key", "primitive_extension", "type", "value")

    # Any: JSON of every shape.
    def __init__(
        self,
        type: str,  # noqa: A002 - FHIR's word
        value: Any,
        primitive_extension: Mapping[str, Any] | None = None,
        ancestor: Element | _Ancestor | None = None,
        key: str = "",
        index: int | None = None,
    ) -> None:
        self.type = type
        self.value = value
        self.primitive_extension = primitive_extension
        self._ancestor = ancestor
        self.key = key
        self.index = index

    @property
    def parent(self) -> Element | None:
        """The parent element; None of the resource itself."""
        ancestor = self._ancestor
        if type(ancestor) is tuple:
            origin, keys, type_names, holder = ancestor
            ancestor = self._ancestor = _find_intermediate(origin, keys, type_names, holder)
        return ancestor if isinstance(ancestor, Element) else None

    @property
    def path(self) -> str:
        """The path of the element from its resource, as a FHIRPath expression."""
        here = self.key if self.index is None else f"{self.key}[{self.index}]"
        parent = self.parent
        return f"{parent.path}.{here}" if parent else self.type

    def __repr__(self) -> str:
        # Never the value: it may be a patient's.
        return f"Element({self.type} at {self.path})"


def root_element(resource: Mapping[str, Any]) -> Element:
    """Return a resource as an element."""
    type_name = resource.get("resourceType")
    return Element(type_name if isinstance(type_name, str) else "", resource)


def children(items: Sequence[object], name: str) -> list[Any]:
    """Return the child elements of a name of all items (FHIRPath N1 §3).

    >>> patient = root_element({"resourceType": "Patient", "name": [{"family": "X"}]})
    >>> children(children([patient], "name"), "family")
    [Element(string at Patient.name[0].family)]
    """
    elements: list[Any] = []
    for item in items:
        if type(item) is Element:
            json_property = _cached_properties(item.type).get(name)
            if json_property is None:
                _append_undefined(item, name, elements)
            else:
                append_children(item, json_property, elements)
        elif name in ("namespace", "name", "value", "unit") and hasattr(item, name):
            # The properties of a `type()` result and of a System Quantity.
            elements.append(getattr(item, name))
    return elements


def append_children(item: Element, json_property: JsonProperty, elements: list[Any]) -> None:
    """Append the child elements of an item that a JSON property holds."""
    holder = item.value if type(item.value) is dict else item.primitive_extension
    if type(holder) is dict:
        append_property(holder, json_property, item, elements)


def append_property(
    holder: Mapping[str, Any],
    json_property: JsonProperty,
    ancestor: Element | _Ancestor,
    elements: list[Any],
) -> None:
    """Append the elements that a property of a JSON object holds, with their ancestor."""
    if json_property.choices is None:
        value = holder.get(json_property.key)
        primitive_extension = (
            holder.get(json_property.extension_key) if json_property.extension_key else None
        )
        if value is not None or primitive_extension is not None:
            _append_elements(
                ancestor,
                json_property.type,
                json_property.key,
                value,
                primitive_extension,
                elements,
            )
        return
    for key in holder:
        type_name = json_property.choices.get(key.removeprefix("_"))
        if type_name is not None and (key[0] != "_" or key[1:] not in holder):
            property_key = key.removeprefix("_")
            primitive_extension = (
                holder.get(f"_{property_key}") if type_name in PRIMITIVES else None
            )
            _append_elements(
                ancestor,
                type_name,
                property_key,
                holder.get(property_key),
                primitive_extension,
                elements,
            )


def all_children(item: object) -> Iterator[Element]:
    """Yield all child elements of an item, in the order of the JSON text (N1 §5.8)."""
    if not isinstance(item, Element):
        return
    holder = item.value if isinstance(item.value, dict) else item.primitive_extension
    if not isinstance(holder, dict):
        return
    elements: list[Element] = []
    types_by_key = _types_by_key(item.type)
    for key in holder:
        if key == "resourceType" or (key[:1] == "_" and key[1:] in holder):
            continue
        property_key = key.removeprefix("_")
        primitive_extension = holder.get(f"_{property_key}")
        value = holder.get(property_key)
        if property_key in types_by_key:
            _append_elements(
                item, types_by_key[property_key], property_key, value, primitive_extension, elements
            )
        elif not types_by_key:
            _append_elements(
                item, _guess_type(value), property_key, value, primitive_extension, elements
            )
    yield from elements


def _append_undefined(item: Element, name: str, elements: list[Any]) -> None:
    """Append children that R4 does not define, only below a type that it does not define either.

    A resource of another release can so be read by its JSON, with the types guessed.
    """
    if json_properties(item.type) is None and isinstance(item.value, dict):
        value = item.value.get(name)
        primitive_extension = item.value.get(f"_{name}")
        first = value[0] if isinstance(value, list) and value else value
        if value is not None or primitive_extension is not None:
            _append_elements(item, _guess_type(first), name, value, primitive_extension, elements)


def _append_elements(
    ancestor: Element | _Ancestor,
    type_name: str,
    key: str,
    value: Any,
    primitive_extension: Any,
    elements: list[Any],
) -> None:
    if type_name == "Resource":
        _append_resources(ancestor, key, value, elements)
    elif type(value) is list:
        if primitive_extension is None:
            for index, item in enumerate(value):
                if item is not None:
                    elements.append(Element(type_name, item, None, ancestor, key, index))
        else:
            _append_extended_primitives(
                ancestor, type_name, key, value, primitive_extension, elements
            )
    elif type(primitive_extension) is list:
        _append_extended_primitives(ancestor, type_name, key, [], primitive_extension, elements)
    else:
        elements.append(Element(type_name, value, primitive_extension, ancestor, key))


def _append_extended_primitives(
    ancestor: Element | _Ancestor,
    type_name: str,
    key: str,
    value: list[Any],
    primitive_extension: Any,
    elements: list[Any],
) -> None:
    """Append a list of primitives and the parallel list of their ids and extensions (R4 §2.6.2)."""
    extensions = primitive_extension if type(primitive_extension) is list else []
    for index, (item, item_extension) in enumerate(zip_longest(value, extensions)):
        if item is not None or item_extension is not None:
            elements.append(Element(type_name, item, item_extension, ancestor, key, index))


def _append_resources(
    ancestor: Element | _Ancestor, key: str, value: Any, elements: list[Any]
) -> None:
    for index, resource in enumerate(value if type(value) is list else [value]):
        if isinstance(resource, dict):
            resource_type = resource.get("resourceType")
            if (
                not isinstance(resource_type, str)
                or resource_type not in definitions.resource_types()
            ):
                resource_type = "Resource"
            position = index if type(value) is list else None
            elements.append(Element(resource_type, resource, None, ancestor, key, position))


def _find_intermediate(
    origin: Element, keys: tuple[str, ...], type_names: tuple[str, ...], holder: Mapping[str, Any]
) -> Element | None:
    """Return the element of a JSON object below an element; the object is found by identity."""
    level = [origin]
    for key, type_name in zip(keys, type_names, strict=True):
        next_level: list[Any] = []
        for element in level:
            if isinstance(element.value, dict) and element.value.get(key) is not None:
                _append_elements(element, type_name, key, element.value[key], None, next_level)
        level = next_level
    return next((element for element in level if element.value is holder), None)


@cache
def _cached_properties(type_name: str) -> Mapping[str, JsonProperty]:
    return json_properties(type_name) or {}


@cache
def _types_by_key(type_name: str) -> Mapping[str, str]:
    types_by_key = {}
    for json_property in (json_properties(type_name) or {}).values():
        if json_property.choices is None:
            types_by_key[json_property.key] = json_property.type
        else:
            types_by_key.update(json_property.choices)
    return types_by_key


def _guess_type(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float | Decimal):
        return "decimal"
    return "string" if isinstance(value, str) else ""
