"""Whether a value is of a type (`is`), and the items of it (`as`, `ofType`)."""

from __future__ import annotations

from typing import Any

from ehr_fhir.errors import Invalid
from ehr_fhir.fhirpath.datatypes import PRIMITIVES, TypeName, base_types
from ehr_fhir.fhirpath.element import Element
from ehr_fhir.fhirpath.system_values import qualified_type_name

__all__ = ["cast_single", "filter_by_type", "is_of_type"]


def is_of_type(item: object, named: TypeName) -> bool:
    """Return whether an item is of a type or of one that specialises it.

    >>> is_of_type(1, TypeName(None, "Integer")), is_of_type(1, TypeName("FHIR", "integer"))
    (True, False)
    """
    if isinstance(item, Element):
        return named.namespace != "System" and named.name in base_types(item.type)
    if named.namespace == "FHIR":
        return False
    return named.name == "Any" or qualified_type_name(item) == f"System.{named.name}"


def filter_by_type(items: list[Any], named: TypeName) -> list[Any]:
    """Return the items of a type; a primitive's own type counts, not what it specialises."""
    if named.name in PRIMITIVES:
        # R4's suite: a code is a string by `is`, but `as(string)` does not return it.
        if named.namespace == "System":
            return []
        return [item for item in items if type(item) is Element and item.type == named.name]
    return [item for item in items if is_of_type(item, named)]


def cast_single(items: list[Any], named: TypeName) -> list[Any]:
    """Return the only item if it is of a type; refuse several."""
    if len(items) > 1:
        raise Invalid(f"`as` takes one item, but there are {len(items)}; `ofType()` takes many.")
    return filter_by_type(items, named)
