"""Who looked is on record before the answer leaves, and tells nothing but that."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.lib.gateway import House, Session, must, observation


def events(session: Session, query: str = "") -> list[dict[str, Any]]:
    answer = must(session.get(f"AuditEvent?_count=500{query}"))
    return [entry["resource"] for entry in answer.json().get("entry", [])]


def by(events: list[dict[str, Any]], login: str) -> list[dict[str, Any]]:
    return [one for one in events if one["agent"][0]["who"]["identifier"]["value"] == login]


def references(event: dict[str, Any]) -> list[str]:
    return [
        one["what"]["reference"] for one in event["entity"] if "reference" in one.get("what", {})
    ]


def test_the_patient_sees_who_read_what(furnished: House) -> None:
    must(furnished.login("doctor.a").get("Observation/lab-1"))

    (event,) = by(events(furnished.login("p.pat-1")), "doctor.a")

    assert event["subtype"][0]["code"] == "read"
    assert event["outcome"] == "0"
    assert event["agent"][0]["who"]["display"] == "Dr A"
    organization = event["agent"][1]["who"]
    assert organization == {"reference": "Organization/hospital-a", "display": "Hospital-A"}
    assert event["purposeOfEvent"][0]["coding"][0]["code"] == "TREAT"
    assert references(event) == ["Patient/pat-1", "Observation/lab-1"]


def test_a_search_names_every_record_it_disclosed(furnished: House) -> None:
    must(furnished.login("doctor.a").get("Observation?patient=pat-1"))

    (event,) = by(events(furnished.login("p.pat-1")), "doctor.a")

    assert sorted(references(event)) == [
        "Observation/lab-1",
        "Observation/lab-2",
        "Observation/vital-1",
        "Patient/pat-1",
    ]


def test_an_answer_about_two_patients_makes_a_row_for_each(furnished: House) -> None:
    furnished.system("hospital-a").store(observation("lab-9", "laboratory", patient="pat-2"))
    must(furnished.login("doctor.a").get("Observation?code=718-7"))

    one = by(events(furnished.login("p.pat-1")), "doctor.a")
    two = by(events(furnished.login("p.pat-2")), "doctor.a")

    assert len(one) == len(two) == 1
    assert references(two[0]) == ["Patient/pat-2", "Observation/lab-9"]
    assert "Observation/lab-9" not in references(one[0])


def test_values_searched_for_are_not_in_the_log(furnished: House) -> None:
    must(furnished.login("doctor.a").get("Patient?identifier=ZA1234560&name=Chan"))

    (event,) = by(events(furnished.login("auditor"), "&agent=doctor.a"), "doctor.a")

    queries = [one["query"] for one in event["entity"] if "query" in one]
    assert [base64.b64decode(query) for query in queries] == [b"Patient?identifier&name"]
    furnished.gateway.audit_batcher.flush()
    with furnished.gateway.store.read_transaction() as connection:
        rows = str([tuple(row) for row in connection.execute("SELECT * FROM audit")])
    assert "ZA1234560" not in rows
    assert "Chan" not in rows


def test_writes_are_on_record_with_what_they_wrote(furnished: House) -> None:
    must(furnished.login("doctor.a").put(observation("lab-1", "laboratory")))
    furnished.share()
    furnished.share(status="inactive")

    found = events(furnished.login("p.pat-1"))

    assert references(by(found, "doctor.a")[0]) == ["Patient/pat-1", "Observation/lab-1"]
    assert by(found, "doctor.a")[0]["action"] == "U"
    assert references(by(found, "p.pat-1")[0]) == ["Patient/pat-1", "Consent/sharing-hospital-b"]


def test_a_refused_look_is_on_record_for_the_steward_and_the_patient(
    furnished: House,
) -> None:
    assert furnished.login("doctor.b").get("Observation/lab-1").status_code == 404

    (event,) = by(events(furnished.login("steward")), "doctor.b")

    assert event["outcome"] == "4"
    assert references(event) == ["Patient/pat-1", "Observation/lab-1"]
    assert by(events(furnished.login("p.pat-1")), "doctor.b") == [event]
    assert by(events(furnished.login("p.pat-2")), "doctor.b") == []


def test_a_write_that_failed_leaves_no_row_of_success(furnished: House) -> None:
    answer = furnished.login("doctor.a").post("Observation", {"resourceType": "Observation"})

    assert answer.status_code == 422
    (event,) = by(events(furnished.login("auditor")), "doctor.a")
    assert event["outcome"] == "4"


@pytest.mark.parametrize("login", ["doctor.a", "researcher", "admin"])
def test_the_log_is_closed_to_clinicians_researchers_and_administrators(
    furnished: House, login: str
) -> None:
    assert furnished.login(login).get("AuditEvent").status_code == 403


def test_a_patient_sees_no_other_patients_log(furnished: House) -> None:
    must(furnished.login("doctor.a").get("Observation/lab-1"))
    two = furnished.login("p.pat-2")
    (event, *_) = events(furnished.login("auditor"), "&patient=pat-1")

    assert events(two, "&patient=pat-1") == []
    assert events(two, "&patient=nobody") == []
    assert two.get(f"AuditEvent/{event['id']}").status_code == 404
    assert furnished.login("p.pat-1").get(f"AuditEvent/{event['id']}").status_code == 200


def test_the_log_pages_newest_first_without_gap_or_repeat(furnished: House) -> None:
    for _ in range(5):
        must(furnished.login("doctor.a").get("Observation/lab-1"))
    auditor = furnished.login("auditor")
    everything = [one["id"] for one in events(auditor, "&agent=doctor.a")]

    seen: list[str] = []
    address: str | None = "AuditEvent?agent=doctor.a&_count=2"
    while address:
        page = must(auditor.get(address)).json()
        seen += [entry["resource"]["id"] for entry in page.get("entry", [])]
        address = next((one["url"] for one in page["link"] if one["relation"] == "next"), None)

    assert seen == everything
    assert len(seen) == 5


def test_the_log_is_searched_by_date(furnished: House) -> None:
    must(furnished.login("doctor.a").get("Observation/lab-1"))
    auditor = furnished.login("auditor")

    for query, found in (
        ("&date=2026-11-22", 1),
        ("&date=ge2026-11-22&date=lt2026-11-23", 1),
        ("&date=gt2026-11-22", 0),
        ("&date=2026-11-21", 0),
    ):
        assert len(by(events(auditor, query), "doctor.a")) == found, query


@pytest.mark.parametrize(
    "query", ["date=yesterday", "_count=-1", "_count=x", "colour=red", "date=sa2026-11-22"]
)
def test_a_malformed_search_of_the_log_is_refused(furnished: House, query: str) -> None:
    answer = furnished.login("auditor").get(f"AuditEvent?{query}")

    assert answer.status_code == 400
    assert answer.json()["resourceType"] == "OperationOutcome"


def test_the_total_counts_what_the_requester_may_see(furnished: House) -> None:
    must(furnished.login("doctor.a").get("Observation/lab-1"))
    answer = must(furnished.login("p.pat-2").get("AuditEvent?_total=accurate&agent=doctor.a"))

    assert answer.json()["total"] == 0


def test_an_audit_event_is_valid_fhir(furnished: House) -> None:
    from ehr_fhir.validation.validate import validate

    must(furnished.login("doctor.a").get("Observation?patient=pat-1"))

    for event in events(furnished.login("auditor")):
        validate(json.loads(json.dumps(event)))


def test_logging_in_is_on_record(house: House) -> None:
    from tests.unit.gateway.test_auth import code_of, eid_login

    code_of(eid_login(house))

    (event,) = events(house.login("p.pat-1"), "&agent=p.pat-1")
    assert event["subtype"][0]["code"] == "login"


def test_nobody_writes_the_log_from_outside(furnished: House) -> None:
    platform = furnished.system("ehr-commons")
    body = {"resourceType": "AuditEvent", "id": "a"}
    entry = {"resource": body, "request": {"method": "POST", "url": "AuditEvent"}}
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [entry]}

    assert platform.post("AuditEvent", body).status_code == 405
    assert platform.put(body).status_code == 405
    assert platform.delete("AuditEvent/a").status_code == 405
    assert platform.post("/fhir", bundle).status_code == 422


def test_the_log_is_searched_by_a_form_too(furnished: House) -> None:
    must(furnished.login("doctor.a").get("Observation/lab-1"))

    answer = furnished.login("auditor").request(
        "POST", "AuditEvent/_search", data={"agent": "doctor.a"}
    )

    assert len(answer.json()["entry"]) == 1


def test_the_log_says_why_it_could_be_seen(furnished: House) -> None:
    furnished.share()
    for login in ("doctor.a", "doctor.b", "p.pat-1"):
        must(furnished.login(login).get("Observation/lab-1"))
    must(furnished.login("doctor.b").get("Organization/hospital-a"))

    found = events(furnished.login("auditor"))

    reasons = {
        (one["agent"][0]["who"]["identifier"]["value"], one["outcomeDesc"])
        for one in found
        if one["subtype"][0]["code"] == "read" and one["outcome"] == "0"
    }
    assert reasons == {
        ("doctor.a", "own-record"),
        ("doctor.b", "shared"),
        ("doctor.b", "directory"),
        ("p.pat-1", "own"),
    }
