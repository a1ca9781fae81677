"""Which resource types a reference may name: every element's targets, by R4's definitions.

A reference shows its target's type in its address (`Type/id`, an absolute address of that form,
`Type?criteria`), by the contained resource that it names, or in `Reference.type` (R4 §2.3.0).
One that shows none, such as `urn:oid:`, is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ehr_fhir import definitions
from ehr_fhir.references import referenced_type, strip_version

__all__ = ["NamedTypes", "TargetFault", "contained_types", "find_target_fault"]

# Resource types by what names them: the fragment of a contained resource, without `#` (the empty
# one is the resource that contains the others), or the fullUrl of an entry of the same Bundle.
NamedTypes = Mapping[str, str]

_CONDITIONAL = re.compile(r"([A-Z][A-Za-z]+)\?")
# `Reference.type` is a uri relative to this address.
_TYPE_BASE = "http://hl7.org/fhir/StructureDefinition/"
_MAX_TYPES_NAMED = 8


class TargetFault(NamedTuple):
    """What is wrong with a reference: which element of it, and a text to be read after that."""

    element: str
    text: str


def contained_types(resource: Mapping[str, Any]) -> NamedTypes:
    """Return what references inside a resource may name by a fragment.

    >>> contained_types({"resourceType": "Claim", "contained": [{"resourceType": "Patient",
    ...                                                          "id": "p"}]})
    {'': 'Claim', 'p': 'Patient'}
    """
    types = {"": str(resource.get("resourceType", ""))}
    contained = resource.get("contained")
    for inner in contained if isinstance(contained, list) else ():
        if isinstance(inner, dict) and isinstance(inner.get("id"), str):
            types[inner["id"]] = str(inner.get("resourceType", ""))
    return types


def find_target_fault(
    reference: Mapping[str, Any], allowed: frozenset[str] | None, named: NamedTypes
) -> TargetFault | None:
    """Return what is wrong with the type of a reference's target, None where nothing is.

    `allowed` are the types that the element may name, None for any.

    >>> fault = find_target_fault({"reference": "Group/1"}, frozenset({"Patient"}), {})
    >>> fault.element, fault.text
    ('reference', 'names a Group, but may name: Patient')
    """
    address, declared = reference.get("reference"), reference.get("type")
    shown = _shown_type(address, named) if isinstance(address, str) else None
    if isinstance(declared, str):
        declared = declared.removeprefix(_TYPE_BASE)
        # An absolute address is that of a logical model.
        if ":" not in declared:
            if declared not in definitions.resource_types():
                return TargetFault("type", "names no resource type of FHIR R4")
            if shown is not None and declared != shown:
                return TargetFault("type", "is not the type that the reference shows")
            if allowed is not None and declared not in allowed:
                return TargetFault("type", _not_allowed(declared, allowed))
    if allowed is not None and shown is not None and shown not in allowed:
        return TargetFault("reference", _not_allowed(shown, allowed))
    return None


def _shown_type(address: str, named: NamedTypes) -> str | None:
    if address.startswith("#"):
        return named.get(address[1:])
    if address.startswith("urn:"):
        return named.get(strip_version(address))
    conditional = _CONDITIONAL.match(address)
    shown = conditional[1] if conditional else referenced_type(address)
    return shown if shown in definitions.resource_types() else None


def _not_allowed(found: str, allowed: frozenset[str]) -> str:
    listed = ", ".join(sorted(allowed)[:_MAX_TYPES_NAMED])
    more = len(allowed) - _MAX_TYPES_NAMED
    return f"names a {found}, but may name: {listed}" + (f" and {more} more" if more > 0 else "")
