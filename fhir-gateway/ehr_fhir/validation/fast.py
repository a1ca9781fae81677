"""A quick yes: whether a resource is plainly sound by R4's own definitions.

Elements, cardinality, choices of datatypes, the forms of primitives and required bindings, in one
pass over tables made from the definitions. What is unusual (a null in an array, a leap second, a
white space at an end) gets no yes but goes to the models of fhir.resources, which are slower and
say what is wrong. So this must never say yes to what they refuse; it may say no to anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple

from ehr_fhir import definitions

__all__ = ["is_valid_fast"]

Check = Callable[[Any], bool]


class _Field(NamedTuple):
    """What a JSON key of a type may hold."""

    inner: str | None  # the datatype of an object; else `check` looks at the value
    check: Check
    many: bool
    choice: str | None  # the element whose datatypes exclude each other
    spelt: str  # the name without the underscore of a primitive's extensions


class _Shape(NamedTuple):
    fields: Mapping[str, _Field]
    required: tuple[frozenset[str], ...]


def is_valid_fast(kind: str, resource: Mapping[str, Any]) -> bool:
    """Say whether a resource is certainly valid; False means that it must be checked in full.

    >>> is_valid_fast("Patient", {"resourceType": "Patient", "active": True})
    True
    >>> is_valid_fast("Patient", {"resourceType": "Patient", "active": "true"})
    False
    """
    shape = _shape(kind)
    fields = shape.fields
    chosen: dict[str, str] | None = None
    for key, value in resource.items():
        field = fields.get(key)
        if field is None:
            return False
        inner, check, many, choice, spelt = field
        if choice is not None:
            chosen = chosen if chosen is not None else {}
            if chosen.setdefault(choice, spelt) != spelt:
                return False
        if many:
            if type(value) is not list or not value:
                return False
            for item in value:
                if not (_object(inner, item) if inner is not None else check(item)):
                    return False
        elif not (_object(inner, value) if inner is not None else check(value)):
            return False
    return not any(names.isdisjoint(resource) for names in shape.required)


# Any: a JSON value of whatever kind.
def _object(owner: str, node: Any) -> bool:
    if type(node) is not dict or not node:
        return False
    if owner == "Resource":
        owner = node.get("resourceType", "")
        if type(owner) is not str or owner not in definitions.resource_types():
            return False
    return is_valid_fast(owner, node)


def _form(pattern: str) -> Check:
    match = re.compile(pattern).fullmatch
    return lambda value: type(value) is str and match(value) is not None and _whole_text(value)


def _whole(least: int) -> Check:
    return lambda value: type(value) is int and least <= value < 2**31


def _text(value: Any) -> bool:
    return (
        type(value) is str
        and value != ""
        and not value[0].isspace()
        and not value[-1].isspace()
        and _whole_text(value)
    )


def _narrative(value: Any) -> bool:
    return _text(value) and value.startswith("<div") and value.endswith("</div>")


def _whole_text(value: str) -> bool:
    """Say whether a text holds no half of a surrogate pair, which no byte form has."""
    return value.isascii() or _HALF(value) is None


def _number(value: Any) -> bool:
    return type(value) in (int, float, Decimal)


def _encoded(value: Any) -> bool:
    return type(value) is str and len(value) % 4 == 0 and _BASE64(value) is not None


_HALF = re.compile("[\ud800-\udfff]").search
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}").fullmatch
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
    "canonical": _form(r"\S+"),
    "code": _form(r"[^\s]+(?: [^\s]+)*"),
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
    "uri": _form(r"\S+"),
    "url": _form(r"https?://[A-Za-z0-9.-]+(?::\d{1,4})?(?:/[A-Za-z0-9._~/-]*)?"),
    "uuid": _form(r"urn:uuid:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    "xhtml": _narrative,
}


@cache
def _shape(owner: str) -> _Shape:
    fields: dict[str, _Field] = {}
    # Element -> the keys of which one satisfies its minimum.
    keys: dict[str, set[str]] = {}
    for key, element in definitions.json_elements(owner).items():
        many, choice = element.repeats, element.name if element.is_choice else None
        of_element = keys.setdefault(element.name, set())
        of_element.add(key)
        if element.type in definitions.elements():
            fields[key] = _Field(element.type, bool, many, choice, key)
            continue
        codes = definitions.required_codes(owner, element.name)
        check = _CHECKS[element.type] if not codes else _one_of(codes)
        fields[key] = _Field(None, check, many, choice, key)
        if (owner, key) != ("Extension", "url") and key not in ("id", "div"):
            # These have no extensions of their own.
            fields[f"_{key}"] = _Field("Element", bool, many, choice, key)
            of_element.add(f"_{key}")
    required = [
        frozenset(keys[name.removesuffix("[x]")])
        for name, (_, least, _) in definitions.elements()[owner].items()
        if least
    ]
    if owner in definitions.resource_types():
        fields["resourceType"] = _Field(None, owner.__eq__, False, None, "resourceType")
        fields["id"] = _Field(None, _CHECKS["id"], False, None, "id")
    return _Shape(fields, tuple(required))


def _one_of(codes: frozenset[str]) -> Check:
    return lambda value: type(value) is str and value in codes
