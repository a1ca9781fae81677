"""FHIR's XML form to its JSON form (R4 §2.6.2), by R4's own element types; for test data only."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from decimal import Decimal
from pathlib import Path
from typing import Any

from ehr_fhir import definitions
from ehr_fhir.fhirpath.datatypes import PRIMITIVES, JsonProperty, json_properties

__all__ = ["read"]

_FHIR = "{http://hl7.org/fhir}"
_XHTML = "{http://www.w3.org/1999/xhtml}"
_INTEGERS = frozenset({"integer", "positiveInt", "unsignedInt"})


def read(path: Path) -> dict[str, Any]:
    """Return the resource of an XML file as JSON."""
    return _resource(ET.parse(path).getroot())


def _resource(node: ET.Element) -> dict[str, Any]:
    kind = node.tag.removeprefix(_FHIR)
    return {"resourceType": kind, **_complex(node, kind)}


def _complex(node: ET.Element, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = {key: value for key, value in node.attrib.items() if key[0] != "{"}
    for child in node:
        key, step_type, many = _step(kind, child.tag)
        value, shadow = _value(child, step_type)
        if many:
            found.setdefault(key, []).append(value)
            found.setdefault(f"_{key}", []).append(shadow)
        else:
            found |= {key: value} if value is not None else {}
            found |= {f"_{key}": shadow} if shadow is not None else {}
    # A list of shadows is written only where one of them says something.
    return {key: item for key, item in found.items() if not _hollow(key, item)}


def _hollow(key: str, item: object) -> bool:
    return isinstance(item, list) and all(one is None for one in item)


def _step(owner: str, tag: str) -> tuple[str, str, bool]:
    key = tag.removeprefix(_FHIR).removeprefix(_XHTML)
    known: dict[str, JsonProperty] = dict(json_properties(owner) or {})
    if key in known:
        return key, known[key].type, definitions.elements()[owner][key][2] != 1
    for step in known.values():
        if step.choices and key in step.choices:
            return key, step.choices[key], False
    raise ValueError(f"{owner} has no {key}")


def _value(node: ET.Element, kind: str) -> tuple[Any, Any]:
    if kind == "xhtml":
        ET.register_namespace("", "http://www.w3.org/1999/xhtml")
        return ET.tostring(node, encoding="unicode").strip(), None
    if kind == "Resource":
        return _resource(node[0]), None
    if kind not in PRIMITIVES:
        return _complex(node, kind), None
    text = node.get("value")
    rest = [child for child in node if child.tag == f"{_FHIR}extension"]
    shadow: dict[str, Any] = {"id": node.get("id")} if node.get("id") else {}
    if rest:
        shadow["extension"] = [_complex(child, "Extension") for child in rest]
    return _primitive(text, kind), shadow or None


def _primitive(text: str | None, kind: str) -> object:
    if text is None:
        return None
    if kind == "boolean":
        return text == "true"
    if kind in _INTEGERS:
        return int(text)
    return Decimal(text) if kind == "decimal" else text
