"""Elements that the profiles of IPS 2.0.0 require beyond R4: what is absent is said to be unknown.

A record that was stored without such an element, as R4 allows, still belongs in the summary: the
guide has the extension data-absent-reason for it. Nothing is made up and nothing is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["REQUIRED", "is_there", "say_what_is_absent"]

Json = Mapping[str, Any]  # FHIR JSON of every shape
_UNKNOWN = {
    "extension": [
        {
            "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason",
            "valueCode": "unknown",
        }
    ]
}
_ABSENT_CODE = {
    "coding": [
        {
            "system": "http://terminology.hl7.org/CodeSystem/data-absent-reason",
            "code": "unknown",
        }
    ]
}
# By type: elements with a minimum of 1 in the profile and of 0 in R4, and how absence is written:
# beside a primitive, as the one item of a list, or as the element. `[x]` stands for every type.
REQUIRED: Mapping[str, Mapping[str, str]] = {
    "AllergyIntolerance": {"code": "element"},
    "Condition": {"code": "element"},
    "DeviceUseStatement": {"timing[x]": "timingDateTime"},
    "DiagnosticReport": {"subject": "element", "effective[x]": "effectiveDateTime"},
    "Medication": {"code": "element"},
    "MedicationStatement": {"effective[x]": "effectiveDateTime"},
    "Observation": {
        "subject": "element", "effective[x]": "effectiveDateTime", "performer": "list",
    },
    "Organization": {"name": "name"},
    "Patient": {"name": "text", "birthDate": "birthDate"},
    "Practitioner": {"name": "text"},
    "Procedure": {"code": "element", "performed[x]": "performedDateTime"},
}  # fmt: skip


def is_there(resource: Json, element: str) -> bool:
    """Say whether an element is there, with a value or with what stands in its place.

    >>> is_there({"_effectiveDateTime": {}}, "effective[x]"), is_there({"name": []}, "name")
    (True, False)
    """
    if not element.endswith("[x]"):
        return bool(resource.get(element) or resource.get(f"_{element}"))
    stem = element.removesuffix("[x]")
    return any(
        key.lstrip("_").startswith(stem) and key.lstrip("_")[len(stem) :][:1].isupper()
        for key in resource
    )


def say_what_is_absent(resource: Json) -> dict[str, Any]:
    """Return a resource in which each required element is there or is said to be unknown."""
    completed = dict(resource)
    for element, how in REQUIRED.get(str(resource["resourceType"]), {}).items():
        if is_there(resource, element):
            continue
        if how == "element":
            completed[element] = _UNKNOWN
        elif how == "list":
            completed[element] = [_UNKNOWN]
        elif how == "text":
            completed[element] = [{"_text": _UNKNOWN}]
        else:
            completed[f"_{how}"] = _UNKNOWN
    if resource["resourceType"] == "Observation":
        _complete_values(completed)
    return completed


def _complete_values(observation: dict[str, Any]) -> None:
    """Say of a measurement and of its components that a value is unknown (ips-2, ips-3)."""
    parts = ("hasMember", "component", "dataAbsentReason")
    if not is_there(observation, "value[x]") and not any(observation.get(key) for key in parts):
        observation["dataAbsentReason"] = _ABSENT_CODE
    if observation.get("component"):
        observation["component"] = [
            part
            if is_there(part, "value[x]") or part.get("dataAbsentReason")
            else {**part, "dataAbsentReason": _ABSENT_CODE}
            for part in observation["component"]
        ]
