"""`Patient/$match` over HTTP: who is found, how surely, and that it tells no more than searches."""

from __future__ import annotations

from typing import Any

import pytest

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.patient_matching.score import GRADES, score_agreement
from tests.lib.gateway import House, Session, must, patient

NUMBER = JURISDICTION.person_identifier
GRADE = "http://hl7.org/fhir/StructureDefinition/match-grade"
CHAN: dict[str, Any] = {
    "identifier": [{"system": NUMBER.system, "value": "A123456(3)"}],
    "name": [
        {"family": "Chan", "given": ["Tai Man"]},
        {"family": "陳", "given": ["大文"]},
    ],
    "birthDate": "1950-03-04",
    "gender": "male",
    "telecom": [{"system": "phone", "value": "+852 5555 0001"}],
}


def described(**elements: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", **elements}


def ask(session: Session, person: dict[str, Any], **parameters: Any) -> Any:
    sent: list[dict[str, Any]] = [{"name": "resource", "resource": person}]
    for name, value in parameters.items():
        kind = "valueBoolean" if isinstance(value, bool) else "valueInteger"
        sent.append({"name": name, kind: value})
    body = {"resourceType": "Parameters", "parameter": sent}
    return session.post("Patient/$match", body)


def graded(answer: Any) -> list[tuple[str, str]]:
    """Return the ids of the answer and their grades, in its order."""
    return [
        (entry["resource"]["id"], entry["search"]["extension"][0]["valueCode"])
        for entry in must(answer).json().get("entry", ())
    ]


@pytest.fixture
def clerk(house: House) -> Session:
    """Return a hospital's system in a house with Mr Chan and a woman of his birth date."""
    clerk = house.system("ehr-commons")
    clerk.store(described(id="chan", **CHAN))
    clerk.store(described(id="other", name=[{"family": "Wong", "given": ["Mei"]}],
                          birthDate="1950-03-04", gender="female"))  # fmt: skip
    return clerk


@pytest.mark.parametrize(
    ("elements", "grade"),
    [
        ({"identifier": [{"system": NUMBER.system, "value": "a1234563"}],
          "name": [{"text": "CHAN Taiman"}]}, "certain"),
        ({"name": [{"text": "Peter Tai-man Chan"}], "birthDate": "1950-04-03", "gender": "male",
          "telecom": [{"system": "phone", "value": "55550001"}]}, "certain"),
        ({"name": [{"text": "陈大文"}], "birthDate": "1950-03-04"}, "probable"),
        ({"name": [{"family": "Chen", "given": ["Dawen"]}], "birthDate": "1950-03-04"}, "probable"),
        ({"name": [{"family": "Chan", "given": ["Tai Man"]}], "birthDate": "1951-03-04"}, None),
        ({"birthDate": "1950-03-04"}, None),
    ],
    ids=["number", "telephone", "characters", "pinyin", "another-year", "birth-date-alone"],
)  # fmt: skip
def test_a_person_is_found_however_the_counter_wrote_them(
    clerk: Session, elements: dict[str, Any], grade: str | None
) -> None:
    found = graded(ask(clerk, described(**elements)))

    assert found == ([("chan", grade)] if grade else [])


@pytest.mark.parametrize(
    ("stored", "written"),
    [
        *((True, one) for one in ("Chan Siu Ming", "Siu Ming Chan", "CHAN Siuming", "陳小明")),
        *((False, one) for one in ("Chan Siu Ming", "Chan Siu-ming", "陳小明")),
    ],
)
def test_a_name_brings_together_whose_number_and_birth_date_are_both_mistyped(
    clerk: Session, stored: bool, written: str
) -> None:
    """`stored`: as surname and given names, or as one text."""
    in_parts = [{"family": "Chan", "given": ["Siu Ming"]}, {"family": "陳", "given": ["小明"]}]
    names = in_parts if stored else [{"text": "Chan Siu Ming"}, {"text": "陳小明"}]
    number = {"system": NUMBER.system, "value": "B123456(6)"}
    clerk.store(described(id="siu", name=names, birthDate="1980-02-03", identifier=[number]))
    slip = {**number, "value": "B123465(6)"}

    asked = described(name=[{"text": written}], birthDate="1980-03-13", identifier=[slip])

    assert [name for name, _ in graded(ask(clerk, asked))] == ["siu"]


@pytest.mark.parametrize("name", ["letters", "characters", "reading"])
def test_without_a_number_a_name_says_too_little_by_itself(name: str) -> None:
    """Therefore no search is made by it: what else would tell is a search of its own."""
    levels = {name: "same", "birth-date": "slip", "gender": "same"}

    assert score_agreement(levels) < GRADES["possible"]


def test_the_likeliest_stands_first_and_twins_are_two_people(clerk: Session) -> None:
    clerk.store(described(id="twin", **{
        **CHAN,
        "identifier": [{"system": NUMBER.system, "value": "AB987654(3)"}],
        "name": [{"family": "陳", "given": ["大明"]}],
    }))  # fmt: skip

    answer = ask(clerk, described(**CHAN))

    assert graded(answer)[0] == ("chan", "certain")
    assert ("twin", "certain") not in graded(answer)
    scores = [entry["search"]["score"] for entry in answer.json()["entry"]]
    assert scores == sorted(scores, reverse=True) and all(0 < score < 1 for score in scores)


def test_two_certain_matches_are_none_where_one_is_asked_for(clerk: Session) -> None:
    assert graded(ask(clerk, described(**CHAN), onlyCertainMatches=True)) == [("chan", "certain")]
    clerk.store(described(id="again", **CHAN))

    assert graded(ask(clerk, described(**CHAN), onlyCertainMatches=True)) == []
    assert len(graded(ask(clerk, described(**CHAN)))) == 2
    assert len(graded(ask(clerk, described(**CHAN), count=1))) == 1


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"resourceType": "Parameters"}, "Parameters.parameter"),
        (described(), "Parameters"),
        ([{"name": "resource", "resource": {"resourceType": "Person"}}], "resourceType"),
        ([{"name": "resource", "resource": described(gender="male")}], "Patient"),
        ([{"name": "resource", "resource": described(birthDate="1950-3")}], "Patient.birthDate"),
        ([{"name": "resource", "resource": described(**CHAN)},
          {"name": "count", "valueInteger": 0}], "Parameters.parameter[1]"),
    ],
    ids=["nobody", "a-patient-alone", "another-type", "says-nothing", "not-valid", "count"],
)  # fmt: skip
def test_bad_input_is_refused_with_its_place_and_no_value(
    clerk: Session, body: Any, place: str
) -> None:
    if isinstance(body, list):
        body = {"resourceType": "Parameters", "parameter": body}

    answer = clerk.post("Patient/$match", body)

    assert answer.status_code in (400, 422), answer.text
    assert place in answer.json()["issue"][0]["expression"]
    assert "1950" not in answer.text and "A123456" not in answer.text


def test_who_is_hidden_is_answered_like_nobody_and_named_in_the_audit_log(
    furnished: House,
) -> None:
    doctor = furnished.login("doctor.b")
    person = {
        key: value for key, value in patient("x", "ZA1234560").items() if key != "id"
    } | {"identifier": [{"system": NUMBER.system, "value": "ZA1234560"}]}  # fmt: skip
    before = ask(doctor, person)
    assert graded(before) == []

    furnished.share()

    assert [name for name, _ in graded(ask(doctor, person))] == ["pat-1"]
    absent = ask(doctor, described(name=[{"text": "Nobody Of This Name"}], birthDate="1999-01-01"))
    assert absent.json() == before.json()


def test_it_needs_the_scope_of_a_search(furnished: House) -> None:
    answer = ask(furnished.login("doctor.a", "user/Observation.rs"), described(**CHAN))

    assert answer.status_code == 403
