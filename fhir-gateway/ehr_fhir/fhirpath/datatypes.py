"""FHIR and System types: type specifiers, base types, and the JSON properties of elements.

The types of FHIR come from R4's structure definitions (`ehr_fhir.definitions`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from ehr_fhir import definitions

__all__ = [
    "PRIMITIVES",
    "STRING_TYPES",
    "SYSTEM_TYPES",
    "JsonProperty",
    "TypeSpecifier",
    "base_types",
    "element_types",
    "is_known_type",
    "json_properties",
    "resolve_type_specifier",
]

SYSTEM_TYPES = frozenset(
    {"Boolean", "String", "Integer", "Decimal", "Date", "DateTime", "Time", "Quantity", "Any"}
)

# R4's primitive types and what each specialises (R4 §2.24.0).
PRIMITIVES: Mapping[str, str | None] = {
    **dict.fromkeys(
        ("base64Binary", "boolean", "date", "dateTime", "decimal", "instant", "integer"), None
    ),
    **dict.fromkeys(("string", "time", "uri", "xhtml"), None),
    **dict.fromkeys(("code", "id", "markdown"), "string"),
    **dict.fromkeys(("canonical", "oid", "url", "uuid"), "uri"),
    **dict.fromkeys(("positiveInt", "unsignedInt"), "integer"),
}
# Primitives that are FHIRPath strings.
STRING_TYPES = frozenset(
    "base64Binary canonical code id markdown oid string uri url uuid xhtml".split()
)
_QUANTITY_TYPES = frozenset({"Age", "Count", "Distance", "Duration"})
_ABSTRACT_TYPES = frozenset({"Resource", "DomainResource", "Element", "BackboneElement"})


@dataclass(frozen=True, slots=True)
class TypeSpecifier:
    """Type specifier of an expression (FHIRPath N1 §6.3), such as `FHIR.string` or `Quantity`.

    Without a namespace it means FHIR's and the System type of that name.
    """

    namespace: str | None
    name: str


@dataclass(frozen=True, slots=True)
class JsonProperty:
    """How JSON represents an element (R4 §2.6.2): its key and type.

    A choice element (`value[x]`) has `choices`, from each JSON key to its type.
    """

    key: str
    type: str
    extension_key: str | None  # the key of a primitive's id and extensions
    choices: Mapping[str, str] | None = None


def resolve_type_specifier(parts: tuple[str, ...]) -> TypeSpecifier | None:
    """Resolve a qualified identifier to a type specifier; None if there is no such type.

    >>> resolve_type_specifier(("System", "String"))
    TypeSpecifier(namespace='System', name='String')
    >>> resolve_type_specifier(("string1",)) is None
    True
    """
    namespace, name = ("", *parts)[-2:] if len(parts) < 3 else ("?", "")
    if namespace not in ("", "System", "FHIR") or not (is_known_type(name) or name in SYSTEM_TYPES):
        return None
    return TypeSpecifier(namespace or None, name)


def is_known_type(name: str) -> bool:
    """Return whether R4 has a type of this name: primitive, complex, resource or abstract."""
    return name in PRIMITIVES or name in _ABSTRACT_TYPES or name in definitions.elements()


@cache
def base_types(name: str) -> frozenset[str]:
    """Return a FHIR type and all the types that it specialises.

    >>> sorted(base_types("code"))
    ['Element', 'code', 'string']
    >>> sorted(base_types("Patient.contact"))
    ['BackboneElement', 'Element', 'Patient.contact']
    """
    if name in PRIMITIVES:
        parent = PRIMITIVES[name]
        return frozenset({name, "Element"} | ({parent} if parent else set()))
    definition = definitions.elements().get(name, {})
    if name in definitions.resource_types() or name in ("Resource", "DomainResource"):
        domain = {"DomainResource"} if "contained" in definition else set()
        return frozenset({name, "Resource"} | domain)
    types = {name, "Element"}
    if name in _QUANTITY_TYPES:
        types.add("Quantity")
    if "modifierExtension" in definition:
        types.add("BackboneElement")
    return frozenset(types)


def element_types(owner: str) -> Mapping[str, tuple[str, ...]] | None:
    """Return the types of each element of a FHIR type; `value[x]` is under `value`.

    None for a type that R4 does not define.
    """
    if owner in PRIMITIVES:
        owner = "Element"
    definition = definitions.elements().get(owner)
    if definition is None:
        return None
    return {name.removesuffix("[x]"): type_names for name, (type_names, _, _) in definition.items()}


@cache
def json_properties(owner: str) -> Mapping[str, JsonProperty] | None:
    """Return the JSON property of each element of a FHIR type; None for an unknown type.

    >>> json_properties("Patient")["birthDate"]
    JsonProperty(key='birthDate', type='date', extension_key='_birthDate', choices=None)
    """
    definition = definitions.elements().get("Element" if owner in PRIMITIVES else owner)
    if definition is None:
        return None
    properties = {}
    for name, (type_names, _, _) in definition.items():
        base_name = name.removesuffix("[x]")
        if base_name != name:
            choices = {
                base_name + type_name[0].upper() + type_name[1:]: type_name
                for type_name in type_names
            }
            properties[base_name] = JsonProperty(base_name, type_names[0], None, choices)
        else:
            # R4 types every id as a string; of a resource it is of the type id (§2.26).
            resource_id = name == "id" and "implicitRules" in definition
            type_name = "id" if resource_id else type_names[0]
            properties[name] = JsonProperty(
                name, type_name, f"_{name}" if type_name in PRIMITIVES else None
            )
    return properties
