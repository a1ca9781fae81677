"""Whose record a resource is: R4's Patient CompartmentDefinition (R4 §2.1.24), and a little more.

R4 leaves a few types that name a patient out of the compartment. A pacemaker's record is its
wearer's all the same, so they are added here. And R4 has a Patient in the compartments of those it
links to: here it is its own person's record alone, or a link would keep people from themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from ehr_fhir import definitions
from ehr_fhir.fhirpath import Walk
from ehr_fhir.references import local_target
from ehr_fhir.search_parameters import parameters_of

__all__ = ["compartment_parameters", "patient_ids_of", "patient_references_of"]


_BEYOND_R4 = {
    "Contract": ("patient",),
    "Device": ("patient",),
    "GuidanceResponse": ("patient",),
    "Task": ("patient",),
}


@cache
def compartment_parameters(resource_type: str) -> tuple[str, ...]:
    """Return the parameters that place a resource of one type in a patient's compartment.

    >>> compartment_parameters("Observation")
    ('subject', 'performer')
    """
    return tuple(_compartment().get(resource_type, _BEYOND_R4.get(resource_type, ())))


def patient_ids_of(resource: Mapping[str, Any]) -> frozenset[str]:
    """Return the ids of the patients whose record a resource belongs to.

    >>> sorted(patient_ids_of({"resourceType": "Condition", "subject": {"reference": "Patient/a"}}))
    ['a']
    """
    if resource["resourceType"] == "Patient":
        return frozenset({resource["id"]} if "id" in resource else ())
    found = set()
    for reference in patient_references_of(resource):
        named = local_target(reference)
        if named and named.type == "Patient":
            found.add(named.id)
    return frozenset(found)


def patient_references_of(resource: Mapping[str, Any]) -> Iterator[str]:
    """Yield the references that place a resource in a patient's compartment, or another's.

    >>> list(patient_references_of({"resourceType": "Flag", "subject": {"reference": "Group/g"}}))
    ['Group/g']
    """
    for path in _paths(resource["resourceType"]):
        for value in path.values(resource):
            reference = value.get("reference") if isinstance(value, dict) else None
            if isinstance(reference, str):
                yield reference


@cache
def _paths(resource_type: str) -> tuple[Walk, ...]:
    known = parameters_of(resource_type)
    codes = compartment_parameters(resource_type)
    return tuple(
        dict.fromkeys(path for code in codes if code in known for path in known[code].paths)
    )


@cache
def _compartment() -> Mapping[str, list[str]]:
    rows: Mapping[str, list[str]] = definitions.load_definition("patient-compartment.json")
    return rows
