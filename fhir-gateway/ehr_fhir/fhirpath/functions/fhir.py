"""What FHIR adds to FHIRPath (R4 §2.9.1): extensions, references, profiles, value sets."""

from __future__ import annotations

from typing import Any

from ehr_fhir.errors import Invalid, Unprocessable
from ehr_fhir.fhirpath.datatypes import base_types, is_known_type
from ehr_fhir.fhirpath.element import Element, children, root_element
from ehr_fhir.fhirpath.registry import register_function
from ehr_fhir.fhirpath.scope import Scope
from ehr_fhir.fhirpath.system_values import to_singleton, to_string, to_system

__all__: list[str] = []

_DEFINITIONS = "http://hl7.org/fhir/StructureDefinition/"


@register_function("extension", 1)
def _extension(scope: Scope, items: list[Any], url: list[Any]) -> list[Any]:
    wanted = to_string(url, "`extension()`")
    return [
        found
        for found in children(items, "extension")
        if isinstance(found.value, dict) and found.value.get("url") == wanted
    ]


@register_function("hasValue")
def _has_value(scope: Scope, items: list[Any]) -> list[Any]:
    return [len(items) == 1 and _value(items[0]) is not None]


@register_function("getValue")
def _get_value(scope: Scope, items: list[Any]) -> list[Any]:
    value = _value(items[0]) if len(items) == 1 else None
    return [] if value is None else [value]


@register_function("resolve")
def _resolve(scope: Scope, items: list[Any]) -> list[Any]:
    found = []
    for item in items:
        reference = _reference(item)
        if reference is None:
            continue
        scope.evaluation.count_steps(100)
        if reference.startswith("#"):
            found += _contained(scope.evaluation.resource, reference[1:])
        elif scope.evaluation.resolve is not None:
            resource = scope.evaluation.resolve(reference)
            if resource is not None:
                found.append(root_element(resource))
    return found


@register_function("conformsTo", 1)
def _conforms_to(scope: Scope, items: list[Any], url: list[Any]) -> list[Any]:
    profile, item = to_string(url, "`conformsTo()`"), to_singleton(items, "`conformsTo()`")
    if profile is None or item is None:
        return []
    name = profile.removeprefix(_DEFINITIONS)
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
    answer = scope.evaluation.member_of(item, url)
    return [] if answer is None else [answer]


@register_function("checkModifiers", 0, 20)
def _check_modifiers(scope: Scope, items: list[Any], *known: list[Any]) -> list[Any]:
    allowed = {to_string(url, "`checkModifiers()`") for url in known}
    for extension in children(items, "modifierExtension"):
        if not isinstance(extension.value, dict) or extension.value.get("url") not in allowed:
            raise Unprocessable(
                "A modifier extension is not known here, so the element may not be used.",
                expression=extension.path,
            )
    return items


def _value(item: object) -> object | None:
    value = to_system(item)
    return None if isinstance(value, Element | dict | list) else value


def _reference(item: object) -> str | None:
    if isinstance(item, str):
        return item
    if not isinstance(item, Element):
        return None
    value = item.value.get("reference") if isinstance(item.value, dict) else item.value
    return value if isinstance(value, str) else None


def _contained(resource: Element, name: str) -> list[Element]:
    if name == "":
        return [resource]
    return [
        found
        for found in children([resource], "contained")
        if isinstance(found.value, dict) and found.value.get("id") == name
    ]
