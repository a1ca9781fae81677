"""AuditEvents follow IHE's Basic Audit Log Patterns where these say anything, else our profiles.

What the patterns demand is written down here from the published profiles (BALP 1.1.4, R4).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from ehr_fhir.validation.validate import validate
from tests.lib.gateway import House, Session, condition, must, observation

_TERMS = "http://terminology.hl7.org/CodeSystem"
_DICOM = "http://dicom.nema.org/resources/ontology/DCM"
_BALP = "https://profiles.ihe.net/ITI/BALP"
SOURCE, DESTINATION = (_DICOM, "110153"), (_DICOM, "110152")
RECIPIENT = (f"{_TERMS}/v3-ParticipationType", "IRCP")
AUTHORS = {(f"{_TERMS}/v3-ParticipationType", code) for code in ("AUT", "INF", "CST")}
PERSON, OBJECT = (f"{_TERMS}/audit-entity-type", "1"), (f"{_TERMS}/audit-entity-type", "2")


@dataclass(frozen=True)
class Pattern:
    """What one of the patterns fixes."""

    action: str
    subtypes: frozenset[str]
    client: tuple[str, str]
    server: tuple[str, str]
    users: frozenset[tuple[str, str]]
    query: bool = False


_READER, _WRITER = frozenset({RECIPIENT}), frozenset(AUTHORS)
PATTERNS: Mapping[str, Pattern] = {
    "Read": Pattern("R", frozenset({"read", "vread"}), DESTINATION, SOURCE, _READER),
    "Query": Pattern(
        "E", frozenset({"search-type", "search-system"}), SOURCE, DESTINATION, _READER, True
    ),
    "Create": Pattern("C", frozenset({"create"}), SOURCE, DESTINATION, _WRITER),
    "Update": Pattern("U", frozenset({"update", "patch"}), SOURCE, DESTINATION, _WRITER),
    "Delete": Pattern("D", frozenset({"delete"}), SOURCE, DESTINATION, _WRITER),
}


def codes(concept: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {(one["system"], one["code"]) for one in concept.get("coding", [concept])}


def of_type(things: Iterable[dict[str, Any]], *types: tuple[str, str]) -> list[dict[str, Any]]:
    return [one for one in things if "type" in one and codes(one["type"]) & set(types)]


def follows(event: dict[str, Any], name: str) -> None:
    """Hold an event against a pattern."""
    pattern = PATTERNS[name.removeprefix("Patient")]
    assert codes(event["type"]) == {(f"{_TERMS}/audit-event-type", "rest")}
    assert {one["code"] for one in event["subtype"]} <= pattern.subtypes
    assert (event["action"], event["outcome"]) == (pattern.action, "0")
    assert event["recorded"]
    assert event["source"]["observer"]
    (client,) = of_type(event["agent"], pattern.client)
    (server,) = of_type(event["agent"], pattern.server)
    for machine in (client, server):
        assert machine["who"]
        assert machine["network"]["address"]
        assert "media" not in machine
    (user,) = of_type(event["agent"], *pattern.users)
    assert user["requestor"] is True
    assert user["who"]["identifier"]["value"]
    assert user["purposeOfUse"]
    assert "network" not in user
    objects = of_type(event["entity"], OBJECT)
    assert len(objects) == 1
    if pattern.query:
        assert codes(objects[0]["role"]) == {(f"{_TERMS}/object-role", "24")}
        assert objects[0]["query"]
        assert not {"what", "detail", "lifecycle"} & set(objects[0])
    else:
        assert codes(objects[0]["role"]) == {(f"{_TERMS}/object-role", "4")}
        assert objects[0]["what"]["reference"]
    (request,) = of_type(
        event["entity"], (f"{_BALP}/CodeSystem/BasicAuditEntityType", "XrequestId")
    )
    assert request["what"]["identifier"]["value"]
    patients = of_type(event["entity"], PERSON)
    assert len(patients) == name.startswith("Patient")
    for patient in patients:
        assert codes(patient["role"]) == {(f"{_TERMS}/object-role", "1")}
        assert patient["what"]["reference"].startswith("Patient/")


def events(session: Session, query: str = "") -> list[dict[str, Any]]:
    answer = must(session.get(f"AuditEvent?_count=500{query}"))
    return [entry["resource"] for entry in answer.json().get("entry", [])]


@pytest.fixture
def busy(furnished: House) -> House:
    """Return a house in which every kind of thing was done."""
    furnished.share("hospital-a")
    doctor = furnished.login("doctor.a")
    made = must(doctor.post("Observation", without_id(observation("x", "laboratory"))))
    address = f"Observation/{made.json()['id']}"
    must(doctor.put({**made.json(), "status": "amended"}))
    must(doctor.get(address))
    must(doctor.get(f"{address}/_history/1"))
    must(doctor.get(f"{address}/_history"))
    must(doctor.get("Observation?patient=pat-1"))
    must(doctor.get("Patient/pat-1"))
    must(doctor.get("Organization/hospital-a"))
    must(doctor.get("Organization?name=Hospital"))
    must(doctor.get("Condition?code=none"))
    patch = [{"op": "replace", "path": "/status", "value": "final"}]
    must(
        doctor.request(
            "PATCH", address, json=patch, headers={"Content-Type": "application/json-patch+json"}
        )
    )
    must(doctor.delete(address))
    entry = {
        "request": {"method": "POST", "url": "Observation"},
        "resource": without_id(observation("y", "laboratory")),
    }
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [entry]}
    must(doctor.post("/fhir", bundle))
    assert doctor.get("Observation/none").status_code == 404
    assert doctor.get("AuditEvent").status_code == 403
    return furnished


def without_id(resource: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in resource.items() if name != "id"}


def test_every_event_is_sound_fhir(busy: House) -> None:
    found = events(busy.login("auditor"))

    assert len(found) > 12
    for event in found:
        validate(event)


def test_reads_searches_and_writes_follow_the_patterns_they_name(busy: House) -> None:
    seen = set()
    for event in events(busy.login("auditor"), "&agent=doctor.a"):
        (profile,) = event["meta"]["profile"]
        if profile.startswith(_BALP):
            name = profile.rpartition(".")[2]
            follows(event, name)
            seen.add(name)

    assert seen == {
        "PatientRead", "Read", "PatientQuery", "Query", "PatientCreate", "PatientUpdate",
        "PatientDelete",
    }  # fmt: skip


def test_what_the_patterns_leave_open_follows_ours(busy: House) -> None:
    found = {
        (event["subtype"][0]["code"], event["meta"]["profile"][0].rpartition("/")[2])
        for event in events(busy.login("auditor"), "&agent=doctor.a")
        if not event["meta"]["profile"][0].startswith(_BALP)
    }

    assert found == {
        ("patch", "audit-operation"),
        ("batch", "audit-operation"),
        ("history-instance", "audit-operation"),
        ("read", "audit-refusal"),
        ("search-type", "audit-refusal"),
    }


def test_an_event_tells_the_data_domains_that_were_disclosed(furnished: House) -> None:
    furnished.system("hospital-a").store(condition("con-9", "enc-1"))
    doctor = furnished.login("doctor.a")
    must(doctor.get("Encounter?patient=pat-1&_revinclude=Condition:encounter"))

    (event,) = events(furnished.login("p.pat-1"), "&agent=doctor.a")

    (patient,) = of_type(event["entity"], PERSON)
    assert {one["valueString"] for one in patient["detail"]} == {"diagnosis", "encounter"}
    for domain, number in (("diagnosis", 1), ("encounter", 1), ("counter", 0), ("laboratory", 0)):
        assert len(events(furnished.login("p.pat-1"), f"&domain={domain}")) == number, domain


def test_events_are_searched_by_organisation_reason_and_kind(furnished: House) -> None:
    furnished.share()
    for login in ("doctor.a", "doctor.b"):
        must(furnished.login(login).get("Observation/lab-1"))
    patient = furnished.login("p.pat-1")

    def found(query: str) -> set[str]:
        return {one["agent"][0]["altId"] for one in events(patient, query)} - {"p.pat-1"}

    assert found("&agent=Organization/hospital-b") == {"doctor.b"}
    assert found("&reason=own-record&subtype=read") == {"doctor.a"}
    assert found("&reason=shared&outcome=0") == {"doctor.b"}
    # Who asks for the record before it is there is on record, too.
    assert found("&outcome=4") == {"system-ehr-commons"}
