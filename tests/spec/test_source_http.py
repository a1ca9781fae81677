"""`meta.source` is the server's word on who wrote a record, however it comes (both databases)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lib.gateway import House, condition, must, observation

BASE = "https://ehr-commons.hk"
OWN = f"{BASE}/organization/hospital-a"
FOREIGN = {
    "nothing": (None, OWN),
    "its organisation": (OWN, OWN),
    "its laboratory": ("http://lis.hospital-a.example/7#b", f"{OWN}#http://lis.hospital-a.example/7%23b"),
    "a program of another": (f"{BASE}/client/portal", OWN),
    "what only looks like it": (f"{BASE}/organization", f"{OWN}#{BASE}/organization"),
    "another address": ("https://evil.example/organization/hospital-b",
                        f"{OWN}#https://evil.example/organization/hospital-b"),
}  # fmt: skip


def record(source: str | None, name: str = "src-1") -> dict[str, Any]:
    made = condition(name, "enc-1")
    return made if source is None else {**made, "meta": {"source": source}}


@pytest.mark.sampled
@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("way", ["create", "update", "patch", "transaction", "batch"])
def test_a_record_names_its_author_whatever_was_sent(furnished: House, kind: str, way: str) -> None:
    hospital, (sent, expected) = furnished.system("hospital-a"), FOREIGN[kind]
    body = {key: value for key, value in record(sent).items() if key != "id"}
    if way == "create":
        stored = must(hospital.post("Condition", body)).json()
    elif way == "update":
        stored = must(hospital.put({**record(sent), "id": "con-1"})).json()
    elif way == "patch":
        patch = [{"op": "add", "path": "/meta", "value": {"source": sent or ""}}]
        if not sent:
            patch = [{"op": "remove", "path": "/meta/source"}]
        answer = hospital.request(
            "PATCH", "Condition/con-1", json=patch,
            headers={"Content-Type": "application/json-patch+json"},
        )  # fmt: skip
        stored = must(answer).json()
    else:
        entry = {"resource": body, "request": {"method": "POST", "url": "Condition"}}
        bundle = {"resourceType": "Bundle", "type": way, "entry": [entry]}
        place = must(hospital.post("", bundle)).json()["entry"][0]["response"]["location"]
        stored = must(hospital.get("/".join(place.split("/")[-4:-2]))).json()

    assert stored["meta"]["source"] == expected
    read = must(hospital.get(f"Condition/{stored['id']}")).json()
    assert read["meta"]["source"] == expected
    # What was read is written back as it is.
    again = must(hospital.put(read)).json()
    assert again["meta"]["source"] == expected


def test_another_organisation_is_refused(furnished: House) -> None:
    hospital = furnished.system("hospital-a")
    for source in (f"{BASE}/organization/hospital-b", f"{BASE}/organization/hospital-b#lis"):
        answer = hospital.post("Condition", {**record(source), "id": None})
        body = {key: value for key, value in record(source).items() if key != "id"}
        answer = hospital.post("Condition", body)
        assert answer.status_code == 422
        assert "meta.source" in answer.text


def test_the_author_stays_when_another_changes_the_record(furnished: House) -> None:
    stored = must(furnished.system("hospital-a").get("Condition/con-1")).json()

    changed = must(furnished.system("ehr-commons").put({**stored, "code": {"text": "x"}})).json()

    assert changed["meta"]["source"] == OWN


def test_what_a_patient_enters_names_the_program_and_no_person(furnished: House) -> None:
    own = {"reference": "Patient/pat-1"}
    entry = {
        **observation("own-1", "vital-signs"),
        "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/"
                                            "observation-category", "code": "vital-signs"}]}],
        "performer": [own],
        "effectiveDateTime": "2026-11-22T07:00:00+08:00",
        "valueQuantity": {"value": 60, "unit": "kg", "system": "http://unitsofmeasure.org",
                          "code": "kg"},
    }  # fmt: skip
    del entry["id"]
    patient = furnished.login("p.pat-1")
    for source in (None, f"{BASE}/client/another"):
        meta = {"meta": {"source": source}} if source else {}
        stored = must(patient.post("Observation", {**entry, **meta})).json()
        assert stored["meta"]["source"] == f"{BASE}/client/test"
    for source in (OWN, "https://elsewhere.example/x", f"{BASE}/client/a#words of my own"):
        answer = patient.post("Observation", {**entry, "meta": {"source": source}})
        assert answer.status_code == 422, source
    # As it was read, it is corrected.
    assert must(patient.put({**stored, "status": "entered-in-error"})).status_code == 200


def test_it_is_searched_by_what_is_stored(furnished: House) -> None:
    furnished.system("hospital-a").store(record("urn:lis:7"))

    found = furnished.system("hospital-a").ids(f"Condition?_source={OWN}%23urn:lis:7")

    assert found == ["Condition/src-1"]
    assert "Condition/con-1" in furnished.system("hospital-a").ids(f"Condition?_source={OWN}")
