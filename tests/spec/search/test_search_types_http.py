"""Searches of several types over HTTP: of the system, and of compartments of every kind."""

from __future__ import annotations

import pytest

from tests.lib.gateway import House, Session, observation

ALL = [
    "Condition/con-1", "Consent/joining-1", "Consent/joining-2", "Encounter/enc-1",
    "Observation/lab-1", "Observation/lab-2", "Observation/vital-1", "Organization/hospital-a",
    "Organization/hospital-b", "Patient/pat-1", "Patient/pat-2",
]  # fmt: skip


def pages(session: Session, address: str) -> list[list[str]]:
    """Return the references of each page, following the links."""
    found = []
    while address:
        answer = session.get(address)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        found.append(
            [
                f"{one['resource']['resourceType']}/{one['resource']['id']}"
                for one in body.get("entry", ())
            ]
        )
        links = {one["relation"]: one["url"] for one in body["link"]}
        address = links.get("next", "")
    return found


def test_the_system_is_searched_type_by_type(furnished: House) -> None:
    hospital = furnished.system("hospital-a")

    assert hospital.ids("/fhir?_type=Observation,Encounter") == [
        "Encounter/enc-1", "Observation/lab-1", "Observation/lab-2", "Observation/vital-1",
    ]  # fmt: skip
    assert hospital.ids("/fhir?_type=Condition,Patient&_id=con-1") == ["Condition/con-1"]
    everything = hospital.ids("/fhir?_count=100")
    assert set(everything) <= set(ALL) and "Condition/con-1" in everything
    assert hospital.ids("/fhir/?_id=lab-1") == ["Observation/lab-1"]


@pytest.mark.parametrize("sort", ["", "&_sort=_lastUpdated", "&_sort=-_lastUpdated", "&_sort=-_id"])
def test_pages_of_several_types_hold_each_match_once(furnished: House, sort: str) -> None:
    hospital = furnished.system("hospital-a")
    types = "/fhir?_type=Observation,Encounter,Condition"

    (whole,) = pages(hospital, f"{types}{sort}&_count=50")
    by_two = pages(hospital, f"{types}{sort}&_count=2")

    assert [len(page) for page in by_two] == [2, 2, 1]
    assert [one for page in by_two for one in page] == whole
    assert len(set(whole)) == 5


def test_equal_ids_of_two_types_are_two_matches(furnished: House) -> None:
    hospital = furnished.system("hospital-a")
    hospital.store(observation("enc-1", "laboratory"))

    for sort in ("_id", "-_id"):
        found = pages(
            hospital, f"/fhir?_type=Observation,Encounter&_id=enc-1&_sort={sort}&_count=1"
        )
        assert sorted(one for page in found for one in page) == [
            "Encounter/enc-1", "Observation/enc-1",
        ]  # fmt: skip


def test_a_form_and_an_include_search_the_system_too(furnished: House) -> None:
    hospital = furnished.system("hospital-a")

    form = {"_type": "Condition", "_include": "Condition:encounter"}
    answer = hospital.request("POST", "_search", data=form).json()

    assert [one["search"]["mode"] for one in answer["entry"]] == ["match", "include"]
    total = hospital.get("/fhir?_type=Condition,Observation&_summary=count").json()
    assert total["total"] == 4 and "entry" not in total


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("_type=Observation,Foo", "no resource type|not a resource type"),
        ("_type=AuditEvent", "audit log"),
        ("_type=Observation,Patient&code=1", "Patient"),
        ("_type=Observation,Patient&_sort=date", "_sort|no search parameter"),
        ("code=718-7", "no search parameter"),
        ("_type=Observation&_include=Encounter:patient", "must start"),
    ],
)
def test_what_several_types_cannot_share_is_refused(
    furnished: House, query: str, words: str
) -> None:
    answer = furnished.system("hospital-a").get(f"/fhir?{query}")

    assert answer.status_code == 400
    text = answer.json()["issue"][0]["diagnostics"]
    assert any(word in text for word in words.split("|")), text


def test_a_compartment_is_searched_whole_or_by_type(furnished: House) -> None:
    hospital = furnished.system("hospital-a")

    assert hospital.ids("Encounter/enc-1/*") == [
        "Condition/con-1", "Encounter/enc-1", "Observation/lab-1",
    ]  # fmt: skip
    assert hospital.ids("Encounter/enc-1/Observation?code=718-7") == ["Observation/lab-1"]
    assert hospital.ids("Patient/pat-1/*?_type=Observation,Condition&_count=2") == [
        "Condition/con-1", "Observation/lab-1",
    ]  # fmt: skip
    assert hospital.ids("Practitioner/nobody/Observation") == []
    assert hospital.get("Encounter/enc-1/Organization").status_code == 404
    assert hospital.get("Organization/hospital-a/Patient").status_code == 404


def test_a_practitioners_compartment_holds_what_names_them(furnished: House) -> None:
    furnished.system("ehr-commons").store({"resourceType": "Practitioner", "id": "dr"})
    named = observation("named", "laboratory") | {"performer": [{"reference": "Practitioner/dr"}]}
    furnished.system("hospital-a").store(named)

    assert furnished.system("hospital-a").ids("Practitioner/dr/Observation") == [
        "Observation/named"
    ]
    assert furnished.system("hospital-b").ids("Practitioner/dr/*") == ["Practitioner/dr"]


def test_what_is_hidden_is_in_no_system_search(furnished: House) -> None:
    stranger = furnished.login("doctor.b")

    before = [stranger.get(f"/fhir?{query}").text for query in ("_type=Observation", "_id=lab-1")]
    furnished.system("hospital-a").store(observation("lab-0", "laboratory"))
    after = [stranger.get(f"/fhir?{query}").text for query in ("_type=Observation", "_id=lab-1")]

    assert before == after
    assert all('"entry"' not in one for one in after)
    assert stranger.get("/fhir?_type=Observation&_total=accurate").json()["total"] == 0
