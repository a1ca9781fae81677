"""`$everything`: the record of a patient, or one encounter, as consent lets each caller see it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lib.gateway import House, Session, encounter, must, observation, restriction

PATIENT, ENCOUNTER = "Patient/pat-1/$everything", "Encounter/enc-1/$everything"


def pages(session: Session, address: str) -> list[dict[str, Any]]:
    """Return the Bundles of an answer, page after page."""
    found = []
    link: str | None = address
    while link:
        bundle: dict[str, Any] = must(session.get(link)).json()
        found.append(bundle)
        links = {one["relation"]: one["url"] for one in bundle["link"]}
        link = links.get("next")
    return found


def entries(bundles: list[dict[str, Any]], mode: str = "match") -> list[str]:
    """Return what the pages hold, in their order."""
    return [
        f"{entry['resource']['resourceType']}/{entry['resource']['id']}"
        for bundle in bundles
        for entry in bundle.get("entry", ())
        if entry["search"]["mode"] == mode
    ]


RECORD = [
    "Patient/pat-1", "Condition/con-1", "Consent/joining-1", "Encounter/enc-1",
    "Observation/lab-1", "Observation/lab-2", "Observation/vital-1",
]  # fmt: skip


def test_a_patient_gets_the_whole_record_page_by_page_and_nobody_elses(furnished: House) -> None:
    patient = furnished.login("p.pat-1")

    assert entries(pages(patient, PATIENT)) == RECORD
    small = pages(patient, f"{PATIENT}?_count=2&_since=2000-01-01")

    assert entries(small) == RECORD
    assert [len(entries([one])) for one in small] == [2, 2, 2, 1]
    assert all("_since=2000-01-01" in one["link"][-1]["url"] for one in small)
    assert patient.get("Patient/pat-2/$everything").status_code == 404


def test_what_records_refer_to_comes_along_and_no_record_of_others(furnished: House) -> None:
    platform = furnished.system("ehr-commons")
    for resource in (
        {"resourceType": "Practitioner", "id": "dr", "name": [{"family": "Wong"}]},
        {
            "resourceType": "PractitionerRole",
            "id": "role",
            "practitioner": {"reference": "Practitioner/dr"},
            "organization": {"reference": "Organization/hospital-a"},
        },
    ):
        platform.store(resource)
    platform.store(
        {
            **observation("with-role", "vital-signs"),
            "performer": [{"reference": "PractitionerRole/role"}],
            "focus": [{"reference": "Patient/pat-2"}],
        }
    )
    patient = furnished.login("p.pat-1")

    included = entries(pages(patient, PATIENT), "include")

    assert sorted(included) == [
        "Organization/hospital-a",
        "Practitioner/dr",
        "PractitionerRole/role",
    ]
    assert entries(pages(patient, f"{PATIENT}?_type=Observation"), "include") == []
    named = pages(patient, f"{PATIENT}?_type=Observation,PractitionerRole")
    assert entries(named, "include") == ["PractitionerRole/role"]


def test_consent_decides_for_each_caller(furnished: House) -> None:
    doctor, author = furnished.login("doctor.b"), furnished.system("hospital-a")
    assert doctor.get(PATIENT).status_code == 404
    assert doctor.get(PATIENT).content.replace(b"pat-1", b"x") == doctor.get(
        "Patient/absent/$everything"
    ).content.replace(b"absent", b"x")
    # Before anything is shared: what it wrote itself.
    assert entries(pages(author, PATIENT)) == [one for one in RECORD[1:] if "Consent" not in one]

    furnished.share()
    furnished.login("p.pat-1").store(
        restriction("close-lab", against="Organization/hospital-b", domain="laboratory")
    )

    seen = entries(pages(doctor, f"{PATIENT}?_count=1"))
    assert "Observation/vital-1" in seen
    assert not {"Observation/lab-1", "Observation/lab-2"} & set(seen)
    assert "Observation/lab-1" not in entries(pages(doctor, ENCOUNTER))


@pytest.mark.parametrize(("login", "status"), [
    ("researcher", 403), ("auditor", 403), ("p.pat-2", 404),
])  # fmt: skip
def test_who_may_see_nothing_of_a_record_gets_none_of_it(
    furnished: House, login: str, status: int
) -> None:
    furnished.share()
    for address in (PATIENT, ENCOUNTER):
        assert furnished.login(login).get(address).status_code == status, address


def test_a_steward_gets_no_chart(furnished: House) -> None:
    found = entries(pages(furnished.login("steward"), PATIENT))

    assert {one.partition("/")[0] for one in found} == {"Consent"}


def test_a_period_of_care_a_change_and_types_narrow_it(furnished: House) -> None:
    patient = furnished.login("p.pat-1")
    later = {
        **observation("later", "vital-signs"), "effectiveDateTime": "2026-03-01T23:30:00+08:00"
    }  # fmt: skip
    furnished.clock.forward(seconds=60)
    furnished.system("hospital-a").store(later)

    def found(query: str) -> set[str]:
        return set(entries(pages(patient, f"{PATIENT}?{query}")))

    undated = {"Patient/pat-1", "Condition/con-1", "Consent/joining-1"}
    assert found("start=2026-03-01") == {*undated, "Observation/later"}
    assert found("end=2026-01-05") == {*undated, "Encounter/enc-1"}
    assert found("start=2026-02&end=2026-03-01") == {*undated, "Observation/later"}
    assert found("_since=2026-11-22T08:00:30Z") == {"Observation/later"}
    assert found("_type=Encounter,Consent,Condition&_type=Patient") == {
        *undated, "Encounter/enc-1"
    }  # fmt: skip


def test_an_encounter_brings_its_records_and_its_patient(furnished: House) -> None:
    furnished.system("hospital-a").store(encounter("enc-2"))
    patient = furnished.login("p.pat-1")

    bundles = pages(patient, f"{ENCOUNTER}?_count=2")

    assert entries(bundles) == ["Encounter/enc-1", "Condition/con-1", "Observation/lab-1"]
    assert entries(bundles, "include") == ["Patient/pat-1"]
    assert entries(pages(patient, "Encounter/enc-2/$everything")) == ["Encounter/enc-2"]
    assert patient.get(f"{ENCOUNTER}?start=2026-01-01").status_code == 400


@pytest.mark.parametrize(("query", "name"), [
    ("start=yesterday", "start"), ("end=2026-13-01", "end"), ("_since=x", "_since"),
    ("_type=Nothing", "_type"), ("_type=AuditEvent", "_type"), ("_count=0", "_count"),
    ("_count=two", "_count"), ("_count=1&_count=2", "_count"), ("_cursor=none", None),
])  # fmt: skip
def test_bad_input_is_refused_with_the_name_of_the_parameter(
    furnished: House, query: str, name: str | None
) -> None:
    answer = furnished.login("p.pat-1").get(f"{PATIENT}?{query}")

    assert answer.status_code == 400
    assert answer.json()["issue"][0].get("expression", [None])[0] == name


def test_a_page_link_serves_its_own_question_alone(furnished: House) -> None:
    patient = furnished.login("p.pat-1")
    first = must(patient.get(f"{PATIENT}?_count=2")).json()
    cursor = first["link"][1]["url"].partition("_cursor=")[2]

    for address in (ENCOUNTER, f"{PATIENT}?_type=Observation"):
        separator = "&" if "?" in address else "?"
        assert patient.get(f"{address}{separator}_cursor={cursor}").status_code == 400


def test_it_is_called_by_post_as_well(furnished: House) -> None:
    patient = furnished.login("p.pat-1")
    body = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "_count", "valueInteger": 2},
            {"name": "_type", "valueCode": "Observation"},
        ],
    }

    answer = must(patient.post(PATIENT, body))

    asked = must(patient.get(f"{PATIENT}?_count=2&_type=Observation"))
    assert answer.json() == asked.json()


def test_a_token_that_covers_some_types_says_which(furnished: House) -> None:
    some = furnished.login("p.pat-1", "patient/Observation.rs")

    answer = must(some.get(PATIENT)).json()

    assert entries([answer]) == [one for one in RECORD if one.startswith("Observation")]
    outcome = next(one for one in answer["entry"] if one["search"]["mode"] == "outcome")
    assert outcome["resource"]["issue"][0]["code"] == "suppressed"
    assert some.get(f"{PATIENT}?_type=Condition").status_code == 403


def test_whoever_was_asked_about_is_on_record(furnished: House) -> None:
    furnished.share()
    for login in ("doctor.b", "p.pat-2"):
        furnished.login(login).get(ENCOUNTER)
        furnished.login(login).get(PATIENT)
    furnished.gateway.audit_batcher.flush()

    with furnished.gateway.store.read_transaction() as connection:
        rows = connection.execute(
            "SELECT patient, query FROM audit WHERE interaction = 'operation' ORDER BY seq"
        ).fetchall()
    assert [tuple(row) for row in rows] == [("pat-1", "$everything")] * 4
