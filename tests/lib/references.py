"""A resource for each element of R4 that holds a Reference, with what is asked put in its place."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from ehr_fhir import definitions
from tests.lib.minimal import minimal, parts

# Deeper ones repeat those above: parts of parts of the same kind.
_DEPTH = 3


def reference_paths(kind: str) -> list[tuple[str, ...]]:
    """Return the way to each element of a type that may be a Reference, parts within included."""
    return list(_paths(kind, _DEPTH))


def naming(kind: str, identity: str, path: tuple[str, ...], reference: str) -> dict[str, Any]:
    """Return the least resource of a type that names something at one place."""
    resource = minimal(kind, identity)
    owner, at = kind, resource
    for key in path[:-1]:
        element = definitions.json_elements(owner)[key]
        value: Any = at.get(key) or (
            [parts(element.type)] if element.repeats else parts(element.type)
        )
        at[key] = value = copy.deepcopy(value)
        owner, at = element.type, value[0] if element.repeats else value
    element = definitions.json_elements(owner)[path[-1]]
    if element.is_choice:
        for key, other in definitions.json_elements(owner).items():
            if other.name == element.name:
                at.pop(key, None)
    named = {"reference": reference}
    at[path[-1]] = [named] if element.repeats else named
    return resource


def _paths(owner: str, depth: int) -> Iterator[tuple[str, ...]]:
    for key, element in definitions.json_elements(owner).items():
        if element.type == "Reference":
            yield (key,)
        elif "." in element.type and depth:
            yield from ((key, *below) for below in _paths(element.type, depth - 1))
