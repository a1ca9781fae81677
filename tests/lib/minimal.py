"""The least that R4's definitions allow of a type: to stand for another, or to be changed."""

from __future__ import annotations

from typing import Any

from ehr_fhir import definitions

# A sound value of each primitive datatype, and of complex ones that need more than their elements.
_VALUES: dict[str, Any] = {
    "base64Binary": "Zm9v",
    "boolean": True,
    "canonical": "http://example.org/a|1",
    "code": "unknown",
    "date": "2026-01-01",
    "dateTime": "2026-01-01",
    "decimal": 1,
    "id": "a",
    "instant": "2026-01-01T00:00:00Z",
    "integer": 1,
    "markdown": "x",
    "oid": "urn:oid:1.2",
    "positiveInt": 1,
    "string": "x",
    "time": "10:00:00",
    "unsignedInt": 1,
    "uri": "http://example.org/a",
    "url": "http://example.org/a",
    "uuid": "urn:uuid:00000000-0000-4000-8000-000000000000",
    "xhtml": '<div xmlns="http://www.w3.org/1999/xhtml">x</div>',
    "Attachment": {"url": "http://example.org/a"},
    "CodeableConcept": {"text": "x"},
    "Coding": {"code": "x"},
    "Element": {"extension": [{"url": "http://example.org/a", "valueBoolean": True}]},
    "Extension": {"url": "http://example.org/a", "valueBoolean": True},
    "Period": {"start": "2026-01-01"},
    "Reference": {"display": "x"},
    "Resource": {"resourceType": "Basic", "id": "b", "code": {"text": "x"}},
}


def minimal(kind: str, identity: str) -> dict[str, Any]:
    """Return a resource with what is required of its type, and no more."""
    return {"resourceType": kind, "id": identity, **parts(kind)}


def minimal_value(owner: str, key: str) -> Any:
    """Return a sound value for an element of a type, an array where it repeats."""
    element = definitions.json_elements(owner)[key]
    codes = definitions.required_codes(owner, key)
    value = min(codes) if codes else _minimal_content(element.type)
    return [value] if element.repeats else value


def _minimal_content(kind: str) -> Any:
    if kind in _VALUES:
        return _VALUES[kind]
    # Nothing may be empty, even where nothing is required.
    return parts(kind) or {"extension": [_VALUES["Extension"]]}


def parts(owner: str) -> dict[str, Any]:
    """Return what is required of a type or of a part of one."""
    found: dict[str, Any] = {}
    for name, (kinds, low, _) in definitions.elements()[owner].items():
        if low:
            key = name.replace("[x]", kinds[0][0].upper() + kinds[0][1:])
            found[key] = minimal_value(owner, key)
    return found
