"""What de-identification knows of the person a record is about, beside the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ehr_fhir.references import local_target
from ehr_privacy.erasure import ERASED

__all__ = ["NOBODY_KNOWN", "People", "Person", "find_patient", "find_survivor"]

_WHOSE = ("subject", "patient", "beneficiary")


@dataclass(frozen=True, slots=True)
class Person:
    """A person by the Patient that stands for them, which is another than named after a merge."""

    account: str
    birth_date: str | None = None


@dataclass(frozen=True)
class People:
    """The people whom the records of a batch are about, by the id of each of their Patients."""

    by_id: Mapping[str, Person] = field(default_factory=dict)

    @cached_property
    def merged_references(self) -> Mapping[str, str]:
        """Return `Patient/id` of each merged Patient -> that of the one that took its place."""
        return {
            f"Patient/{patient}": f"Patient/{person.account}"
            for patient, person in self.by_id.items()
            if person.account != patient
        }

    def find(self, patient: str) -> Person:
        """Return the person of a Patient; of one who is not known, the Patient alone."""
        return self.by_id.get(patient) or Person(patient)


NOBODY_KNOWN = People()


def find_survivor(patient: Mapping[str, Any]) -> str | None:
    """Return the id of the Patient that took a merged one's place; None if none did.

    An account whose survivor was erased stands for itself again.

    >>> find_survivor({"link": [{"type": "replaced-by", "other": {"reference": "Patient/b"}}]})
    'b'
    >>> find_survivor({"link": [{"type": "replaced-by", "other": {"display": "Erased record"}}]})
    """
    for link in _list_items(patient.get("link")):
        if not isinstance(link, dict) or link.get("type") != "replaced-by":
            continue
        other = link.get("other")
        if other == {"display": ERASED}:
            continue
        target = local_target(str(other.get("reference", ""))) if isinstance(other, dict) else None
        # A merge into somebody who cannot be found is one all the same.
        return target.id if target is not None and target.type == "Patient" else ""
    return None


def find_patient(resource: Mapping[str, Any]) -> str | None:
    """Return the patient whose shift moves a resource's dates; None where none is named."""
    if resource.get("resourceType") == "Patient":
        patient = resource.get("id")
        return patient if isinstance(patient, str) else None
    candidates = [resource.get(name) for name in _WHOSE]
    if resource.get("resourceType") == "Provenance":
        candidates += _list_items(resource.get("target"))
    if resource.get("resourceType") == "Appointment":
        candidates += [
            participant.get("actor")
            for participant in _list_items(resource.get("participant"))
            if isinstance(participant, dict)
        ]
    for candidate in candidates:
        reference = candidate.get("reference") if isinstance(candidate, dict) else None
        if isinstance(reference, str) and reference.startswith("Patient/"):
            return reference.split("/")[1]
    return None


def _list_items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
