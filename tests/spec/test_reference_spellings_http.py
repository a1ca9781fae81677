"""A reference to this server's record by the server's own address, in every spelling of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lib.gateway import House, must, restriction

HIV = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}
ADDRESSES = (
    "",
    "http://testserver/fhir/",
    "http://TestServer/fhir/",
    "http://testserver:80/fhir/",
    "https://testserver/fhir/",
    "https://testserver:443/fhir/",
    "http://somebody@testserver/fhir/",
)


@pytest.mark.parametrize("version", ["", "/_history/1"])
@pytest.mark.parametrize("address", ADDRESSES)
def test_it_names_the_patient_and_what_closes_the_record(
    furnished: House, address: str, version: str
) -> None:
    furnished.share()
    limit = restriction("hides", against="Organization/hospital-b", securityLabel=[HIV])
    furnished.login("p.pat-1").store(limit)
    drug = {"resourceType": "Medication", "id": "drug", "meta": {"security": [HIV]}}
    furnished.system("hospital-a").store(drug)
    author, other = furnished.login("doctor.a"), furnished.login("doctor.b")
    order: dict[str, Any] = {
        "resourceType": "MedicationRequest", "status": "active", "intent": "order",
        "subject": {"reference": f"{address}Patient/pat-1{version}"},
    }  # fmt: skip
    plain = {**order, "medicationCodeableConcept": {"text": "aspirin"}}
    closed = {**order, "medicationReference": {"reference": f"{address}Medication/drug{version}"}}

    ids = [must(author.post("MedicationRequest", body)).json()["id"] for body in (plain, closed)]

    assert [other.get(f"MedicationRequest/{name}").status_code for name in ids] == [200, 404]
    found = author.ids(f"MedicationRequest?subject={address}Patient/pat-1")
    assert {*found} == {f"MedicationRequest/{name}" for name in ids}
    by_drug = author.ids(f"MedicationRequest?medication={address}Medication/drug")
    assert by_drug == [f"MedicationRequest/{ids[1]}"]


def test_another_servers_address_is_anothers(furnished: House) -> None:
    furnished.share()
    author, other = furnished.login("doctor.a"), furnished.login("doctor.b")
    for address in ("http://testserver:8080/fhir/", "http://testserver.org/fhir/"):
        body = {
            "resourceType": "Condition", "code": {"text": "asthma"},
            "subject": {"reference": f"{address}Patient/pat-1"},
        }  # fmt: skip
        stored = must(author.post("Condition", body)).json()

        assert stored["subject"] == body["subject"]
        assert other.get(f"Condition/{stored['id']}").status_code == 404
