"""A patient closes a kind of record or a subject: what may be of it is closed, however coded."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lib.gateway import House, restriction

Json = dict[str, Any]

ACT = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
LABORATORY: dict[str, Json] = {
    "category of HL7 v2": {
        "resourceType": "Observation",
        "category": [{"coding": [
            {"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "LAB"}]}],
        "code": {"text": "x"},
    },
    "category by OID": {
        "resourceType": "Observation",
        "category": [{"coding": [{"system": "urn:oid:2.16.840.1.113883.12.74", "code": "CH"}]}],
        "code": {"text": "x"},
    },
    "LOINC without category": {
        "resourceType": "Observation",
        "code": {"coding": [{"system": "http://loinc.org", "code": "2339-0"}]},
    },
    "nothing but words": {"resourceType": "Observation", "code": {"text": "Glucose"}},
    "document by type": {
        "resourceType": "DocumentReference",
        "status": "current",
        "type": {"coding": [{"system": "http://loinc.org", "code": "11502-2"}]},
        "content": [{"attachment": {"url": "https://example.org/x"}}],
    },
    "document without type": {
        "resourceType": "DocumentReference",
        "status": "current",
        "content": [{"attachment": {"url": "https://example.org/x"}}],
    },
    "request without category": {
        "resourceType": "ServiceRequest", "status": "active", "intent": "order",
    },
}  # fmt: skip
PSYCHIATRY: dict[str, Json] = {
    "code without a system": {
        "resourceType": "Condition", "code": {"coding": [{"code": "F32.9"}]},
    },
    "ICD-10 by OID, without the dot": {
        "resourceType": "Condition",
        "code": {"coding": [{"system": "urn:oid:2.16.840.1.113883.6.90", "code": "f329"}]},
    },
    "label MH": {
        "resourceType": "Condition",
        "code": {"text": "x"},
        "meta": {"security": [{"system": ACT, "code": "MH"}]},
    },
    "label of an older URL": {
        "resourceType": "Condition",
        "code": {"text": "x"},
        "meta": {"security": [{"system": "http://hl7.org/fhir/v3/ActCode", "code": "PSY"}]},
    },
    "label of another system": {
        "resourceType": "Condition",
        "code": {"text": "x"},
        "meta": {"security": [{"system": "https://hospital.example", "code": "private"}]},
    },
}  # fmt: skip


def store(house: House, body: Json) -> str:
    status = {"status": "final"} if body["resourceType"] == "Observation" else {}
    subject = {"reference": "Patient/pat-1"}
    house.system("hospital-a").store({**status, **body, "id": "one", "subject": subject})
    return f"{body['resourceType']}/one"


@pytest.mark.parametrize("body", LABORATORY.values(), ids=LABORATORY)
def test_what_may_be_of_the_laboratory_is_closed_with_it(furnished: House, body: Json) -> None:
    furnished.share()
    address = store(furnished, body)
    doctor = furnished.login("doctor.b")
    assert doctor.get(address).status_code == 200

    furnished.login("p.pat-1").store(restriction("close-1", domain="laboratory"))

    assert doctor.get(address).status_code == 404
    assert address not in doctor.ids(f"{body['resourceType']}?patient=pat-1")


@pytest.mark.parametrize("body", PSYCHIATRY.values(), ids=PSYCHIATRY)
def test_what_may_be_psychiatric_is_closed_with_it(furnished: House, body: Json) -> None:
    furnished.share()
    address = store(furnished, body)
    doctor = furnished.login("doctor.b")
    assert doctor.get(address).status_code == 200

    label = [{"system": ACT, "code": "PSY"}]
    furnished.login("p.pat-1").store(restriction("close-1", securityLabel=label))

    assert doctor.get(address).status_code == 404
    assert address not in doctor.ids("Condition?patient=pat-1")
