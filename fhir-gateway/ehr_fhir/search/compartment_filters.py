"""Compartments as filters: what belongs to a patient, encounter, practitioner, carer or device."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from ehr_fhir import definitions
from ehr_fhir.compartments import compartment_parameters
from ehr_fhir.errors import NotFound
from ehr_fhir.search.filters import AnyOf, Clause, Filter, InCompartment, served_parameter
from ehr_fhir.search.value_parser import SearchValue
from ehr_fhir.search_parameters import parameters_of

__all__ = ["COMPARTMENTS", "compartment_filter", "compartment_references", "compartment_types"]

COMPARTMENTS = ("Device", "Encounter", "Patient", "Practitioner", "RelatedPerson")
# In a definition: the resource that the compartment is of.
_ITSELF = "{def}"


def compartment_filter(owner: str, identity: str, resource_type: str) -> Filter:
    """Return the filter for one type in the compartment of one resource.

    A patient's is the record that consent is judged by: R4's compartment and a little more.
    """
    if owner == "Patient":
        return InCompartment(identity)
    codes = _compartments()[owner].get(resource_type, ())
    if not codes:
        raise NotFound(f"{resource_type} has no place in the compartment of {owner}.")
    groups: list[tuple[Filter, ...]] = []
    for code in codes:
        if code == _ITSELF:
            value = SearchValue(code=identity)
            groups.append((Clause(served_parameter(resource_type, "_id"), None, (value,)),))
        elif code in parameters_of(resource_type):
            value = SearchValue(system=owner, code=identity)
            groups.append((Clause(served_parameter(resource_type, code), None, (value,)),))
    return AnyOf(tuple(groups))


def compartment_types(owner: str) -> list[str]:
    """Return the types that have a place in a compartment.

    >>> compartment_types("Encounter")[:2]
    ['CarePlan', 'CareTeam']
    """
    if owner != "Patient":
        return sorted(_compartments()[owner])
    types = definitions.resource_types() - {"AuditEvent"}
    return sorted(kind for kind in types if kind == owner or compartment_parameters(kind))


def compartment_references(owner: str) -> list[tuple[str, str]]:
    """Return the parameters, by type and code, that place a resource in a compartment.

    >>> compartment_references("Encounter")[:2]
    [('CarePlan', 'encounter'), ('CareTeam', 'encounter')]
    """
    return [
        (kind, code)
        for kind, codes in sorted(_compartments()[owner].items())
        for code in codes
        if code != _ITSELF and code in parameters_of(kind)
    ]


@cache
def _compartments() -> Mapping[str, Mapping[str, list[str]]]:
    rows: Mapping[str, Mapping[str, list[str]]] = definitions.load_definition("compartments.json")
    return {
        owner: {kind: codes for kind, codes in kinds.items() if kind != "AuditEvent"}
        for owner, kinds in rows.items()
    }
