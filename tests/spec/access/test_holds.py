"""Holds: a result kept from the patient until a date, and the stub that says so."""

from __future__ import annotations

import pytest

from tests.lib.gateway import House, Session, must
from tests.spec.access.steps import carer, named, send

REASON = "To be told in person at the next visit"
UNTIL = "2026-12-01"


@pytest.fixture
def doctor(furnished: House) -> Session:
    """Return a doctor of the hospital that wrote the results."""
    return furnished.login("doctor.a")


def hold(session: Session, record: str = "Observation/lab-1", until: str = UNTIL) -> str:
    """Hold a result and return the hold's id."""
    return str(named(send(session, f"{record}/$hold", reason=REASON, until=until))["id"][0])


def test_the_patient_sees_a_stub_and_not_the_reason(furnished: House, doctor: Session) -> None:
    patient = furnished.login("p.pat-1")
    hold(doctor)

    assert patient.get("Observation/lab-1").status_code == 404
    (stub,) = named(patient.get("Patient/pat-1/$held"))["held"]
    assert stub["organization"] == ["hospital-a"]
    assert stub["domain"] == ["laboratory"]
    assert stub["until"] == ["2026-12-01T16:00:00.000Z"]
    assert not {"reason", "record"} & set(stub)
    consents = must(patient.get("Consent?patient=pat-1")).text
    assert REASON not in consents
    assert doctor.get("Observation/lab-1").status_code == 200


def test_a_carer_sees_no_more_than_the_patient(furnished: House, doctor: Session) -> None:
    session = carer(furnished, "carer.1")
    hold(doctor)

    assert session.get("Observation/lab-1").status_code == 404
    assert len(named(session.get("Patient/pat-1/$held"))["held"]) == 1
    assert session.get("Patient/pat-2/$held").status_code == 404


def test_no_stub_tells_a_carer_of_what_is_closed_to_him(furnished: House, doctor: Session) -> None:
    session = carer(furnished, "carer.1", domain="laboratory")
    hold(doctor)

    assert "held" not in named(session.get("Patient/pat-1/$held"))
    assert len(named(furnished.login("p.pat-1").get("Patient/pat-1/$held"))["held"]) == 1


def test_it_ends_by_itself(furnished: House, doctor: Session) -> None:
    hold(doctor, until="2026-11-23")
    furnished.clock.forward(seconds=32 * 3600)
    patient = furnished.login("p.pat-1")

    assert patient.get("Observation/lab-1").status_code == 200
    assert "held" not in named(patient.get("Patient/pat-1/$held"))


def test_its_own_place_ends_it_early_and_nobody_else(furnished: House, doctor: Session) -> None:
    held = hold(doctor)
    for login in ("doctor.b", "p.pat-1"):
        answer = send(furnished.login(login), "$release-hold", hold=held)
        assert answer.status_code == 404

    must(send(doctor, "$release-hold", hold=held))
    assert furnished.login("p.pat-1").get("Observation/lab-1").status_code == 200
    assert send(doctor, "$release-hold", hold=held).status_code == 404


def test_the_patient_cannot_lift_it_by_the_consent(furnished: House, doctor: Session) -> None:
    hold(doctor)
    patient = furnished.login("p.pat-1")
    consents = must(patient.get("Consent?patient=pat-1")).json()["entry"]
    (body,) = [
        entry["resource"]
        for entry in consents
        if entry["resource"]["category"][0]["coding"][0]["code"] == "hold"
    ]

    assert patient.put(body | {"status": "inactive"}).status_code == 403
    assert patient.delete(f"Consent/{body['id']}").status_code == 403


def test_another_places_result_is_not_ones_own_to_hold(furnished: House) -> None:
    furnished.share()
    doctor = furnished.login("doctor.b")
    answer = send(doctor, "Observation/lab-1/$hold", reason=REASON, until=UNTIL)

    assert answer.status_code == 403
