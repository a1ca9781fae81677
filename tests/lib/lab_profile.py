"""A profile of Observation by its differential alone, as a client stores it."""

from __future__ import annotations

from typing import Any

__all__ = ["PROFILE", "build_lab_profile"]

PROFILE = "http://example.org/StructureDefinition/lab"


def build_lab_profile(*elements: dict[str, Any]) -> dict[str, Any]:
    """Return a StructureDefinition that constrains some elements of Observation."""
    return {
        "resourceType": "StructureDefinition",
        "id": "lab",
        "url": PROFILE,
        "name": "Lab",
        "status": "active",
        "kind": "resource",
        "abstract": False,
        "type": "Observation",
        "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Observation",
        "derivation": "constraint",
        "differential": {"element": list(elements)},
    }
