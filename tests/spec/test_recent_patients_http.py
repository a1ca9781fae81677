"""$recent-patients: a clinician's own, newest first, and none that was closed since."""

from __future__ import annotations

from typing import Any

from tests.lib.gateway import House, consent, must, restriction

PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"


def recent(house: House, login: str) -> list[str]:
    """Return the ids of the answer, in its order."""
    answer: Any = must(house.login(login).get("$recent-patients")).json()
    parts = [part for one in answer.get("parameter", ()) for part in one["part"]]
    return [part["valueString"] for part in parts if part["name"] == "id"]


def share(house: House) -> None:
    """Let both patients share with hospital-a."""
    actor = {
        "role": {"coding": [{"system": PARTICIPATION, "code": "PRCP"}]},
        "reference": {"reference": "Organization/hospital-a"},
    }
    for name in ("pat-1", "pat-2"):
        provision = {"type": "permit", "actor": [actor]}
        body = consent(f"share-{name}", "sharing", patient=name, provision=provision)
        house.login(f"p.{name}").store(body)


def test_what_was_opened_is_listed_the_newest_first(furnished: House) -> None:
    share(furnished)
    doctor = furnished.login("doctor.a")
    assert recent(furnished, "doctor.a") == []

    for name in ("pat-1", "pat-2", "pat-1"):
        must(doctor.get(f"Patient/{name}"))
        furnished.clock.forward(seconds=60)

    assert recent(furnished, "doctor.a") == ["pat-1", "pat-2"]
    assert recent(furnished, "doctor.b") == []


def test_a_search_opens_nothing_and_a_week_is_enough(furnished: House) -> None:
    share(furnished)
    doctor = furnished.login("doctor.a")
    must(doctor.get("Patient?_id=pat-1"))
    must(doctor.get("Observation/lab-1"))
    assert recent(furnished, "doctor.a") == []

    must(doctor.get("Patient/pat-1"))
    furnished.clock.forward(seconds=8 * 24 * 3600)

    assert recent(furnished, "doctor.a") == []


def test_who_closed_the_record_since_is_not_listed(furnished: House) -> None:
    furnished.share()
    must(furnished.login("doctor.b").get("Patient/pat-1"))
    assert recent(furnished, "doctor.b") == ["pat-1"]

    furnished.login("p.pat-1").store(restriction("close-all", against="Organization/hospital-b"))

    assert recent(furnished, "doctor.b") == []


def test_it_is_for_clinicians(furnished: House) -> None:
    for login in ("p.pat-1", "steward"):
        assert furnished.login(login).get("$recent-patients").status_code == 403
