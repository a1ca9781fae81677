"""`$document`, `$docref`, `$lastn` and `$meta`, as consent lets each caller see what they tell."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lib.gateway import House, Session, must, observation, restriction

LATER = "2026-02-01T09:00:00+08:00"


def composition(*entries: str) -> dict[str, Any]:
    return {
        "resourceType": "Composition",
        "id": "doc",
        "status": "final",
        "type": {"coding": [{"system": "http://loinc.org", "code": "11488-4"}]},
        "subject": {"reference": "Patient/pat-1"},
        "date": "2026-01-10",
        "author": [{"reference": "Organization/hospital-a"}],
        "title": "Letter",
        "section": [{"title": "Results", "entry": [{"reference": entry} for entry in entries]}],
    }


def document_reference(name: str, day: str, code: str = "18842-5") -> dict[str, Any]:
    return {
        "resourceType": "DocumentReference",
        "id": name,
        "status": "current",
        "type": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "subject": {"reference": "Patient/pat-1"},
        "date": f"{day}T00:00:00+08:00",
        "content": [{"attachment": {"title": name}}],
    }


def listed(session: Session, address: str) -> list[str]:
    bundle = must(session.get(address)).json()
    return [
        f"{one['resource']['resourceType']}/{one['resource']['id']}"
        for one in bundle.get("entry", ())
    ]


def test_a_document_holds_what_its_composition_names_and_the_caller_may_read(
    furnished: House,
) -> None:
    furnished.share()
    furnished.system("hospital-a").store(composition("Observation/lab-1", "Observation/vital-1"))
    doctor, address = furnished.login("doctor.b"), "Composition/doc/$document"

    assert listed(doctor, address) == [
        "Composition/doc", "Patient/pat-1", "Organization/hospital-a", "Observation/lab-1",
        "Observation/vital-1",
    ]  # fmt: skip
    body = must(doctor.get(address)).json()
    assert (body["type"], body["timestamp"]) == ("document", "2026-11-22T08:00:00.000Z")
    assert body["identifier"]["value"].startswith("urn:uuid:")
    # A token that covers less leaves out what it does not cover.
    some = furnished.login("p.pat-1", "patient/Composition.rs patient/Patient.rs")
    assert listed(some, address) == ["Composition/doc", "Patient/pat-1"]
    # What repeats other records is withheld whole when the patient closes any.
    furnished.login("p.pat-1").store(
        restriction("close-lab", against="Organization/hospital-b", domain="laboratory")
    )
    for session in (doctor, furnished.login("p.pat-2")):
        assert session.get(address).status_code == 404
    kept = furnished.login("p.pat-1").get(f"{address}?persist=true")
    assert (kept.status_code, kept.json()["issue"][0]["expression"]) == (400, ["persist"])


def test_docref_lists_the_newest_document_or_those_of_a_period(furnished: House) -> None:
    hospital = furnished.system("hospital-a")
    for document in (
        document_reference("old", "2025-01-01"), document_reference("new", "2026-01-01"),
        document_reference("other", "2025-06-01", code="11488-4"),
        {**document_reference("gone", "2026-02-01"), "status": "superseded"},
    ):  # fmt: skip
        hospital.store(document)
    patient, base = furnished.login("p.pat-1"), "DocumentReference/$docref?patient=pat-1"

    def names(query: str = "") -> list[str]:
        return [one.partition("/")[2] for one in listed(patient, base + query)]

    assert names() == ["new"]
    assert names("&start=2025-01-01") == ["new", "other", "old"]
    assert names("&end=2025-12-31&type=http://loinc.org|11488-4") == ["other"]
    *_, summary = must(patient.get(f"{base}&on-demand=true&type=60591-5")).json()["entry"]
    assert must(patient.get(summary["resource"]["content"][0]["attachment"]["url"]))
    # Who may see nothing of the patient learns nothing of them.
    other = furnished.login("p.pat-2")
    for about in ("pat-1", "absent"):
        answer = must(other.get(f"DocumentReference/$docref?patient={about}&on-demand=true"))
        assert "entry" not in answer.json()
    assert patient.get("DocumentReference/$docref").status_code == 400
    platform = furnished.system("ehr-commons")
    platform.store({"resourceType": "Patient", "id": "left"})
    must(platform.delete("Patient/left"))
    gone = must(platform.get("DocumentReference/$docref?patient=left&on-demand=true"))
    assert "entry" not in gone.json()


def test_lastn_returns_the_newest_of_each_code(furnished: House) -> None:
    hospital = furnished.system("hospital-a")
    hospital.store({**observation("lab-3", "laboratory"), "effectiveDateTime": LATER})
    hospital.store(
        {
            **observation("rate", "vital-signs"),
            "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        }
    )
    wrong = {**observation("wrong", "laboratory"), "status": "entered-in-error"}
    hospital.store({**wrong, "effectiveDateTime": "2026-03-01T09:00:00+08:00"})
    patient, base = furnished.login("p.pat-1"), "Observation/$lastn?patient=pat-1"

    assert listed(patient, base) == ["Observation/lab-3", "Observation/rate"]
    assert listed(patient, f"{base}&max=2&category=laboratory") == [
        "Observation/lab-3", "Observation/lab-1",
    ]  # fmt: skip
    furnished.share()
    patient.store(restriction("close-lab", against="Organization/hospital-b", domain="laboratory"))
    # The newest that is closed does not take the place of the one before.
    assert listed(furnished.login("doctor.b"), base) == ["Observation/rate", "Observation/vital-1"]


@pytest.mark.parametrize(("query", "name"), [
    ("", "patient"), ("?patient=pat-1&max=0", "max"), ("?patient=pat-1&max=x", "max"),
])  # fmt: skip
def test_lastn_refuses_bad_input_by_name(furnished: House, query: str, name: str) -> None:
    answer = furnished.login("p.pat-1").get(f"Observation/$lastn{query}")

    assert answer.status_code == 400
    assert answer.json()["issue"][0]["expression"] == [name]


def test_meta_tells_what_a_read_would(furnished: House) -> None:
    hospital = furnished.system("hospital-a")
    tag = {"system": "http://e/tags", "code": "x"}
    hospital.store({**observation("tagged", "laboratory"), "meta": {"tag": [tag]}})

    answer = must(furnished.login("p.pat-1").get("Observation/tagged/$meta")).json()

    assert answer["parameter"] == [{"name": "return", "valueMeta": {"tag": [tag]}}]
    assert furnished.login("p.pat-2").get("Observation/tagged/$meta").status_code == 404
