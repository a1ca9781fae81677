"""FHIR's additional functions (R4 §2.9.1): extensions, references, profiles, value sets."""

from __future__ import annotations

from typing import Any

from ehr_fhir.errors import Invalid, Unprocessable
from ehr_fhir.fhirpath.datatypes import base_types, is_known_type
from ehr_fhir.fhirpath.element import Element, children, root_element
from ehr_fhir.fhirpath.registry import register_function
from ehr_fhir.fhirpath.scope import Scope
from ehr_fhir.fhirpath.system_values import to_singleton, to_string, to_system

__all__: list[str] = []

_R4_DEFINITIONS = "http://hl7.org/fhir/StructureDefinition/"

# Chosen: a caller may read a resource from the database, which costs far more than an item.
_STEPS_PER_RESOLVE = 100


@register_function("extension", 1)
def _extension(scope: Scope, items: list[Any], url: list[Any]) -> list[Any]:
    extension_url = to_string(url, "`extension()`")
    return [
        extension
        for extension in children(items, "extension")
        if isinstance(extension.value, dict) and extension.value.get("url") == extension_url
    ]


@register_function("hasValue")
def _has_value(scope: Scope, items: list[Any]) -> list[Any]:
    return [len(items) == 1 and _primitive_value(items[0]) is not None]


@register_function("getValue")
def _get_value(scope: Scope, items: list[Any]) -> list[Any]:
    value = _primitive_value(items[0]) if len(items) == 1 else None
    return [] if value is None else [value]


@register_function("resolve")
def _resolve(scope: Scope, items: list[Any]) -> list[Any]:
    resources = []
    for item in items:
        reference = _read_reference(item)
        if reference is None:
            continue
        scope.evaluation.count_steps(_STEPS_PER_RESOLVE)
        if reference.startswith("#"):
            resources += _find_contained(scope.evaluation.resource, reference[1:])
        elif scope.evaluation.resolve is not None:
            resource = scope.evaluation.resolve(reference)
            if resource is not None:
                resources.append(root_element(resource))
    return resources


@register_function("conformsTo", 1)
def _conforms_to(scope: Scope, items: list[Any], url: list[Any]) -> list[Any]:
    profile, item = to_string(url, "`conformsTo()`"), to_singleton(items, "`conformsTo()`")
    if profile is None or item is None:
        return []
    name = profile.removeprefix(_R4_DEFINITIONS)
    if name == profile or not is_known_type(name):
        raise Invalid("`conformsTo()` knows R4's own types here, not this profile.")
    return [isinstance(item, Element) and name in base_types(item.type)]


@register_function("memberOf", 1)
def _member_of(scope: Scope, items: list[Any], value_set: list[Any]) -> list[Any]:
    item, url = to_singleton(items, "`memberOf()`"), to_string(value_set, "`memberOf()`")
    if item is None or url is None:
        return []
    if scope.evaluation.member_of is None:
        raise Unprocessable("`memberOf()` needs a terminology service, and there is none here.")
    is_member = scope.evaluation.member_of(item, url)
    return [] if is_member is None else [is_member]


@register_function("checkModifiers", 0, 20)
def _check_modifiers(scope: Scope, items: list[Any], *known_urls: list[Any]) -> list[Any]:
    known = {to_string(url, "`checkModifiers()`") for url in known_urls}
    for extension in children(items, "modifierExtension"):
        if not isinstance(extension.value, dict) or extension.value.get("url") not in known:
            raise Unprocessable(
                "A modifier extension is not known here, so the element may not be used.",
                expression=extension.path,
            )
    return items


def _primitive_value(item: object) -> object | None:
    """Return the value of a primitive; None of a complex element, or of extensions alone."""
    value = to_system(item)
    return None if isinstance(value, Element | dict | list) else value


def _read_reference(item: object) -> str | None:
    """Return the text of a Reference, of a uri or canonical, or of a string."""
    if isinstance(item, str):
        return item
    if not isinstance(item, Element):
        return None
    value = item.value.get("reference") if isinstance(item.value, dict) else item.value
    return value if isinstance(value, str) else None


def _find_contained(resource: Element, contained_id: str) -> list[Element]:
    """Return the contained resource of `#id`; a bare `#` is the containing resource itself."""
    if contained_id == "":
        return [resource]
    return [
        contained
        for contained in children([resource], "contained")
        if isinstance(contained.value, dict) and contained.value.get("id") == contained_id
    ]
