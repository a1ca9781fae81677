"""The committed Synthea sample, read from synthea/*.ndjson.xz."""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

FOLDER = Path(__file__).parent / "synthea"
# Types that belong to no patient.
DIRECTORY_TYPES = frozenset(
    {"Organization", "Location", "Practitioner", "PractitionerRole", "Medication"}
)


def resource_types() -> list[str]:
    """Return the resource types of the sample."""
    return sorted(path.name.split(".")[0] for path in FOLDER.glob("*.ndjson.xz"))


def read_resources(resource_type: str) -> Iterator[dict[str, Any]]:
    """Yield the resources of one type as Synthea wrote them."""
    with lzma.open(FOLDER / f"{resource_type}.ndjson.xz") as file:
        yield from (orjson.loads(line) for line in file)


def patient_of(resource: dict[str, Any]) -> str:
    """Return the id of the patient a Synthea resource is about, '' for none.

    >>> patient_of({"resourceType": "Condition", "subject": {"reference": "Patient/1"}})
    '1'
    """
    resource_type = resource["resourceType"]
    if resource_type == "Patient":
        return str(resource["id"])
    if resource_type == "Provenance":
        targets = (target["reference"] for target in resource["target"])
        return next((t.split("/")[1] for t in targets if t.startswith("Patient/")), "")
    if resource_type == "Appointment":
        actors = (participant["actor"]["reference"] for participant in resource["participant"])
        return next((a.split("/")[1] for a in actors if a.startswith("Patient/")), "")
    reference = resource.get("subject") or resource.get("patient") or {}
    return str(reference.get("reference", "")).rpartition("/")[2]
