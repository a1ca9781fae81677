"""The least resource of a type that R4's definitions allow, to stand for one referred to."""

from __future__ import annotations

from typing import Any

from ehr_fhir import definitions

_VALUES: dict[str, Any] = {
    "boolean": True,
    "code": "unknown",
    "date": "2026-01-01",
    "dateTime": "2026-01-01",
    "decimal": 1,
    "instant": "2026-01-01T00:00:00Z",
    "integer": 1,
    "positiveInt": 1,
    "unsignedInt": 1,
    "Attachment": {"url": "http://example.org/a"},
    "CodeableConcept": {"text": "x"},
    "Coding": {"code": "x"},
    "Period": {"start": "2026-01-01"},
    "Reference": {"display": "x"},
}


def minimal(kind: str, identity: str) -> dict[str, Any]:
    """Return a resource with what is required of its type, and no more."""
    return {"resourceType": kind, "id": identity, **parts(kind)}


def parts(owner: str) -> dict[str, Any]:
    """Return what is required of a type or of a part of one."""
    found: dict[str, Any] = {}
    for name, (kinds, low, high) in definitions.elements()[owner].items():
        if low == 0:
            continue
        kind = kinds[0]
        key = name.replace("[x]", kind[0].upper() + kind[1:])
        codes = definitions.required_codes(owner, name)
        value = (
            min(codes)
            if codes
            else _VALUES.get(kind) or (parts(kind) if kind in definitions.elements() else "x")
        )
        found[key] = value if high == 1 else [value]
    return found
