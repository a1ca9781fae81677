"""The bench's workload data: the demo's sample as a seed and 16 transaction Bundles.

As Synthea writes them: every entry a create under a `urn:uuid`, references inside a Bundle by that
name, references to the directory by id. Each patient joined, and shares with the reader's hospital.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from ehr_cli.sample.consents import build_consent, sharing_consent
from ehr_cli.sample.overlay import sample_resources

__all__ = ["BUNDLES", "READER", "Sample", "pointed", "sample"]

Resource = dict[str, Any]
BUNDLES = 16
# The hospital whose system reads what the platform's system imported.
READER = "st-gabriel"
_DIRECTORY = ("Organization", "Location", "Practitioner", "PractitionerRole", "Medication")
# A Provenance points across patients.
_LEFT_OUT = ("Consent", "Provenance")
_ALWAYS = {"start": "2025-12-01"}


@dataclass(frozen=True)
class Sample:
    """The directory as one Bundle to put in first, then one Bundle for each patient."""

    seed: bytes
    bundles: tuple[bytes, ...]
    records: tuple[tuple[Resource, ...], ...]


def sample() -> Sample:
    """Return the seed and the Bundles of the patients whose records are of middling size."""
    directory: list[Resource] = []
    patients: dict[str, list[Resource]] = {}
    for resource in sample_resources():
        resource.get("meta", {}).pop("source", None)
        if not resource.get("meta", True):
            del resource["meta"]
        if resource["resourceType"] in _DIRECTORY:
            directory.append(resource)
        elif resource["resourceType"] not in _LEFT_OUT:
            patients.setdefault(_patient_of(resource), []).append(resource)
    by_size = sorted(patients.values(), key=len)
    first = (len(by_size) - BUNDLES) // 2
    chosen = by_size[first : first + BUNDLES]
    records = tuple((*record, *_consents(record[0]["id"])) for record in chosen)
    return Sample(
        _bundle([_put(one) for one in directory]),
        tuple(_bundle(_posts(record)) for record in records),
        records,
    )


def pointed(node: Any, names: Mapping[str, str]) -> Any:
    """Return a resource with its references renamed, those unknown left as they are."""
    if isinstance(node, dict):
        return {
            key: names.get(value, value)
            if key == "reference" and isinstance(value, str)
            else pointed(value, names)
            for key, value in node.items()
        }
    return [pointed(one, names) for one in node] if isinstance(node, list) else node


def _posts(record: tuple[Resource, ...]) -> Iterator[Resource]:
    names = {f"{one['resourceType']}/{one['id']}": f"urn:uuid:{one['id']}" for one in record}
    for one in record:
        kind = one["resourceType"]
        content = {key: value for key, value in pointed(one, names).items() if key != "id"}
        yield {
            "fullUrl": names[f"{kind}/{one['id']}"],
            "resource": content,
            "request": {"method": "POST", "url": kind},
        }


def _put(resource: Resource) -> Resource:
    name = f"{resource['resourceType']}/{resource['id']}"
    return {"resource": resource, "request": {"method": "PUT", "url": name}}


def _bundle(entries: Any) -> bytes:
    return orjson.dumps({"resourceType": "Bundle", "type": "transaction", "entry": list(entries)})


def _consents(patient: str) -> Iterator[Resource]:
    for one in (
        build_consent("joining", patient, {"type": "permit", "period": _ALWAYS}),
        sharing_consent(patient, READER, _ALWAYS),
    ):
        one.pop("meta", None)
        yield one


def _patient_of(resource: Resource) -> str:
    if resource["resourceType"] == "Patient":
        return str(resource["id"])
    for name in ("subject", "patient"):
        if name in resource:
            return str(resource[name]["reference"]).partition("/")[2]
    return ""
