"""Parts that the sample's own records share: references, codings, ids fixed by a key."""

from __future__ import annotations

import uuid
from typing import Any

from ehr_cli.sample.hong_kong import SYSTEM, Name, read_setting
from ehr_cli.sample.rewrite import NAMESPACE, organization_row, with_source

Resource = dict[str, Any]

TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
LOINC = "http://loinc.org"
ACT_CODE = f"{TERMINOLOGY}/v3-ActCode"
# The levels of consciousness that NEWS2 asks for; a CodeSystem of the sample.
CONSCIOUSNESS = f"{SYSTEM}/fhir/CodeSystem/consciousness"
# Decisions of a clinician that change how something is read.
DECISION = f"{SYSTEM}/fhir/CodeSystem/clinical-decision"


def build(
    resource_type: str, key: str, organization: str, elements: Resource, patient: str = ""
) -> Resource:
    """Return a resource whose id follows from a key, marked with its author."""
    head = {
        "resourceType": resource_type,
        "id": str(uuid.uuid5(NAMESPACE, f"{resource_type}|{key}")),
    }
    subject = {"subject": {"reference": f"Patient/{patient}"}} if patient else {}
    return with_source({**head, **subject, **elements}, organization)


def reference_to(resource: Resource) -> Resource:
    """Return a reference to a resource."""
    return {"reference": f"{resource['resourceType']}/{resource['id']}"}


def build_concept(system: str, code: str, display: str) -> Resource:
    """Return a CodeableConcept of one coding."""
    return {"coding": [{"system": system, "code": code, "display": display}], "text": display}


def staff_reference(person: str) -> Resource:
    """Return a reference to a member of staff, named in both scripts."""
    row = next(r for r in read_setting()["staff"] if r["login"].replace(".", "-") == person)
    title = "Dr " if row.get("profession") == "doctor" else ""
    return {
        "reference": f"Practitioner/{person}",
        "display": f"{title}{Name(*row['name'], *row['name_zh']).both}",
    }


def organization_reference(organization: str) -> Resource:
    """Return a reference to an organisation."""
    return {
        "reference": f"Organization/{organization}",
        "display": organization_row(organization)["name"],
    }
