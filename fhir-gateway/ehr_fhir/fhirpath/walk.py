"""Plain paths as direct walks over a resource's JSON, without an element for each value.

Nearly all of R4's search parameters are unions of such paths: names, `as`, an index,
`where(a = 'b')` and `where(resolve() is T)`. Any other expression is evaluated by the closures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any

from ehr_fhir.fhirpath import syntax
from ehr_fhir.fhirpath.datatypes import base_types, json_steps
from ehr_fhir.fhirpath.union_terms import split_union

__all__ = ["Step", "Walk", "compile_walks"]

# A key, an index, or a (key, value) pair that must hold.
Step = str | int | tuple[str, str]
Walker = Callable[[Mapping[str, Any]], list[Any]]


@dataclass(frozen=True)
class Walk:
    """One way through a resource's JSON to values of one datatype."""

    steps: tuple[Step, ...]
    datatype: str
    target: str | None = None  # only references to this resource type
    values: Walker = field(init=False, compare=False, repr=False, default=lambda _: [])

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _walker(self.steps))


def compile_walks(tree: syntax.Node, context_type: str) -> tuple[Walk, ...] | None:
    """Return the walks that find what an expression finds, or None if they cannot."""
    found: list[Walk] = []
    for term in split_union(tree):
        walks = _walks(term, context_type)
        if walks is None:
            return None
        found += walks
    return tuple(dict.fromkeys(found))


def _walks(node: syntax.Node, start: str) -> list[Walk] | None:
    match node:
        case syntax.Literal(values=()):
            return []
        case syntax.Member(base=None, name=name):
            here = [Walk((), start)]
            return here if name in base_types(start) else _named(here, name)
        case syntax.Member(base=syntax.Node() as base, name=name):
            before = _walks(base, start)
            return None if before is None else _named(before, name)
        case syntax.Index(base=base, index=syntax.Literal(values=(int(number),))):
            before = _walks(base, start)
            # An index counts over all that is found so far, so there must be one way to it.
            if before is None or len(before) > 1:
                return None
            return [replace(walk, steps=(*walk.steps, number)) for walk in before]
        case syntax.TypeTest(operator="as", operand=base, type=named):
            before = _walks(base, start)
            return None if before is None else [w for w in before if w.datatype == named.name]
        case syntax.Call(base=syntax.Node() as base, name="as" | "ofType", type=named) if named:
            before = _walks(base, start)
            return None if before is None else [w for w in before if w.datatype == named.name]
        case syntax.Call(base=syntax.Node() as base, name="where", arguments=(condition,)):
            before = _walks(base, start)
            return None if before is None else _where(before, condition)
    return None


def _named(before: list[Walk], name: str) -> list[Walk] | None:
    found = []
    for walk in before:
        known = json_steps(walk.datatype)
        if known is None or walk.datatype == "Resource" or walk.target:
            return None
        step = known.get(name)
        if step is None:
            continue
        for key, kind in (step.choices or {step.key: step.type}).items():
            found.append(Walk((*walk.steps, key), kind))
    return found


def _where(before: list[Walk], condition: syntax.Node) -> list[Walk] | None:
    match condition:
        case syntax.Binary(
            operator="=",
            left=syntax.Member(base=None, name=name),
            right=syntax.Literal(values=(str(value),)),
        ):
            return [replace(walk, steps=(*walk.steps, (name, value))) for walk in before]
        case syntax.TypeTest(
            operator="is", operand=syntax.Call(base=None, name="resolve"), type=named
        ):
            return [replace(walk, target=named.name) for walk in before]
    return None


def _walker(steps: tuple[Step, ...]) -> Walker:
    names = tuple(takewhile(lambda step: type(step) is str, steps))
    rest = steps[len(names) :]

    def values(resource: Mapping[str, Any]) -> list[Any]:
        node: Any = resource
        for at, name in enumerate(names, 1):
            node = node.get(name)
            if type(node) is list:
                # A null stands for a primitive that has only extensions.
                return _walked([item for item in node if item is not None], steps[at:])
            if node is None:
                return []
        return _walked([node], rest) if rest else [node]

    return values


def _walked(nodes: list[Any], steps: tuple[Step, ...]) -> list[Any]:
    for step in steps:
        nodes = _step(nodes, step)
    return nodes


def _step(nodes: list[Any], step: Step) -> list[Any]:
    if type(step) is int:
        return nodes[step : step + 1]
    if type(step) is tuple:
        key, wanted = step
        return [node for node in nodes if node.get(key) == wanted]
    found: list[Any] = []
    for node in nodes:
        value = node.get(step)
        if type(value) is list:
            found += [item for item in value if item is not None]
        elif value is not None:
            found.append(value)
    return found
