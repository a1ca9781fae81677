"""Terms of a union (`a | b`): those of one resource type, and the JSON keys that they read.

R4 writes a search parameter's paths for all its resource types into one union. An index needs the
terms of one type, and skips a parameter when the resource has none of the keys.
"""

from __future__ import annotations

from collections.abc import Iterator

from ehr_fhir import definitions
from ehr_fhir.fhirpath import syntax
from ehr_fhir.fhirpath.datatypes import base_types, json_properties

__all__ = ["find_required_keys", "select_terms", "split_union"]


def select_terms(tree: syntax.Node, resource_type: str) -> syntax.Node:
    """Return a union without the terms of other resource types; `{}` if no term is left."""
    terms = [term for term in split_union(tree) if _starts_at(term, resource_type)]
    if not terms:
        return syntax.Literal(tree.position, ())
    union = terms[0]
    for term in terms[1:]:
        union = syntax.Binary(term.position, "|", union, term)
    return union


def find_required_keys(tree: syntax.Node, resource_type: str) -> frozenset[str] | None:
    """Return the JSON keys of which a resource must have one for a result; None if unknown."""
    properties = json_properties(resource_type)
    keys: set[str] = set()
    for term in split_union(tree):
        names = _leading_members(term)
        if names and names[0] in base_types(resource_type):
            names = names[1:]
        json_property = properties.get(names[0]) if properties and names else None
        if json_property is None:
            return None
        property_keys = json_property.choices or (json_property.key,)
        # A primitive with only extensions has only the key with an underscore.
        keys.update(property_keys, (f"_{key}" for key in property_keys))
    return frozenset(keys)


def split_union(tree: syntax.Node) -> Iterator[syntax.Node]:
    """Yield the terms of a union; any other expression is its own single term."""
    if isinstance(tree, syntax.Binary) and tree.operator == "|":
        yield from split_union(tree.left)
        yield from split_union(tree.right)
    else:
        yield tree


def _starts_at(term: syntax.Node, resource_type: str) -> bool:
    names = _leading_members(term)
    if not names or names[0] not in definitions.resource_types():
        return True
    return names[0] in base_types(resource_type)


# Functions whose result for an empty collection is empty. Others, as `count()` or `exists()`, have
# a result without any key, so that the index must not skip them.
_EMPTY_PRESERVING = frozenset(
    "where as ofType first last tail skip take single select resolve extension distinct".split()
)


def _leading_members(term: syntax.Node) -> tuple[str, ...]:
    """Return the members that a path starts with, if the path is empty wherever they are empty."""
    names: tuple[str, ...] = ()
    node: syntax.Node | None = term
    while node is not None:
        match node:
            case syntax.Member(base=base, name=name):
                names, node = (name, *names), base
            case syntax.Call(base=base, name=name) if (
                name in _EMPTY_PRESERVING and base is not None
            ):
                names, node = (), base
            case syntax.Index(base=base):
                names, node = (), base
            case syntax.TypeTest(operator="as", operand=operand):
                names, node = (), operand
            case _:
                return ()
    return names
