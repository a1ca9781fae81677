"""Where a resource links to others: references, and in a transaction uris and narratives too.

By R4's definitions of the elements, never by how a value is spelt: `urn:uuid:...` is a link in a
`Reference.reference`, an identifier's value in an `Identifier.value`. A container (a Bundle or
Parameters kept as data) is not looked into: it stays as it was made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from html import unescape
from types import MappingProxyType
from typing import Any, Literal

from ehr_fhir import definitions
from ehr_fhir.references import Replacements

__all__ = ["CONTAINERS", "list_references", "replace_links", "replace_references"]

# Resources that hold others as data. Nothing in them but `meta`, the server's own, is linked.
CONTAINERS = frozenset({"Bundle", "Parameters"})

_REFERENCE, _URI, _NARRATIVE = "reference of Reference", "uri", "xhtml"
# What a key leads to: an object of this type, or one of the three kinds of links above.
_Links = Mapping[str, str]
_NO_LINKS: _Links = MappingProxyType({})
_Tables = Mapping[str, _Links]
_Kinds = Literal["references", "links"]

# Uris that name a code system, an identifier system, a type or rules, and link to no resource. So
# does a definition's own `url`, which is often its fullUrl: rewritten, it would be another's.
_NAMES = frozenset(
    {
        ("ConceptMap.group", "source"),
        ("ConceptMap.group", "target"),
        ("ElementDefinition.type", "code"),
        ("Meta", "source"),
        ("Reference", "type"),
        ("StructureDefinition", "type"),
    }
)
_NAMING_KEYS = frozenset({"implicitRules", "system"})

# R4 §3.1.0.11.2 names these two. Attributes are looked for inside their tags alone: the text of a
# narrative may speak of `href="..."`, too.
_TAG = re.compile(r"""<(?:a|img)(?:\s+[\w:.-]+\s*=\s*(?:"[^"]*"|'[^']*'))+""")
# Attribute by attribute, so that no text inside another attribute's quotes counts.
_ATTRIBUTE = re.compile(r"""(?<![\w:.-])([\w:.-]+)(\s*=\s*)("[^"]*"|'[^']*')""")

# (name,), or the way before with the element below it, and its index in an array.
_Way = tuple[Any, ...]


def list_references(resource: Mapping[str, Any], place: str = "") -> list[tuple[str, str]]:
    """Return (FHIRPath expression, reference) for every reference in a resource.

    >>> list_references({"resourceType": "Condition", "subject": {"reference": "Patient/1"}})
    [('Condition.subject.reference', 'Patient/1')]
    """
    found: list[tuple[str, str]] = []
    kind = _own_type(resource)
    _gather(resource, kind, (place or kind,), _link_tables("references"), found)
    return found


def replace_references(resource: dict[str, Any], replacements: Replacements) -> None:
    """Replace references in place, and nothing else."""
    _replace(resource, _own_type(resource), _link_tables("references"), replacements)


def replace_links(resource: dict[str, Any], replacements: Replacements) -> None:
    """Replace in place what names an entry of a Bundle (R4 §3.1.0.11.2).

    References; elements of type uri and url; the addresses of links and images in narratives. An
    oid or uuid stays: what replaces it would not have its form.

    >>> scan = {"resourceType": "Media", "content": {"url": "urn:uuid:a", "title": "urn:uuid:a"}}
    >>> replace_links(scan, {"urn:uuid:a": "Binary/1"})
    >>> scan["content"]
    {'url': 'Binary/1', 'title': 'urn:uuid:a'}
    """
    _replace(resource, _own_type(resource), _link_tables("links"), replacements)


