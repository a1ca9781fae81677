"""What is wrong with the structure of a resource, by R4's own definitions, with every place.

Elements, cardinality, choices of datatypes, forms of primitives, required bindings, targets of
references, narratives; and that nothing is empty, as FHIR's JSON has it (R4 §2.6.2). Profiles,
other bindings and other invariants are not checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import zip_longest
from types import MappingProxyType
from typing import Any

from ehr_fhir import definitions
from ehr_fhir.definitions import JsonElement
from ehr_fhir.errors import Issue
from ehr_fhir.narrative import find_narrative_fault
from ehr_fhir.validation.primitives import PrimitiveFault, find_primitive_fault
from ehr_fhir.validation.targets import NamedTypes, contained_types, find_target_fault

__all__ = ["SUBSETTED", "find_issues", "has_extensions"]

# The tag of a resource that a server has cut to some of its elements (R4 §3.1.1.5.8).
SUBSETTED = "SUBSETTED"

_MAX_CODES_NAMED = 20
# In FHIR's JSON these have no extensions of their own (R4: System.String and xhtml).
_WITHOUT_EXTENSIONS = frozenset({("Extension", "url"), ("Narrative", "div")})


def find_issues(
    kind: str, resource: Mapping[str, Any], entry_types: NamedTypes = MappingProxyType({})
) -> list[Issue]:
    """Return what is wrong with a resource, in the order of its elements.

    `entry_types` are the resource types of entries that references name by their fullUrl.
    """
    scope = {**contained_types(resource), **entry_types}
    return list(_check_object(kind, resource, kind, scope))


@cache
def has_extensions(owner: str, key: str) -> bool:
    """Say whether an element is a primitive whose extensions stand beside it, as `_key`."""
    element = definitions.json_elements(owner)[key]
    is_primitive = element.type not in definitions.elements()
    return is_primitive and key != "id" and (owner, key) not in _WITHOUT_EXTENSIONS


# `scope` holds the types of what references name inside the request. It is None inside a resource
# kept as data (a Bundle's entries, a Parameters' resources): such a document is about another place
# and time and is kept as it is.
def _check_object(owner: str, node: Any, path: str, scope: NamedTypes | None) -> Iterator[Issue]:
    if not isinstance(node, dict):
        yield Issue(f"{path} must be an object.", path, "structure")
        return
    if owner == "Resource":
        owner = node.get("resourceType", "")
        if not isinstance(owner, str) or owner not in definitions.resource_types():
            yield Issue(f"{path} must name its resourceType.", path, "structure")
            return
    elif not node.keys() - {"id"}:
        # ele-1: an id alone is no content.
        yield _empty_issue(path)
        return
    known = definitions.json_elements(owner)
    chosen: dict[str, str] = {}
    for key in dict.fromkeys(key.removeprefix("_") for key in node):
        element = known.get(key)
        for unknown in _unknown_keys(owner, key, element, node):
            text = f"{path}.{unknown} is not an element of this type."
            yield Issue(text, f"{path}.{unknown}", "structure")
        if element is None:
            continue
        if element.is_choice and chosen.setdefault(element.name, key) != key:
            text = f"{path}.{element.name} may be of one datatype only."
            yield Issue(text, path, "structure")
        yield from _check_element(owner, element, node, f"{path}.{key}", scope)
    yield from _check_required(owner, node, path)
    if owner == "Extension" and bool(chosen) == ("extension" in node):
        # ext-1
        text = f"{path} must have either a value or extensions."
        yield Issue(text, path, "invariant")
    if owner == "Meta" and scope is not None:
        yield from _check_tags(node.get("tag"), f"{path}.tag")


def _unknown_keys(
    owner: str, key: str, element: JsonElement | None, node: Mapping[str, Any]
) -> Iterator[str]:
    is_type_name = key == "resourceType" and "implicitRules" in definitions.json_elements(owner)
    if key in node and element is None and not is_type_name:
        yield key
    if f"_{key}" in node and (element is None or not has_extensions(owner, key)):
        yield f"_{key}"


def _check_element(
    owner: str,
    element: JsonElement,
    node: Mapping[str, Any],
    path: str,
    scope: NamedTypes | None,
) -> Iterator[Issue]:
    values, extensions = node.get(element.key), node.get(f"_{element.key}")
    if f"_{element.key}" in node and not has_extensions(owner, element.key):
        extensions = None
    elif f"_{element.key}" in node and not extensions:
        yield _empty_issue(path)
    if element.key in node and values in (None, []):
        yield _empty_issue(path)
        return
    if not element.repeats:
        yield from _check_item(owner, element, values, extensions, path, scope)
        return
    lists = [item for item in (values, extensions) if item is not None]
    if not all(isinstance(item, list) for item in lists):
        yield Issue(f"{path} must be an array.", path, "structure")
        return
    # Nulls pair the extensions of primitives with their values (R4 §2.6.2.3).
    for index, (value, extension) in enumerate(zip_longest(values or (), extensions or ())):
        place = f"{path}[{index}]"
        if value is None and extension is None:
            yield _empty_issue(place)
        yield from _check_item(owner, element, value, extension, place, scope)


def _check_item(
    owner: str,
    element: JsonElement,
    value: Any,
    extension: Any,
    path: str,
    scope: NamedTypes | None,
) -> Iterator[Issue]:
    if value is not None:
        yield from _check_value(owner, element, value, path, scope)
    if extension is not None:
        has_own_value = value is not None and isinstance(extension, dict) and len(extension) == 1
        # An id alone will do where there is a value (ele-1).
        if not (has_own_value and isinstance(extension.get("id"), str) and extension["id"]):
            yield from _check_object("Element", extension, path, scope)


def _check_value(
    owner: str, element: JsonElement, value: Any, path: str, scope: NamedTypes | None
) -> Iterator[Issue]:
    if element.type in definitions.elements():
        is_kept_as_data = element.type == "Resource" and element.key != "contained"
        yield from _check_object(element.type, value, path, None if is_kept_as_data else scope)
        if element.type == "Reference" and scope is not None and isinstance(value, dict):
            allowed = definitions.reference_targets(owner, element.name)
            if target := find_target_fault(value, allowed, scope):
                place = f"{path}.{target.element}"
                yield Issue(f"{place} {target.text}.", place, "value")
        return
    if fault := _find_fault(owner, element, value):
        yield Issue(f"{path} {fault.text}.", path, fault.code)
    elif codes := definitions.required_codes(owner, element.key):
        if value not in codes:
            named = ", ".join(sorted(codes)[:_MAX_CODES_NAMED])
            more = len(codes) - _MAX_CODES_NAMED
            named += f" and {more} more" if more > 0 else ""
            yield Issue(f"{path} must be one of: {named}.", path, "code-invalid")


def _find_fault(owner: str, element: JsonElement, value: Any) -> PrimitiveFault | None:
    if element.key == "id":
        if owner in definitions.resource_types():
            return find_primitive_fault("id", value)
        # R4, Element.id: any text without spaces.
        return find_primitive_fault("string", value) or find_primitive_fault("uri", value)
    # R4's definitions type it as System.String, its text as uri.
    kind = "uri" if (owner, element.key) == ("Extension", "url") else element.type
    fault = find_primitive_fault(kind, value)
    if fault is None and element.type == "xhtml" and (text := find_narrative_fault(value)):
        return PrimitiveFault(text, "invariant")
    return fault


def _check_required(owner: str, node: Mapping[str, Any], path: str) -> Iterator[Issue]:
    for name, keys in _required_keys(owner):
        if not any(key in node or f"_{key}" in node for key in keys):
            yield Issue(f"{path}.{name} is required.", f"{path}.{name}", "required")


@cache
def _required_keys(owner: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return each required element with the keys of which one must be there."""
    known = definitions.json_elements(owner).values()
    required = [
        name.removesuffix("[x]")
        for name, (_, least, _) in definitions.elements()[owner].items()
        if least
    ]
    return tuple(
        (name, tuple(element.key for element in known if element.name == name)) for name in required
    )


def _check_tags(tags: Any, path: str) -> Iterator[Issue]:
    for index, tag in enumerate(tags if isinstance(tags, list) else ()):
        if isinstance(tag, dict) and tag.get("code") == SUBSETTED:
            place = f"{path}[{index}]"
            text = f"{place} says that elements are missing ({SUBSETTED}): write all, or patch."
            yield Issue(text, place, "business-rule")


def _empty_issue(path: str) -> Issue:
    return Issue(f"{path} must not be empty.", path, "structure")
