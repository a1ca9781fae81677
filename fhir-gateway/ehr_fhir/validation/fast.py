"""A quick yes: whether a resource is plainly sound by R4's own definitions.

The same rules as `strict.py`, in one pass over tables made from the definitions. What is unusual (a
null in an array, a leap second, a white space at an end) gets no yes but is checked in full, which
is slower and says what is wrong. So this must never say yes to what `strict.py` refuses; it may say
no to anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from threading import RLock
from types import MappingProxyType
from typing import Any, NamedTuple

from ehr_fhir import definitions
from ehr_fhir.narrative import find_narrative_fault
from ehr_fhir.references import referenced_type
from ehr_fhir.validation.primitives import MAX_STRING_CHARACTERS
from ehr_fhir.validation.strict import SUBSETTED, has_extensions
from ehr_fhir.validation.targets import NamedTypes, contained_types

__all__ = ["is_valid_fast"]

Check = Callable[[Any], bool]
# (name, types allowed) of references to contained resources, without `#`, and to entries of the
# same Bundle. None inside a resource kept as data, where targets are not looked at.
_Names = list[tuple[str, frozenset[str]]] | None
# Says whether a JSON value is a sound object of a shape.
_ObjectCheck = Callable[["_Shape", Any, _Names], bool]


class _Field(NamedTuple):
    """What a JSON key of a type may hold."""

    # The value of a primitive is judged by `check`, an object by `check_object` with its `shape`.
    check: Check
    shape: _Shape | None
    check_object: _ObjectCheck
    many: bool
    choice: str | None  # the element whose datatypes exclude each other
    spelt: str  # the name without the underscore of a primitive's extensions


class _Required(NamedTuple):
    """An element that must be there: its usual key, and all keys of which one will do."""

    key: str
    keys: frozenset[str]


@dataclass(eq=False)
class _Shape:
    """The table of a type; of a reference, with the resource types that its element allows."""

    fields: dict[str, _Field]
    required: tuple[_Required, ...] = ()
    targets: frozenset[str] | None = None


def is_valid_fast(
    kind: str, resource: Mapping[str, Any], entry_types: NamedTypes = MappingProxyType({})
) -> bool:
    """Say whether a resource is certainly valid; False means that it must be checked in full.

    >>> is_valid_fast("Patient", {"resourceType": "Patient", "active": True})
    True
    >>> is_valid_fast("Patient", {"resourceType": "Patient", "active": "true"})
    False
    """
    names: list[tuple[str, frozenset[str]]] = []
    if not _has_sound_elements(_shape(kind), resource, names):
        return False
    if not names:
        return True
    types = {**contained_types(resource), **entry_types}
    return all(
        types[name] in allowed if name in types else name.startswith("urn:")
        for name, allowed in names
    )


def _has_sound_elements(shape: _Shape, node: Mapping[str, Any], names: _Names) -> bool:
    fields = shape.fields
    chosen: dict[str, str] | None = None
    for key, value in node.items():
        field = fields.get(key)
        if field is None:
            return False
        check, inner, check_object, many, choice, spelt = field
        if choice is not None:
            if chosen is None:
                chosen = {choice: spelt}
            elif chosen.setdefault(choice, spelt) != spelt:
                return False
        if many:
            if type(value) is not list or not value:
                return False
            if inner is None:
                for item in value:
                    if not check(item):
                        return False
            else:
                for item in value:
                    if not check_object(inner, item, names):
                        return False
        elif inner is None:
            if not check(value):
                return False
        elif not check_object(inner, value, names):
            return False
    for key, keys in shape.required:
        if key not in node and keys.isdisjoint(node):
            return False
    return True


# Any: a JSON value of whatever kind.
def _is_sound_object(shape: _Shape, node: Any, names: _Names) -> bool:
    if type(node) is not dict or not node or (len(node) == 1 and "id" in node):
        return False
    return _has_sound_elements(shape, node, names)


def _is_sound_reference(shape: _Shape, node: Any, names: _Names) -> bool:
    """Judge a reference, and whether it plainly names a type that its element allows."""
    if not _is_sound_object(shape, node, names):
        return False
    if names is None:
        return True
    address, declared, targets = node.get("reference"), node.get("type"), shape.targets
    if declared is not None:
        is_shown = address is None or address.startswith(f"{declared}/")
        return is_shown and declared in (targets or definitions.resource_types())
    if targets is None or address is None:
        return True
    if address[0] == "#" or address[:4] == "urn:":
        names.append((address.removeprefix("#"), targets))
        return True
    if address[:4] == "http":
        shown = referenced_type(address)
        return shown is None or shown in targets
    return address.partition("/")[0].partition("?")[0] in targets


def _is_sound_resource(shape: _Shape, node: Any, names: _Names) -> bool:
    kind = node.get("resourceType") if type(node) is dict else None
    if type(kind) is not str or kind not in definitions.resource_types():
        return False
    return _has_sound_elements(_shape(kind), node, names)


def _is_sound_document(shape: _Shape, node: Any, names: _Names) -> bool:
    """Judge a resource kept as data, whose references are about another place."""
    return _is_sound_resource(shape, node, None)


def _form(pattern: str) -> Check:
    match = re.compile(pattern, re.ASCII).fullmatch
    return lambda value: type(value) is str and match(value) is not None


def _spaceless(value: Any) -> bool:
    return (
        type(value) is str
        and _SPACELESS(value) is not None
        and (value.isascii() or _HALF(value) is None)
    )


def _whole(least: int) -> Check:
    return lambda value: type(value) is int and least <= value < 2**31


def _text(value: Any) -> bool:
    return (
        type(value) is str
        and value != ""
        and value.strip() == value
        and len(value) <= MAX_STRING_CHARACTERS
        and (value.isascii() or _HALF(value) is None)
    )


def _narrative(value: Any) -> bool:
    return type(value) is str and find_narrative_fault(value) is None


def _number(value: Any) -> bool:
    return type(value) in (int, float, Decimal)


def _encoded(value: Any) -> bool:
    return type(value) is str and len(value) % 4 == 0 and _BASE64(value) is not None


def _whole_tag(shape: _Shape, node: Any, names: _Names) -> bool:
    """Judge a tag, other than that of a resource whose elements are missing."""
    return _is_sound_object(shape, node, names) and node.get("code") != SUBSETTED


_HALF = re.compile("[\ud800-\udfff]").search
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}").fullmatch
_SPACELESS = re.compile(r"\S+").fullmatch
_DAY = (
    r"(?:02-(?:0[1-9]|1\d|2[0-8])|(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12]\d|30))"
)
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?"
_INSTANT = rf"[12]\d{{3}}-{_DAY}T{_TIME}(?:Z|[+-](?:0\d|1[0-3]):[0-5]\d)"
_DATE = rf"[12]\d{{3}}(?:-(?:{_DAY}|(?:0[1-9]|1[0-2])))?"
_CHECKS: Mapping[str, Check] = {
    "base64Binary": _encoded,
    "boolean": lambda value: value is True or value is False,
    "canonical": _spaceless,
    "code": _form(r"[!-~]+(?: [!-~]+)*"),
    "date": _form(_DATE),
    "dateTime": _form(rf"{_INSTANT}|{_DATE}"),
    "decimal": _number,
    "id": _form(r"[A-Za-z0-9\-.]{1,64}"),
    "instant": _form(_INSTANT),
    "integer": _whole(-(2**31)),
    "markdown": _text,
    "oid": _form(r"urn:oid:[0-2](?:\.(?:0|[1-9]\d*))+"),
    "positiveInt": _whole(1),
    "string": _text,
    "time": _form(_TIME),
    "unsignedInt": _whole(0),
    "uri": _spaceless,
    "url": _spaceless,
    "uuid": _form(r"urn:uuid:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    "xhtml": _narrative,
}


@cache
def _shape(owner: str) -> _Shape:
    # No thread may see a table that another one is still filling.
    with _FILLING:
        if owner not in _SHAPES:
            # Known before it is filled, for a type may hold itself.
            _SHAPES[owner] = _Shape({})
            _fill(_SHAPES[owner], owner)
        return _SHAPES[owner]


def _fill(shape: _Shape, owner: str) -> None:
    # Element -> the keys of which one satisfies its minimum, the usual one first.
    keys: dict[str, list[str]] = {}
    for key, element in definitions.json_elements(owner).items():
        shape.fields[key] = _field(owner, element)
        of_element = keys.setdefault(element.name, [])
        of_element.append(key)
        if has_extensions(owner, key):
            shape.fields[f"_{key}"] = _field(owner, replace(element, type="Element"))
            of_element.append(f"_{key}")
    required = [
        keys[name.removesuffix("[x]")]
        for name, (_, least, _) in definitions.elements()[owner].items()
        if least
    ]
    if owner in definitions.resource_types():
        shape.fields["resourceType"] = _value_field(owner.__eq__, "resourceType")
    if owner == "Extension":
        # ext-1: a value or extensions, not both.
        shape.fields["extension"] = shape.fields["extension"]._replace(choice="value")
        required.append([*keys["value"], "extension"])
    shape.required = tuple(_Required(names[0], frozenset(names)) for names in required)


_SHAPES: dict[str, _Shape] = {}
_FILLING = RLock()


def _field(owner: str, element: definitions.JsonElement) -> _Field:
    key, many = element.key, element.repeats
    choice = element.name if element.is_choice else None
    if element.type not in definitions.elements():
        return _value_field(_value_check(owner, element), key, many=many, choice=choice)
    shape, check_object = _Shape({}), _is_sound_object
    if element.type == "Resource":
        check_object = _is_sound_resource if key == "contained" else _is_sound_document
    elif element.type == "Reference":
        check_object = _is_sound_reference
        of_any = _shape("Reference")
        targets = definitions.reference_targets(owner, element.name)
        shape = _Shape(of_any.fields, of_any.required, targets)
    else:
        shape = _shape(element.type)
        if (owner, key) == ("Meta", "tag"):
            check_object = _whole_tag
    return _Field(bool, shape, check_object, many, choice, key)


def _value_field(
    check: Check, key: str, *, many: bool = False, choice: str | None = None
) -> _Field:
    return _Field(check, None, _is_sound_object, many, choice, key)


def _value_check(owner: str, element: definitions.JsonElement) -> Check:
    if element.key == "id":
        return _CHECKS["id"] if owner in definitions.resource_types() else _spaceless
    if (owner, element.key) == ("Extension", "url"):
        return _CHECKS["uri"]
    codes = definitions.required_codes(owner, element.key)
    return _one_of(codes) if codes else _CHECKS[element.type]


def _one_of(codes: frozenset[str]) -> Check:
    return lambda value: type(value) is str and value in codes
