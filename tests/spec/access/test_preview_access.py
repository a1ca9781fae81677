"""$preview-access: what it says will be seen is what is seen once the choice is saved."""

from __future__ import annotations

from base64 import b64decode
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from tests.lib.gateway import House, Session, consent, must, observation, patient, restriction
from tests.spec.access.steps import carer, named

ASKED = "Patient/pat-1/$preview-access"
TYPES = ("Patient", "Encounter", "Condition", "Observation", "ImagingStudy")
B = "Organization/hospital-b"
ROLE = {
    "coding": [
        {"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP"}
    ]
}
ACTOR = {"role": ROLE, "reference": {"reference": B}}


def preview(
    session: Session, *consents: Mapping[str, Any], organization: str = "hospital-b", **more: str
) -> Any:
    """Ask for a preview."""
    parameters: list[dict[str, Any]] = [{"name": "organization", "valueString": organization}]
    parameters += [{"name": name, "valueString": value} for name, value in more.items()]
    parameters += [{"name": "consent", "resource": resource} for resource in consents]
    return session.post(ASKED, {"resourceType": "Parameters", "parameter": parameters})


def counts(answer: Any, part: str) -> dict[str, int]:
    """Return how many records of each domain are seen, where there are any."""
    found = {one["code"][0]: one[part][0] for one in named(answer).get("domain", [])}
    return {domain: number for domain, number in found.items() if number}


def seen_by(house: House, login: str) -> dict[str, int]:
    """Count what a clinician finds, by domain."""
    domains = {
        "Patient": "person", "Encounter": "encounter", "Condition": "diagnosis",
        "ImagingStudy": "radiology",
    }  # fmt: skip
    seen: Counter[str] = Counter()
    for resource_type in TYPES:
        key = "_id" if resource_type == "Patient" else "patient"
        bundle = must(house.login(login).get(f"{resource_type}?{key}=pat-1")).json()
        for entry in bundle.get("entry", []):
            resource = entry["resource"]
            if resource["resourceType"] == "Observation":
                code = resource["category"][0]["coding"][0]["code"]
                seen["laboratory" if code == "laboratory" else "observation"] += 1
            else:
                seen[domains[resource_type]] += 1
    return dict(seen)


def sharing(status: str = "active", **provision: Any) -> dict[str, Any]:
    return consent(
        "sharing-hospital-b",
        "sharing",
        status=status,
        provision={"type": "permit", "actor": [ACTOR], **provision},
    )


def without_id(resource: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in resource.items() if key != "id"}


HIV = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}
PROFESSION = {
    "role": ROLE,
    "reference": {
        "identifier": {
            "system": "https://ehr-commons.hk/fhir/CodeSystem/profession",
            "value": "pharmacist",
        }
    },
}
EPISODE = [{"meaning": "related", "reference": {"reference": "Encounter/enc-1"}}]
# Each is one choice; with an id it changes what is stored.
CHOICES: dict[str, dict[str, Any]] = {
    "one kind, to everyone": without_id(restriction("x", domain="laboratory")),
    "one kind, to the hospital": without_id(restriction("x", domain="laboratory", against=B)),
    "one kind, to another": without_id(
        restriction("x", domain="laboratory", against="Organization/hospital-a")
    ),
    "one record": without_id(restriction("x", record="Observation/lab-2")),
    "a visit": without_id(restriction("x", data=EPISODE)),
    "a period": without_id(restriction("x", dataPeriod={"start": "2026-01-06"})),
    "a label": without_id(restriction("x", securityLabel=[HIV])),
    "a profession": without_id(restriction("x", actor=[PROFESSION])),
    "all but the hospital": without_id(
        restriction("x", domain="laboratory", provision=[{"type": "permit", "actor": [ACTOR]}])
    ),
    "not yet": without_id(restriction("x", domain="laboratory", period={"start": "2027-01-01"})),
    "the sharing ends": sharing("inactive"),
    "the sharing ended before": sharing(period={"end": "2026-01-01"}),
    "what was closed opens": restriction("closed", domain="observation", against=B)
    | {"status": "inactive"},
    "the account closes": consent("joining-1", "joining", status="inactive"),
}


def furnish(house: House) -> None:
    labelled = observation("hiv-1", "laboratory") | {"meta": {"security": [HIV]}}
    house.system("hospital-a").store(labelled)
    house.system("hospital-b").store(observation("own-1", "laboratory"))
    house.share()
    house.login("p.pat-1").store(restriction("closed", domain="observation", against=B))


