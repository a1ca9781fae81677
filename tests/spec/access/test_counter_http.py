"""A steward records a patient's choice: the card finds the person, the patient is told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lib.gateway import House, must, patient, restriction
from tests.spec.access.test_suspensions_http import parameters


def told(house: House) -> list[str]:
    """Return the kinds of the notices to the first patient."""
    with house.gateway.store.read_transaction() as connection:
        rows = connection.execute("SELECT kind FROM notice WHERE patient = 'pat-1' ORDER BY id")
        return [str(row["kind"]) for row in rows]


def closed(**provision: Any) -> dict[str, Any]:
    """Return a new restriction without an id."""
    body = restriction("x", **provision)
    del body["id"]
    return body


@pytest.mark.parametrize("number", ["ZA123456(0)", "za 123456 0"])
def test_the_card_finds_the_person_and_they_see_that(furnished: House, number: str) -> None:
    steward = furnished.login("steward")

    answer = must(steward.post("Patient/$counter-patient", parameters({"hkid": number}))).json()

    values = {part["name"]: part for part in answer["parameter"]}
    assert values["patient"]["valueReference"] == {"reference": "Patient/pat-1"}
    assert values["name"]["valueHumanName"]["family"] == "Chan"
    assert set(values) == {"patient", "name", "born", "gender"}
    seen = must(furnished.login("p.pat-1").get("AuditEvent?agent=steward")).json()["entry"]
    assert len(seen) == 1


def test_nobody_and_two_people_are_answered_alike(furnished: House) -> None:
    furnished.system("hospital-a").store(patient("twin", "ZA1234560"))
    steward = furnished.login("steward")

    answers = [
        steward.post("Patient/$counter-patient", parameters({"hkid": number}))
        for number in ("ZA123456(0)", "ZZ999999(9)")
    ]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].json()["issue"] == answers[1].json()["issue"]


@pytest.mark.parametrize("login", ["doctor.a", "p.pat-1", "p.pat-2", "auditor", "admin"])
def test_nobody_else_finds_a_person_by_card(furnished: House, login: str) -> None:
    sent = parameters({"hkid": "ZA123456(0)"})

    answer = furnished.login(login).post("Patient/$counter-patient", sent)
    assert answer.status_code == 403


def test_the_patient_is_told_of_each_choice_a_steward_records(furnished: House) -> None:
    steward = furnished.login("steward")
    before = told(furnished)

    made = must(steward.post("Consent", closed(domain="laboratory"))).json()
    after_making = told(furnished)
    must(steward.put({**made, "status": "inactive"}))

    assert after_making == [*before, "choice-recorded"]
    assert told(furnished) == [*before, "choice-recorded", "choice-recorded"]
    # The rule holds at once.
    must(steward.put({**made, "status": "active"}, headers={}))
    furnished.share()
    assert furnished.login("doctor.b").get("Observation/lab-1").status_code == 404


def test_a_patient_who_decides_is_not_told_of_it(furnished: House) -> None:
    before = told(furnished)

    must(furnished.login("p.pat-1").post("Consent", closed(domain="laboratory")))

    assert told(furnished) == before


def test_the_paper_stands_in_the_consent(furnished: House) -> None:
    paper = {"sourceAttachment": {"title": "Form 3, signed 2026-11-22"}}

    made = must(furnished.login("steward").post("Consent", {**closed(domain="allergy"), **paper}))

    read = must(furnished.login("p.pat-1").get(f"Consent/{made.json()['id']}")).json()
    assert read["sourceAttachment"] == {"title": "Form 3, signed 2026-11-22"}
