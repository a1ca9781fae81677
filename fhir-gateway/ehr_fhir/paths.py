"""The subset of FHIRPath that R4's search parameters use, compiled once to plain closures.

It is not a FHIRPath engine: paths, `as`, `where(a='b')`, `where(resolve() is T)`, an index, and the
one `X.exists() and X != false`. Anything else is an error when the definitions are read, not a
silent gap.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ehr_fhir import definitions
from ehr_fhir.errors import Fault

__all__ = ["Path", "compile_expression"]

_CAST = re.compile(r"^\((.+?) as (\w+)\)(.*)$")
_EXISTS = re.compile(r"^(.+)\.exists\(\) and \1 != false$")
_WHERE = re.compile(r"^where\((\w+)='([^']*)'\)$")
_RESOLVE = re.compile(r"^where\(resolve\(\) is (\w+)\)$")
_AS = re.compile(r"^as\((\w+)\)$")
_NAME = re.compile(r"^(\w+)(?:\[(\d+)\])?$")

# A step is a key, an index, or a (key, value) pair that must hold.
Step = str | int | tuple[str, str]


@dataclass(frozen=True)
class Path:
    """One way through a resource to values of one datatype."""

    steps: tuple[Step, ...]
    datatype: str
    target: str | None = None  # only references to this resource type
    presence: bool = False  # the value is whether there is one
    values: Callable[[Mapping[str, Any]], list[Any]] = field(
        init=False, compare=False, repr=False, default=lambda _: []
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _walker(self.steps))


def compile_expression(expression: str, resource_type: str) -> tuple[Path, ...]:
    """Compile those terms of an expression that start at one resource type.

    >>> [path.steps for path in compile_expression("Patient.name.given | Person.name", "Patient")]
    [('name', 'given')]
    """
    paths: list[Path] = []
    for term in expression.split("|"):
        paths += _compile_term(term.strip(), resource_type)
    return tuple(dict.fromkeys(paths))


def _compile_term(term: str, resource_type: str) -> list[Path]:
    if present := _EXISTS.match(term):
        found = _compile_term(present[1], resource_type)
        return [Path(path.steps[:1], path.datatype, presence=True) for path in found]
    if cast := _CAST.match(term):
        term = f"{cast[1]}.as({cast[2]}){cast[3]}"
    start, *segments = _split(term)
    if start[:1].islower():
        # R4's InsurancePlan-name leaves its resource type out.
        start, segments = resource_type, [start, *segments]
    if start not in (resource_type, "Resource", "DomainResource"):
        return []
    paths = [Path((), resource_type)]
    for segment in segments:
        paths = [after for before in paths for after in _follow(before, segment)]
    if not paths:
        raise Fault(f"The expression `{term}` leads nowhere in the R4 definitions.")
    return paths


def _follow(path: Path, segment: str) -> list[Path]:
    if cast := _AS.match(segment):
        return [path] if path.datatype == cast[1] else []
    if resolve := _RESOLVE.match(segment):
        return [Path(path.steps, path.datatype, resolve[1])]
    if where := _WHERE.match(segment):
        return [Path((*path.steps, (where[1], where[2])), path.datatype)]
    if not (name := _NAME.match(segment)):
        raise Fault(f"The FHIRPath `{segment}` is outside the subset of search parameters.")
    index = (int(name[2]),) if name[2] else ()
    return [
        Path((*path.steps, key, *index), datatype)
        for key, datatype in _children(path.datatype, name[1])
    ]


def _children(owner: str, name: str) -> list[tuple[str, str]]:
    parts = definitions.elements().get(owner, {})
    if name in parts:
        # Several datatypes under one plain name do not occur in R4; choices end in [x].
        return [(name, parts[name][0][0])]
    if f"{name}[x]" in parts:
        kinds = parts[f"{name}[x]"][0]
        return [(name + kind[0].upper() + kind[1:], kind) for kind in kinds]
    return []


def _split(term: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for position, character in enumerate(term):
        depth += (character == "(") - (character == ")")
        if character == "." and depth == 0:
            parts.append(term[start:position])
            start = position + 1
    return [*parts, term[start:]]


def _walker(steps: tuple[Step, ...]) -> Callable[[Mapping[str, Any]], list[Any]]:
    def values(resource: Mapping[str, Any]) -> list[Any]:
        nodes: list[Any] = [resource]
        for step in steps:
            nodes = _step(nodes, step)
            if not nodes:
                break
        return nodes

    return values


def _step(nodes: list[Any], step: Step) -> list[Any]:
    if isinstance(step, int):
        return nodes[step : step + 1]
    if isinstance(step, tuple):
        key, wanted = step
        return [node for node in nodes if node.get(key) == wanted]
    found: list[Any] = []
    for node in nodes:
        value = node.get(step)
        if type(value) is list:
            # A null stands for a primitive that has only extensions.
            found += [item for item in value if item is not None]
        elif value is not None:
            found.append(value)
    return found
