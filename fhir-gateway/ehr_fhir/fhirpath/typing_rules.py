"""Type operators `is`, `as` and `ofType` on values (FHIRPath N1 §6.3, §5.2)."""

from __future__ import annotations

from typing import Any

from ehr_fhir.errors import Invalid
from ehr_fhir.fhirpath.datatypes import PRIMITIVES, TypeSpecifier, base_types
from ehr_fhir.fhirpath.element import Element
from ehr_fhir.fhirpath.system_values import qualified_type_name

__all__ = ["cast_single", "filter_by_type", "is_of_type"]


def is_of_type(item: object, type_specifier: TypeSpecifier) -> bool:
    """Return whether an item is of a type or of one that specialises it.

    >>> is_of_type(1, TypeSpecifier(None, "Integer"))
    True
    >>> is_of_type(1, TypeSpecifier("FHIR", "integer"))
    False
    """
    if isinstance(item, Element):
        return type_specifier.namespace != "System" and type_specifier.name in base_types(item.type)
    if type_specifier.namespace == "FHIR":
        return False
    return (
        type_specifier.name == "Any" or qualified_type_name(item) == f"System.{type_specifier.name}"
    )


def filter_by_type(items: list[Any], type_specifier: TypeSpecifier) -> list[Any]:
    """Return the items of a type; primitives only of exactly this type.

    A specialised complex type counts: an `Age` is a `Quantity`.
    """
    if type_specifier.name in PRIMITIVES:
        # By HL7's R4 suite a `code` is a `string`, but `as(string)` does not return it.
        if type_specifier.namespace == "System":
            return []
        return [
            item for item in items if type(item) is Element and item.type == type_specifier.name
        ]
    return [item for item in items if is_of_type(item, type_specifier)]


def cast_single(items: list[Any], type_specifier: TypeSpecifier) -> list[Any]:
    """Return the single item if it is of a type (N1 §6.3); raise Invalid for several items."""
    if len(items) > 1:
        raise Invalid(f"`as` takes one item, but there are {len(items)}; `ofType()` takes many.")
    return filter_by_type(items, type_specifier)
