"""A small hospital: two clinics, a patient of each, a stay, results, and who may see them."""

from __future__ import annotations

import pytest

from ehr_gateway.access import Access
from ehr_gateway.store.store import Store
from ehr_privacy.consent import Requester, parse_scopes
from tests.lib.store import NOW, actor, consent, doctor, put

# Both patients share with this organisation, and with no other.
TOP = doctor("top")
LOINC = "http://loinc.org"
_CATEGORIES = "http://terminology.hl7.org/CodeSystem/observation-category"


def observation(name: str, patient: str, code: str, **more: object) -> dict[str, object]:
    """Return a laboratory result."""
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "category": [{"coding": [{"system": _CATEGORIES, "code": "laboratory"}]}],
        "code": {"coding": [{"system": LOINC, "code": code}]},
        "subject": {"reference": f"Patient/{patient}"},
        **more,
    }


def system(organization: str) -> Access:
    """Return the access of an organisation's own system."""
    scopes = parse_scopes("system/*.cruds")
    return Access(Requester("system", organization, organization, scopes=scopes), NOW, "request")


def shared(patient: str, organization: str) -> dict[str, object]:
    """Return a sharing consent."""
    sharing = consent(patient, "sharing", type="permit", actor=[actor(organization)])
    return {**sharing, "id": f"sharing-{patient}-{organization}"}


def closed(patient: str, domain: str) -> dict[str, object]:
    """Return a restriction of a domain against `west`."""
    body = consent(patient, "restriction", type="deny", actor=[actor("west")])
    system = "https://ehr-commons.hk/fhir/CodeSystem/data-domain"
    body["provision"]["class"] = [{"system": system, "code": domain}]
    return {**body, "id": f"closed-{domain}"}


@pytest.fixture
def ward(store: Store) -> Store:
    """Two patients of two clinics of one hospital, a visit, results."""
    put(store, {"resourceType": "Organization", "id": "top", "name": "Harbour Hospital"})
    for name in ("east", "west"):
        part = {"resourceType": "Organization", "id": name, "name": f"{name} clinic"}
        put(store, {**part, "partOf": {"reference": "Organization/top"}})
    people = (("ann", "Chan", "east", "female"), ("bob", "Lee", "west", "male"))
    for name, family, clinic, gender in people:
        put(
            store,
            {
                "resourceType": "Patient",
                "id": name,
                "name": [{"family": family}],
                "gender": gender,
                "managingOrganization": {"reference": f"Organization/{clinic}"},
            },
        )
        put(store, {**consent(name, "joining"), "id": f"joining-{name}"})
        put(store, shared(name, "top"))
    put(
        store,
        {
            "resourceType": "Encounter",
            "id": "stay",
            "status": "finished",
            "class": {"code": "IMP"},
            "subject": {"reference": "Patient/ann"},
            "serviceProvider": {"reference": "Organization/east"},
        },
        system("east"),
    )
    visit = {"encounter": {"reference": "Encounter/stay"}}
    put(store, observation("a1", "ann", "1", **visit), system("east"))
    put(store, observation("a2", "ann", "2"), system("east"))
    put(store, observation("b1", "bob", "1"), system("west"))
    return store
