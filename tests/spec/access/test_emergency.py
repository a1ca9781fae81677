"""Emergency access: what it opens, for whom, how long, who is told, and the steward's review."""

from __future__ import annotations

import pytest

from tests.lib.gateway import House, Session, must, restriction
from tests.spec.access.steps import named, send, told

REASON = "Unconscious in the emergency room"
SEALED = {
    "url": "https://ehr-commons.hk/fhir/StructureDefinition/sealed",
    "valueBoolean": True,
}


@pytest.fixture
def doctor(furnished: House) -> Session:
    """Return a doctor whose hospital the patient does not share with."""
    return furnished.login("doctor.b")


def declare(session: Session, **given: object) -> dict[str, list[object]]:
    """Declare an emergency of pat-1."""
    return named(send(session, "Patient/pat-1/$declare-emergency", reason=REASON, **given))


def test_it_opens_the_record_for_a_day_to_this_person_and_no_colleague(
    furnished: House, doctor: Session
) -> None:
    assert doctor.get("Condition/con-1").status_code == 404
    assert declare(doctor)["state"] == ["active"]

    assert doctor.get("Condition/con-1").status_code == 200
    assert furnished.login("pharmacist.b").get("Condition/con-1").status_code == 404
    furnished.clock.forward(seconds=24 * 3600 - 1)
    assert furnished.login("doctor.b").get("Condition/con-1").status_code == 200
    furnished.clock.forward(seconds=1)
    assert furnished.login("doctor.b").get("Condition/con-1").status_code == 404


def test_what_the_patient_sealed_stays_closed_and_leaves_no_trace(
    furnished: House, doctor: Session
) -> None:
    patient = furnished.login("p.pat-1")
    patient.store(restriction("seals", domain="laboratory", extension=[SEALED]))
    patient.store(restriction("hides", domain="diagnosis"))
    declare(doctor)

    assert doctor.get("Condition/con-1").status_code == 200
    assert doctor.get("Observation/lab-1").status_code == 404
    marked = named(doctor.get("Patient/pat-1/$withheld"))
    assert marked == {"shared": [True], "hidden": [False]}


def test_the_patient_is_told_in_the_same_transaction(furnished: House, doctor: Session) -> None:
    declare(doctor)

    ((kind, text),) = told(furnished)
    assert kind == "emergency"
    assert "Dr B of Hospital-B" in text
    assert REASON not in text


def test_the_patient_can_end_it_at_once(furnished: House, doctor: Session) -> None:
    consent = declare(doctor)["consent"][0]
    patient = furnished.login("p.pat-1")
    must(patient.put(patient.get(f"Consent/{consent}").json() | {"status": "inactive"}))

    assert doctor.get("Condition/con-1").status_code == 404


def test_a_person_is_named_by_the_identity_card_and_tries_are_counted(
    furnished: House, doctor: Session
) -> None:
    asked = {"reason": REASON, "hkid": "za123456(0)"}
    assert named(send(doctor, "Patient/$declare-emergency", **asked))["patient"] == ["pat-1"]
    for _ in range(29):
        wrong = {"reason": REASON, "hkid": "ZZ999999(9)"}
        assert send(doctor, "Patient/$declare-emergency", **wrong).status_code == 404

    assert send(doctor, "Patient/$declare-emergency", **asked).status_code == 429


def test_too_many_emergencies_in_a_day_are_refused(furnished: House, doctor: Session) -> None:
    for _ in range(10):
        declare(doctor)

    answer = send(doctor, "Patient/pat-1/$declare-emergency", reason=REASON)
    assert answer.status_code == 429


@pytest.mark.parametrize("login", ["system", "p.pat-2", "steward", "researcher"])
def test_neither_a_program_nor_another_role_declares_one(furnished: House, login: str) -> None:
    session = furnished.system("hospital-b") if login == "system" else furnished.login(login)

    answer = send(session, "Patient/pat-1/$declare-emergency", reason=REASON)
    assert answer.status_code == 403
    assert told(furnished) == []


@pytest.mark.parametrize("reason", ["昏迷不醒", "中风昏迷", "病人昏迷，血壓下降", "胸痛；休克"])
def test_a_reason_in_chinese_says_as_much_in_fewer_characters(
    furnished: House, doctor: Session, reason: str
) -> None:
    must(send(doctor, "Patient/pat-1/$declare-emergency", reason=reason))


@pytest.mark.parametrize(
    "reason", ["", "urgent", "..............", "x" * 501, "急", "急急急急急急", "昏" * 501]
)
def test_a_reason_says_something(furnished: House, doctor: Session, reason: str) -> None:
    answer = send(doctor, "Patient/pat-1/$declare-emergency", reason=reason)

    assert answer.status_code in (400, 422)
    assert told(furnished) == []


def test_a_patient_who_is_not_there_is_not_opened(furnished: House, doctor: Session) -> None:
    answer = send(doctor, "Patient/nobody/$declare-emergency", reason=REASON)

    assert answer.status_code == 404
    assert "access" not in named(furnished.login("steward").get("$access-reviews"))


def test_the_steward_reviews_each_once_with_a_note(furnished: House, doctor: Session) -> None:
    declared = declare(doctor)["id"][0]
    steward = furnished.login("steward")
    (waiting,) = named(steward.get("$access-reviews"))["access"]
    assert (waiting["id"], waiting["reason"]) == ([declared], [REASON])

    finding = {"access": declared, "finding": "not-justified", "note": "No encounter that day"}
    assert send(doctor, "$review-access", **finding).status_code == 403
    must(send(steward, "$review-access", **finding))

    assert send(steward, "$review-access", **finding).status_code == 409
    assert "access" not in named(steward.get("$access-reviews"))
    (done,) = named(steward.get("$access-reviews?state=done"))["access"]
    assert (done["review"], done["reviewer"]) == (["not-justified"], ["steward"])
    assert doctor.get("$access-reviews").status_code == 403
