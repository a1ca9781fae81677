"""Structure by R4's definitions: what must be there, dates that exist, codes of a required set.

The gateway validates what it is sent; what was stored before, by an older version or from a backup,
is checked here again. Extensions, narrative and metadata are left out: no table is made of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from ehr_etl.data_quality.faults import Resource, read_interval
from ehr_fhir.definitions import elements, json_elements, required_codes, resource_types

__all__ = ["StructureKind", "find_structure_faults"]

StructureKind = Literal["required", "date", "code", "reference", "number"]

_LEFT_OUT = frozenset({"Extension", "Narrative", "Meta", "Identifier", "Attachment"})
_DATES = frozenset({"date", "dateTime", "instant"})
_NUMBERS = frozenset({"decimal", "integer", "positiveInt", "unsignedInt"})
# Numbers of a patient are smaller; what is as large is a fault of a device or of a conversion.
# Chosen.
_GREATEST = 1e15
# Type/id, with or without a version, an address elsewhere, a name in a message, or a contained one.
_REFERENCE = re.compile(
    r"[A-Z][A-Za-z]+/[A-Za-z0-9.-]{1,64}(/_history/[A-Za-z0-9.-]{1,64})?"
    r"|https?://\S+|urn:(uuid|oid):\S+|#\S*|[A-Z][A-Za-z]+\?\S+"
)
_Check = Callable[[Any], bool]


@dataclass(frozen=True)
class _Plan:
    """What to check of a type's JSON object."""

    # Of each group of keys one is there, or its extension (data-absent-reason).
    required: tuple[tuple[str, ...], ...]
    # Key -> what a primitive must pass.
    primitives: Mapping[str, tuple[StructureKind, _Check]]
    # Key -> the type of the object at it.
    objects: Mapping[str, str]


def find_structure_faults(resource: Resource) -> Iterator[tuple[StructureKind, str]]:
    """Yield each fault of structure with the path of its element.

    >>> list(find_structure_faults({"resourceType": "Patient", "birthDate": "1980-13-01"}))
    [('date', 'birthDate')]
    """
    return _walk(resource, str(resource.get("resourceType")), "")


def _walk(value: Any, owner: str, path: str) -> Iterator[tuple[StructureKind, str]]:
    if owner == "Resource":
        owner = str(value.get("resourceType"))
        if owner not in resource_types():
            return
    plan = _plan(owner)
    for keys in plan.required:
        if not any(key in value or f"_{key}" in value for key in keys):
            yield "required", path + keys[0]
    for key, content in value.items():
        if key in plan.primitives:
            kind, passes = plan.primitives[key]
            for name, item in _items(content, path + key):
                if item is not None and not passes(item):
                    yield kind, name
        elif key in plan.objects:
            for name, item in _items(content, path + key):
                if isinstance(item, dict):
                    yield from _walk(item, plan.objects[key], f"{name}.")


def _items(content: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(content, list):
        yield from ((f"{path}[{number}]", item) for number, item in enumerate(content))
    else:
        yield path, content


@cache
def _plan(owner: str) -> _Plan:
    required = tuple(
        _json_keys(name, kinds)
        for name, (kinds, least, _) in elements().get(owner, {}).items()
        if least
    )
    primitives: dict[str, tuple[StructureKind, _Check]] = {}
    objects: dict[str, str] = {}
    for key, element in json_elements(owner).items():
        codes = required_codes(owner, element.name) if element.type == "code" else None
        if codes is not None:
            primitives[key] = ("code", codes.__contains__)
        elif element.type in _DATES:
            primitives[key] = ("date", _is_date)
        elif element.type in _NUMBERS:
            primitives[key] = ("number", _is_number)
        elif owner == "Reference" and key == "reference":
            primitives[key] = ("reference", _is_reference)
        elif element.type[0].isupper() and element.type not in _LEFT_OUT:
            objects[key] = element.type
    return _Plan(required, primitives, objects)


def _json_keys(name: str, kinds: tuple[str, ...]) -> tuple[str, ...]:
    if not name.endswith("[x]"):
        return (name,)
    stem = name.removesuffix("[x]")
    return tuple(stem + kind[0].upper() + kind[1:] for kind in kinds)


def _is_date(value: object) -> bool:
    return read_interval(value) is not None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < _GREATEST


def _is_reference(value: object) -> bool:
    return isinstance(value, str) and _REFERENCE.fullmatch(value) is not None