@pytest.mark.parametrize("choice", CHOICES)
def test_the_preview_is_what_is_seen_once_the_choice_is_saved(
    furnished: House, choice: str
) -> None:
    furnish(furnished)
    patient_one = furnished.login("p.pat-1")
    before = {login: seen_by(furnished, login) for login in ("doctor.b", "pharmacist.b")}

    told = {
        "doctor.b": preview(patient_one, CHOICES[choice]),
        "pharmacist.b": preview(patient_one, CHOICES[choice], profession="pharmacist"),
    }
    unchanged = {login: seen_by(furnished, login) for login in told}
    resource = CHOICES[choice]
    must(patient_one.put(resource) if "id" in resource else patient_one.post("Consent", resource))

    assert unchanged == before
    for login, answer in told.items():
        assert counts(answer, "now") == before[login]
        assert counts(answer, "after") == seen_by(furnished, login), login


def test_several_choices_are_weighed_together(furnished: House) -> None:
    patient_one = furnished.login("p.pat-1")
    closes = without_id(restriction("x", domain="laboratory"))

    answer = preview(patient_one, without_id(sharing()), closes)

    assert counts(answer, "now") == {}
    assert counts(answer, "after") == {
        "person": 1, "encounter": 1, "diagnosis": 1, "observation": 1
    }  # fmt: skip


def test_what_the_hospital_wrote_is_counted_apart(furnished: House) -> None:
    furnish(furnished)

    answer = preview(furnished.login("p.pat-1"), sharing("inactive"))

    assert counts(answer, "own") == counts(answer, "after") == {"laboratory": 1}


def test_a_choice_of_a_linked_account_closes_this_one(furnished: House) -> None:
    furnish(furnished)
    link = {"other": {"reference": "Patient/pat-1"}, "type": "replaces"}
    twin = patient("pat-3", "ZC1234566") | {"link": [link]}
    furnished.system("ehr-commons").store(twin)
    closes = without_id(restriction("x", domain="laboratory", against=B))
    patient_one = furnished.login("p.pat-1")

    told = preview(patient_one, closes)
    must(patient_one.post("Consent", closes))

    assert counts(told, "after") == seen_by(furnished, "doctor.b")


def test_who_may_not_decide_learns_nothing(furnished: House) -> None:
    viewer = carer(furnished, "carer.1", power="view")
    manager = carer(furnished, "carer.2", power="both", domain="laboratory")
    furnished.share()
    must(viewer.get("Observation/lab-1"))

    for login in ("p.pat-2", "doctor.a", "doctor.b", "steward"):
        answer = preview(furnished.login(login))
        absent = furnished.login(login).post(
            "Patient/nobody/$preview-access",
            {"resourceType": "Parameters", "parameter": [
                {"name": "organization", "valueString": "hospital-b"}
            ]},
        )  # fmt: skip
        assert (answer.status_code, answer.json()["issue"]) == (404, absent.json()["issue"]), login
    assert preview(viewer).status_code == 404
    # Who decides learns of no more than they see.
    assert "laboratory" not in counts(preview(manager), "now")
    assert counts(preview(manager), "now")["diagnosis"] == 1


def test_only_choices_of_this_patient_are_previewed(furnished: House) -> None:
    patient_one = furnished.login("p.pat-1")
    other = without_id(restriction("x", domain="laboratory"))
    other["patient"] = {"reference": "Patient/pat-2"}
    held = consent(
        "x",
        "carer",
        provision={"type": "permit", "actor": [PROFESSION]},
    )

    assert preview(patient_one, other).status_code == 422
    assert preview(patient_one, consent("joining-2", "joining")).status_code == 404
    assert preview(patient_one, without_id(held)).status_code == 422
    assert preview(patient_one, {"resourceType": "Patient"}).status_code == 422
    assert preview(patient_one, profession="sorcerer").status_code == 422


def test_a_preview_is_on_record_about_the_patient(furnished: House) -> None:
    must(preview(furnished.login("p.pat-1")))

    events = must(furnished.login("p.pat-1").get("AuditEvent?patient=pat-1")).json()["entry"]
    queries = [
        b64decode(entity["query"]).decode()
        for event in events
        for entity in event["resource"]["entity"]
        if "query" in entity
    ]
    assert "$preview-access" in queries