# The way to a node is put into words where a reference stands, and nowhere else.
def _gather(
    node: Mapping[str, Any], owner: str, way: _Way, tables: _Tables, found: list[tuple[str, str]]
) -> None:
    links = tables.get(owner, _NO_LINKS)
    for key, value in node.items():
        inner = links.get(key)
        if inner is None:
            continue
        # By exact types, which JSON has: this runs over every resource that is written.
        kind = type(value)
        if kind is dict:
            _gather(value, _type_of(value, inner), (way, key), tables, found)
        elif kind is list:
            for index, item in enumerate(value):
                if type(item) is dict:
                    _gather(item, _type_of(item, inner), (way, key, index), tables, found)
        elif kind is str and inner is _REFERENCE:
            found.append((f"{_join_way(way)}.reference", value))


def _join_way(way: _Way) -> str:
    if len(way) == 1:
        return str(way[0])
    return f"{_join_way(way[0])}.{way[1]}" + (f"[{way[2]}]" if len(way) == 3 else "")


def _replace(node: dict[str, Any], owner: str, tables: _Tables, replacements: Replacements) -> None:
    links = tables.get(owner, _NO_LINKS)
    for key, value in node.items():
        inner = links.get(key)
        if inner is None:
            continue
        kind = type(value)
        if kind is dict:
            _replace(value, _type_of(value, inner), tables, replacements)
        elif kind is str:
            node[key] = _replacement(value, inner, replacements)
        elif kind is list:
            for index, item in enumerate(value):
                if type(item) is dict:
                    _replace(item, _type_of(item, inner), tables, replacements)
                elif type(item) is str:
                    value[index] = _replacement(item, inner, replacements)


def _replacement(value: str, kind: str, replacements: Replacements) -> str:
    if kind is _NARRATIVE:
        if "=" not in value:
            return value
        return _TAG.sub(
            lambda tag: _ATTRIBUTE.sub(lambda found: _relink(found, replacements), tag[0]), value
        )
    if kind is _REFERENCE or kind is _URI:
        return replacements.get(value) or value
    return value  # a text where the definitions have an object: validation refuses it


def _relink(attribute: re.Match[str], replacements: Replacements) -> str:
    name, equals, quoted = attribute.groups()
    # A fragment is a place in what is linked to.
    address, hash_sign, fragment = quoted[1:-1].partition("#")
    meaning = replacements.get(unescape(address)) if name in ("href", "src") and address else None
    if meaning is None:
        return attribute[0]
    return f"{name}{equals}{quoted[0]}{meaning}{hash_sign}{fragment}{quoted[0]}"


def _own_type(node: Mapping[str, Any]) -> str:
    """Return the type that a resource says it is of; empty if it is no text."""
    kind = node.get("resourceType")
    return kind if type(kind) is str else ""


def _type_of(node: Mapping[str, Any], inner: str) -> str:
    return _own_type(node) if inner == "Resource" else inner


# Of all types at once: a resource names its own type, and one that is none must not be kept.
@cache
def _link_tables(kinds: _Kinds) -> _Tables:
    return {owner: _compile_links(owner, kinds) for owner in definitions.elements()}


def _compile_links(owner: str, kinds: _Kinds) -> _Links:
    """Return what each key of a type's JSON leads to; keys that lead to no link are left out."""
    if owner in CONTAINERS:
        return {"meta": "Meta"}
    found: dict[str, str] = {}
    for key, element in definitions.json_elements(owner).items():
        if element.type in definitions.elements():
            found[key] = element.type
            continue
        if owner == "Reference" and key == "reference":
            found[key] = _REFERENCE
        elif kinds == "links" and element.type in ("uri", "url") and not _is_name(owner, key):
            found[key] = _URI
        elif kinds == "links" and element.type == "xhtml":
            found[key] = _NARRATIVE
        # A primitive's extensions.
        found[f"_{key}"] = "Element"
    return found


def _is_name(owner: str, key: str) -> bool:
    is_definition = "url" in (known := definitions.elements()[owner]) and {"version", "status"} <= (
        known.keys()
    )
    return key in _NAMING_KEYS or (owner, key) in _NAMES or (key == "url" and is_definition)
