"""$choices: each choice once, in order of time, with who made it and what ended for good."""

from __future__ import annotations

from typing import Any

from tests.lib.gateway import House, Session, consent, must, restriction
from tests.spec.access.steps import ask, carer, named, redeem, send

ASKED = "Patient/pat-1/$choices"
ROLE = {
    "coding": [
        {"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP"}
    ]
}
B = {"role": ROLE, "reference": {"reference": "Organization/hospital-b"}}
SHARES = consent("x", "sharing", provision={"type": "permit", "actor": [B]})
del SHARES["id"]


def choices(session: Session) -> list[dict[str, Any]]:
    """Return the choices, oldest first; the Consent of each as `content`."""
    listed = must(session.get(ASKED)).json().get("parameter", [])
    found = [
        {
            part["name"]: next(value for key, value in part.items() if key != "name")
            for part in one["part"]
        }
        for one in listed
    ]
    return found[::-1]


def tick(house: House) -> None:
    house.clock.forward(seconds=60)


def test_every_choice_is_listed_with_who_made_it(furnished: House) -> None:
    patient = furnished.login("p.pat-1")
    tick(furnished)
    shared = must(patient.post("Consent", SHARES)).json()
    tick(furnished)
    manager = carer(furnished, "carer.1", power="both")
    tick(furnished)
    closes = {k: v for k, v in restriction("x", domain="laboratory").items() if k != "id"}
    must(manager.post("Consent", closes))
    tick(furnished)
    at_counter = consent("opted-out", "research", provision={"type": "deny"})
    del at_counter["id"]
    must(furnished.login("steward").post("Consent", at_counter))
    tick(furnished)
    doctor = furnished.login("doctor.b")
    request = ask(doctor, domain="laboratory")
    tick(furnished)
    must(redeem(furnished, doctor, request))
    tick(furnished)
    second = ask(doctor, domain="laboratory")
    must(send(patient, "$approve-access", request=second))
    tick(furnished)
    must(send(patient, "$notice-preference", each_access="yes"))
    tick(furnished)
    must(patient.put(shared | {"status": "inactive"}))

    found = choices(patient)

    assert [(one["category"], one["made-by"]) for one in found] == [
        ("joining", "platform"),
        ("sharing", "self"),
        ("carer", "carer"),
        ("restriction", "carer"),
        ("research", "counter"),
        ("step-up", "code"),
        ("step-up", "self"),
        ("notices", "self"),
        ("sharing", "self"),
    ]
    assert found[3]["display"] == "Carer One"
    assert [one["content"]["status"] for one in found if one["category"] == "sharing"] == [
        "active",
        "inactive",
    ]
    assert [one["newest"] for one in found if one["category"] == "sharing"] == [False, True]
    # The sharing ended, and with it what was agreed to under it.
    grants = [one for one in found if one["category"] == "step-up"]
    assert all(one["final"] and one["ended"] for one in grants)
    assert not any(one["final"] for one in found if one["category"] == "sharing")


def test_the_list_is_for_who_decides(furnished: House) -> None:
    viewer = carer(furnished, "carer.1", power="view")
    manager = carer(furnished, "carer.2", power="manage")
    furnished.share()

    assert choices(manager) == choices(furnished.login("p.pat-1"))
    assert viewer.get(ASKED).status_code == 404
    for login in ("p.pat-2", "doctor.a", "doctor.b", "steward", "auditor"):
        assert furnished.login(login).get(ASKED).status_code in (403, 404), login


def test_an_emergency_and_a_hold_are_nobodys_choice(furnished: House) -> None:
    doctor = furnished.login("doctor.a")
    reason = "Held until it was talked about in person"
    must(send(doctor, "Observation/lab-1/$hold", reason=reason, until="2026-11-25"))
    must(send(furnished.login("doctor.b"), "Patient/pat-1/$declare-emergency", reason=reason))

    assert {one["category"] for one in choices(furnished.login("p.pat-1"))} == {"joining"}


def test_a_choice_of_another_patient_is_not_listed(furnished: House) -> None:
    other = restriction("of-two", domain="laboratory") | {"patient": {"reference": "Patient/pat-2"}}
    furnished.login("p.pat-2").store(other)

    assert [one["consent"] for one in choices(furnished.login("p.pat-1"))] == ["joining-1"]
    events = named(furnished.login("p.pat-1").get(ASKED))
    assert len(events["choice"]) == 1
