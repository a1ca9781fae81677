"""`$summary`: an International Patient Summary made of what each caller may see."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ehr_fhir.ips.conformance import find_summary_faults
from ehr_fhir.ips.section_text import load_words
from ehr_fhir.ips.sections import SECTIONS, SUMMARY_TYPES, select_records
from ehr_fhir.narrative import find_narrative_fault
from ehr_fhir.validation.validate import validate
from tests.lib.documents import as_transaction
from tests.lib.gateway import House, Session, must, observation, restriction

SUMMARY = "Patient/pat-1/$summary"
CODE_OF = {section.key: section.code for section in SECTIONS}


def summary(session: Session, address: str = SUMMARY, language: str = "en") -> dict[str, Any]:
    """Return a summary that our check accepts, and that is valid R4."""
    answer = must(session.get(address, headers={"Accept-Language": language}))
    document: dict[str, Any] = answer.json()
    assert find_summary_faults(document) == []
    validate(document)
    return document


def section(document: dict[str, Any], key: str) -> dict[str, Any]:
    """Return a section of a summary, empty if it has none."""
    found = [
        one
        for one in document["entry"][0]["resource"]["section"]
        if one["code"]["coding"][0]["code"] == CODE_OF[key]
    ]
    return found[0] if found else {}


def entries(document: dict[str, Any], key: str) -> list[str]:
    """Return what a section names."""
    return [one["reference"] for one in section(document, key).get("entry", ())]


def medication_statement() -> dict[str, Any]:
    return {
        "resourceType": "MedicationStatement",
        "id": "med-1",
        "status": "active",
        "medicationReference": {"reference": "Medication/m"},
        "subject": {"reference": "Patient/pat-1"},
        "dosage": [{"text": "one in the morning & <one> at night"}],
    }


def test_it_holds_what_is_recorded_and_says_what_is_not(furnished: House) -> None:
    platform = furnished.system("ehr-commons")
    newer = {
        **observation("lab-3", "laboratory"),
        "effectiveDateTime": "2026-02-01T09:00:00+08:00",
        "valueQuantity": {"value": 12.50, "unit": "g/dL"},
    }
    past = {
        "resourceType": "Condition",
        "id": "past",
        "clinicalStatus": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical",
                        "code": "resolved"}]
        },
        "subject": {"reference": "Patient/pat-1"},
    }  # fmt: skip
    platform.store({"resourceType": "Medication", "id": "m", "code": {"text": "metformin"}})
    for resource in (newer, past, medication_statement()):
        platform.store(resource)

    document = summary(furnished.login("p.pat-1"))

    assert entries(document, "problems") == ["Condition/con-1"]
    assert entries(document, "past_problems") == ["Condition/past"]
    # Of each test the newest, and no orders.
    assert entries(document, "results") == ["Observation/lab-3"]
    assert entries(document, "measurements") == ["Observation/vital-1"]
    assert entries(document, "medicines") == ["MedicationStatement/med-1"]
    allergies = section(document, "allergies")
    assert allergies["emptyReason"]["coding"][0]["code"] == "unavailable"
    assert "No allergies are recorded." in allergies["text"]["div"]
    text = section(document, "medicines")["text"]["div"]
    assert "metformin" in text
    assert "one in the morning &amp; &lt;one&gt; at night" in text
    resources = {one["resource"]["resourceType"]: one["resource"] for one in document["entry"]}
    assert resources["Medication"]["id"] == "m"
    # A required element that nobody recorded is said to be unknown.
    assert resources["MedicationStatement"]["_effectiveDateTime"]["extension"]
    assert section(document, "procedures") == {}


@pytest.mark.parametrize(("asked", "language"), [
    ("en-GB", "en"), ("zh-HK, en;q=0.5", "zh-Hant-HK"), ("zh-CN", "zh-Hans"), ("fr", "en"),
])  # fmt: skip
def test_it_is_told_in_the_readers_language(furnished: House, asked: str, language: str) -> None:
    document = summary(furnished.login("p.pat-1"), language=asked)

    words, composition = load_words()[language], document["entry"][0]["resource"]
    assert composition["language"] == document["language"] == language
    assert composition["title"] == words["title"]
    assert words["no_allergies"] in section(document, "allergies")["text"]["div"]
    assert section(document, "problems")["title"] == words["problems"]


def test_what_is_closed_changes_no_byte_of_it(furnished: House) -> None:
    furnished.share()
    doctor = furnished.login("doctor.b")
    before = summary(doctor)
    assert entries(before, "results")

    furnished.login("p.pat-1").store(
        restriction("close-lab", against="Organization/hospital-b", domain="laboratory")
    )
    closed = must(doctor.get(SUMMARY)).content
    furnished.system("hospital-a").store(
        {**observation("lab-9", "laboratory"), "effectiveDateTime": "2026-09-01"}
    )

    assert section(summary(doctor), "results") == {}
    assert must(doctor.get(SUMMARY)).content == closed
    assert must(doctor.get(SUMMARY)).json()["identifier"] != before["identifier"]


@pytest.mark.parametrize(("login", "scope", "status"), [
    ("researcher", "", 403), ("p.pat-2", "", 404), ("doctor.b", "", 404), ("steward", "", 404),
    ("p.pat-1", "patient/Condition.rs patient/Patient.rs", 403),
])  # fmt: skip
def test_who_may_not_see_a_record_gets_no_summary_of_it(
    furnished: House, login: str, scope: str, status: int
) -> None:
    assert furnished.login(login, scope).get(SUMMARY).status_code == status


def test_another_profile_is_refused_by_the_name_of_the_parameter(furnished: House) -> None:
    answer = furnished.login("p.pat-1").get(f"{SUMMARY}?profile=http://e/other")

    assert answer.status_code == 400
    assert answer.json()["issue"][0]["expression"] == ["profile"]


def of_patient(resource: dict[str, Any], url: str) -> bool:
    """Say whether a resource of a document names its Patient as the one it is about."""
    about = resource.get("subject") or resource.get("patient") or {}
    return bool(url.endswith(str(about.get("reference"))))


def told_alike(sent: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Say whether a record says in our summary what it said when it came."""
    own = {"id", "meta", "text"}
    kept = {key: value for key, value in sent.items() if key not in own}
    return all(ours.get(key) == value for key, value in kept.items() if "refer" not in str(value))


