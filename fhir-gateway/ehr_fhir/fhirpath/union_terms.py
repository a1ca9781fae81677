"""The terms of a union: which start at a resource type, and which of its JSON keys they read.

R4's search parameters write all their resource types into one expression. An index needs those of
one type, and to know from the keys of a resource that a parameter cannot have a value.
"""

from __future__ import annotations

from collections.abc import Iterator

from ehr_fhir import definitions
from ehr_fhir.fhirpath import syntax
from ehr_fhir.fhirpath.datatypes import base_types, json_properties

__all__ = ["find_required_keys", "select_terms", "split_union"]


def select_terms(tree: syntax.Node, resource_type: str) -> syntax.Node:
    """Return a union without the terms that start at another resource type."""
    kept = [term for term in split_union(tree) if _starts_at(term, resource_type)]
    if not kept:
        return syntax.Literal(tree.position, ())
    joined = kept[0]
    for term in kept[1:]:
        joined = syntax.Binary(term.position, "|", joined, term)
    return joined


def find_required_keys(tree: syntax.Node, resource_type: str) -> frozenset[str] | None:
    """Return the JSON keys without which an expression is empty, or None if that is not known."""
    known = json_properties(resource_type)
    found: set[str] = set()
    for term in split_union(tree):
        names = _names(term)
        if names and names[0] in base_types(resource_type):
            names = names[1:]
        step = known.get(names[0]) if known and names else None
        if step is None:
            return None
        keys = step.choices or (step.key,)
        found.update(keys, (f"_{key}" for key in keys))
    return frozenset(found)


def split_union(tree: syntax.Node) -> Iterator[syntax.Node]:
    """Yield the terms of a union, or the one that an expression is."""
    if isinstance(tree, syntax.Binary) and tree.operator == "|":
        yield from split_union(tree.left)
        yield from split_union(tree.right)
    else:
        yield tree


def _starts_at(term: syntax.Node, resource_type: str) -> bool:
    names = _names(term)
    if not names or names[0] not in definitions.resource_types():
        return True
    return names[0] in base_types(resource_type)


# What keeps an empty collection empty; other functions may make something of nothing.
_STAYS_EMPTY = frozenset(
    "where as ofType first last tail skip take single select resolve extension distinct".split()
)


def _names(term: syntax.Node) -> tuple[str, ...]:
    """Return the first names of a path, as far as an empty start leaves it empty."""
    names: tuple[str, ...] = ()
    node: syntax.Node | None = term
    while node is not None:
        match node:
            case syntax.Member(base=base, name=name):
                names, node = (name, *names), base
            case syntax.Call(base=base, name=name) if name in _STAYS_EMPTY and base is not None:
                names, node = (), base
            case syntax.Index(base=base):
                names, node = (), base
            case syntax.TypeTest(operator="as", operand=operand):
                names, node = (), operand
            case _:
                return ()
    return names
