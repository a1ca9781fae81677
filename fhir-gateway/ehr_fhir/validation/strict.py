"""Structure by R4's own definitions: known elements, cardinality, JSON kind, form of primitives.

For the resource types of R4 that the models of fhir.resources do not have; and the codes of
required bindings for all of them. Invariants and other bindings are not checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from ehr_fhir import definitions
from ehr_fhir.definitions import JsonElement
from ehr_fhir.errors import Issue

__all__ = ["find_issues"]

_MAX_CODES_NAMED = 20
_NUMBERS = frozenset({"decimal", "integer", "positiveInt", "unsignedInt"})
_FORMS = {
    "code": re.compile(r"[^\s]+(\s[^\s]+)*"),
    "date": re.compile(r"\d{4}(-\d\d(-\d\d)?)?"),
    "dateTime": re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d))?)?)?"),
    "id": re.compile(r"[A-Za-z0-9\-.]{1,64}"),
    "instant": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"),
    "time": re.compile(r"\d\d:\d\d:\d\d(\.\d+)?"),
    "uri": re.compile(r"\S*"),
    "url": re.compile(r"\S*"),
    "canonical": re.compile(r"\S*"),
}


def find_issues(kind: str, resource: Mapping[str, Any]) -> list[Issue]:
    """Return what is wrong with the structure of a resource, in the order of its elements."""
    return list(_check_object(kind, resource, kind))


def _check_object(owner: str, node: Any, path: str) -> Iterator[Issue]:
    if not isinstance(node, dict):
        yield Issue(f"{path} must be an object.", path, "structure")
        return
    if owner == "Resource":
        owner = node.get("resourceType", "")
        if owner not in definitions.resource_types():
            yield Issue(f"{path} must name its resourceType.", path, "structure")
            return
    known = definitions.json_elements(owner)
    for key, value in node.items():
        name = key.removeprefix("_")
        if key == "resourceType" and "implicitRules" in known:
            continue
        if name not in known or (key != name and known[name].type[0].isupper()):
            yield Issue(
                f"{path}.{key} is not an element of this type.", f"{path}.{key}", "structure"
            )
        elif key == name:
            yield from _check_element(known[name], value, f"{path}.{key}")
            if codes := definitions.required_codes(owner, key):
                yield from _check_codes(codes, value, f"{path}.{key}")
    for name, (_, low, _) in definitions.elements()[owner].items():
        if low and not any(name.removesuffix("[x]") in (key, key[1:]) for key in node):
            if not (name.endswith("[x]") and any(key.startswith(name[:-3]) for key in node)):
                yield Issue(f"{path}.{name} is required.", f"{path}.{name}", "required")


def _check_element(element: JsonElement, value: Any, path: str) -> Iterator[Issue]:
    if not element.repeats:
        yield from _check_value(element.type, value, path)
    elif not isinstance(value, list):
        yield Issue(f"{path} must be an array.", path, "structure")
    else:
        for index, item in enumerate(value):
            if item is not None:
                yield from _check_value(element.type, item, f"{path}[{index}]")


def _check_codes(codes: frozenset[str], value: Any, path: str) -> Iterator[Issue]:
    many = isinstance(value, list)
    for index, code in enumerate(value if many else [value]):
        if isinstance(code, str) and code not in codes:
            place = f"{path}[{index}]" if many else path
            named = ", ".join(sorted(codes)[:_MAX_CODES_NAMED])
            more = (
                f" and {len(codes) - _MAX_CODES_NAMED} more"
                if len(codes) > _MAX_CODES_NAMED
                else ""
            )
            yield Issue(f"{place} must be one of: {named}{more}.", place, "code-invalid")


def _check_value(kind: str, value: Any, path: str) -> Iterator[Issue]:
    if kind in definitions.elements():
        yield from _check_object(kind, value, path)
    elif kind == "boolean":
        if not isinstance(value, bool):
            yield Issue(f"{path} must be true or false.", path, "structure")
    elif kind in _NUMBERS:
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            yield Issue(f"{path} must be a number.", path, "structure")
    elif not isinstance(value, str) or not value:
        yield Issue(f"{path} must be a string that is not empty.", path, "structure")
    elif (form := _FORMS.get(kind)) and not form.fullmatch(value):
        yield Issue(f"{path} does not have the form of a {kind}.", path, "value")