# Of every record that belongs in a section, in the summaries that others publish.
def test_published_summaries_are_found_again_in_ours(house: House, shared_data: Path) -> None:
    platform, told = house.system("ehr-commons"), 0
    for path in sorted((shared_data / "ips-bundles").glob("*.json")):
        published = json.loads(path.read_bytes())
        answer = platform.post("/fhir", as_transaction(published))
        if answer.status_code != 200:
            # No valid R4; tests/spec/test_documents_http.py names these with the reason.
            continue
        places = [one["response"]["location"].split("/") for one in answer.json()["entry"]]
        ids = [place[place.index("_history") - 1] for place in places]
        numbered = [
            {**one["resource"], "id": identity}
            for one, identity in zip(published["entry"], ids, strict=True)
        ]
        (patient,) = (
            (one["fullUrl"], identity)
            for one, identity in zip(published["entry"], ids, strict=True)
            if one["resource"]["resourceType"] == "Patient"
        )
        selected = select_records(
            one
            for one in numbered
            if one["resourceType"] in SUMMARY_TYPES and of_patient(one, patient[0])
        )

        document = summary(platform, f"Patient/{patient[1]}/$summary")

        ours = {one["resource"]["id"]: one["resource"] for one in document["entry"]}
        for record in (one for listed in selected.values() for one in listed):
            assert told_alike(record, ours.get(record["id"], {})), (path.name, record)
            told += 1
    assert told > 300


def test_no_text_of_a_record_breaks_the_narrative(furnished: House) -> None:
    odd = "<script>x</script> & ]]> \"' \u200b\ufffe 血"
    furnished.system("hospital-a").store(
        {
            "resourceType": "Condition",
            "id": "odd",
            "code": {"text": odd},
            "subject": {"reference": "Patient/pat-1"},
        }
    )

    document = summary(furnished.login("p.pat-1"))

    text = section(document, "problems")["text"]["div"]
    assert find_narrative_fault(text) is None
    assert "&lt;script&gt;" in text


def loinc(code: str, category: str = "social-history") -> dict[str, Any]:
    """Return an Observation with a LOINC code."""
    return {
        **observation(f"o-{code}", category),
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "effectiveDateTime": "2026-02-01",
    }


def test_the_newest_is_so_by_the_instant_and_not_by_its_text(furnished: House) -> None:
    platform = furnished.system("ehr-commons")
    for name, at in (("older", "2026-02-02T07:00:00+08:00"), ("newer", "2026-02-01T23:30:00Z")):
        platform.store({**loinc("72166-2"), "id": name, "effectiveDateTime": at})

    document = summary(furnished.login("p.pat-1"))

    assert entries(document, "social_history") == ["Observation/newer"]


def test_social_history_pregnancy_and_plans_have_sections_where_there_is_anything(
    furnished: House,
) -> None:
    platform = furnished.system("ehr-commons")
    before = summary(furnished.login("p.pat-1"))
    plan = {"resourceType": "CarePlan", "subject": {"reference": "Patient/pat-1"}}
    for resource in (
        loinc("72166-2"),
        {**loinc("72166-2"), "id": "o-older", "effectiveDateTime": "2020-01-01"},
        {**loinc("74013-4"), "id": "o-wrong", "status": "entered-in-error"},
        # Some systems call it social history.
        loinc("82810-3"),
        loinc("11778-8", "vital-signs"),
        {**plan, "id": "p-now", "status": "active", "intent": "plan", "title": "Diabetes"},
        {**plan, "id": "p-over", "status": "completed", "intent": "plan"},
        {**plan, "id": "p-idea", "status": "active", "intent": "proposal"},
    ):
        platform.store(resource)

    document = summary(furnished.login("p.pat-1"))

    for key in ("social_history", "pregnancy", "care_plans"):
        assert section(before, key) == {}
    assert entries(document, "social_history") == ["Observation/o-72166-2"]
    assert set(entries(document, "pregnancy")) == {"Observation/o-82810-3", "Observation/o-11778-8"}
    assert entries(document, "care_plans") == ["CarePlan/p-now"]
    assert "Diabetes" in section(document, "care_plans")["text"]["div"]
