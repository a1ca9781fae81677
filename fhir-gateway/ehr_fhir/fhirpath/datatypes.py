"""The names of FHIR's and FHIRPath's types, which is a kind of which, and where elements lead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from ehr_fhir import definitions

__all__ = [
    "PRIMITIVES",
    "STRING_TYPES",
    "SYSTEM_TYPES",
    "Step",
    "TypeName",
    "base_types",
    "elements_of",
    "is_known_type",
    "json_steps",
    "resolve_type_name",
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
_QUANTITIES = frozenset({"Age", "Count", "Distance", "Duration"})
_ABSTRACT = frozenset({"Resource", "DomainResource", "Element", "BackboneElement"})


@dataclass(frozen=True, slots=True)
class TypeName:
    """A type as an expression names it; without a namespace it may be of either."""

    namespace: str | None
    name: str


@dataclass(frozen=True, slots=True)
class Step:
    """How JSON holds one element: its key and type, or, of a choice, the types by key."""

    key: str
    type: str
    shadow: str | None  # the key of a primitive's id and extensions
    choices: Mapping[str, str] | None = None


def resolve_type_name(parts: tuple[str, ...]) -> TypeName | None:
    """Return the type a qualified identifier means, or nothing if there is none such.

    >>> resolve_type_name(("System", "String"))
    TypeName(namespace='System', name='String')
    >>> resolve_type_name(("string1",)) is None
    True
    """
    namespace, name = ("", *parts)[-2:] if len(parts) < 3 else ("?", "")
    if namespace not in ("", "System", "FHIR") or not (is_known_type(name) or name in SYSTEM_TYPES):
        return None
    return TypeName(namespace or None, name)


def is_known_type(name: str) -> bool:
    """Return whether FHIR R4 has a type of this name."""
    return name in PRIMITIVES or name in _ABSTRACT or name in definitions.elements()


@cache
def base_types(name: str) -> frozenset[str]:
    """Return a FHIR type and all that it specialises.

    >>> sorted(base_types("code"))
    ['Element', 'code', 'string']
    >>> sorted(base_types("Patient.contact"))
    ['BackboneElement', 'Element', 'Patient.contact']
    """
    if name in PRIMITIVES:
        parent = PRIMITIVES[name]
        return frozenset({name, "Element"} | ({parent} if parent else set()))
    known = definitions.elements().get(name, {})
    if name in definitions.resource_types() or name in ("Resource", "DomainResource"):
        domain = {"DomainResource"} if "contained" in known else set()
        return frozenset({name, "Resource"} | domain)
    found = {name, "Element"}
    if name in _QUANTITIES:
        found.add("Quantity")
    if "modifierExtension" in known:
        found.add("BackboneElement")
    return frozenset(found)


def elements_of(owner: str) -> Mapping[str, tuple[str, ...]] | None:
    """Return the elements of a type with their types, a choice under its plain name."""
    if owner in PRIMITIVES:
        owner = "Element"
    known = definitions.elements().get(owner)
    if known is None:
        return None
    return {name.removesuffix("[x]"): kinds for name, (kinds, _, _) in known.items()}


@cache
def json_steps(owner: str) -> Mapping[str, Step] | None:
    """Return how each element of a type stands in JSON, or nothing for a type not known."""
    known = definitions.elements().get("Element" if owner in PRIMITIVES else owner)
    if known is None:
        return None
    found = {}
    for name, (kinds, _, _) in known.items():
        plain = name.removesuffix("[x]")
        if plain != name:
            spelt = {plain + kind[0].upper() + kind[1:]: kind for kind in kinds}
            found[plain] = Step(plain, kinds[0], None, spelt)
        else:
            # R4 types every id as a string; of a resource it is of the type id (§2.26).
            resource_id = name == "id" and "implicitRules" in known
            kind = "id" if resource_id else kinds[0]
            found[name] = Step(name, kind, f"_{name}" if kind in PRIMITIVES else None)
    return found
