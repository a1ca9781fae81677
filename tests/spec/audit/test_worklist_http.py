"""Unusual access is flagged for the steward, who settles each flag with a note."""

from __future__ import annotations

from typing import Any

import pytest

from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.audit_log.anomaly_rules import AnomalyRules, load_rules
from ehr_gateway.audit_log.service import AuditLog
from tests.lib.gateway import House, consent, encounter, must, observation, patient

RULES_OF_WATCH = "ehr_gateway.audit_log.anomalies.load_rules"


def watch(house: House) -> None:
    log: AuditLog = house.app.state.audit_log
    log.flush_and_sign()


def flags(house: House, query: str = "") -> list[dict[str, Any]]:
    answer = must(house.login("steward").get(f"AuditEvent/$worklist?{query}"))
    return [one["resource"] for one in answer.json().get("entry", [])]


def rules_of(found: list[dict[str, Any]]) -> list[str]:
    return sorted(one["code"]["coding"][0]["code"] for one in found)


def settling(item: str, verdict: str = "in-order", note: str = "A referral.") -> dict[str, Any]:
    given = {"item": item, "verdict": verdict, "note": note}
    parameter = [{"name": name, "valueString": value} for name, value in given.items()]
    return {"resourceType": "Parameters", "parameter": parameter}


def many_patients(house: House, number: int) -> None:
    platform, hospital = house.system("ehr-commons"), house.system("hospital-a")
    for n in range(number):
        name = f"many-{n}"
        platform.store(patient(name, f"Z{n:06}"))
        platform.store(consent(f"joining-{name}", "joining", patient=name))
        hospital.store(encounter(f"enc-{name}", patient=name))
        hospital.store(observation(f"lab-{name}", "laboratory", patient=name))


def test_a_look_without_a_visit_is_flagged_and_one_with_a_visit_is_not(furnished: House) -> None:
    furnished.share()
    for login in ("doctor.a", "doctor.b"):
        must(furnished.login(login).get("Observation/lab-1"))
    watch(furnished)

    (found,) = flags(furnished)

    assert found["code"]["coding"][0]["code"] == "no-visit"
    assert found["focus"]["identifier"]["value"] == "doctor.b"
    assert found["for"] == {"reference": "Patient/pat-1"}
    assert found["status"] == "requested"


def test_the_same_is_flagged_once_however_often_it_is_looked_through(furnished: House) -> None:
    furnished.share()
    for _ in range(3):
        must(furnished.login("doctor.b").get("Observation/lab-1"))
        watch(furnished)

    assert rules_of(flags(furnished)) == ["no-visit"]


def test_a_family_name_in_common_is_flagged_and_never_shown(furnished: House) -> None:
    furnished.share()
    store = furnished.gateway.store
    accounts.add_account(store, Account("dr.c", "clinician", "Dr CHAN Mei", "hospital-b", "doctor"))
    must(furnished.login("dr.c").get("Observation/lab-1"))
    watch(furnished)

    found = flags(furnished)

    assert rules_of(found) == ["no-visit", "own-family-name"]
    told = str([{**one, "focus": None} for one in found])
    assert "Chan" not in told
    assert "CHAN" not in told


def test_many_patients_in_a_short_time_are_flagged(
    furnished: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = {**load_rules().figures, "many-patients": {"minutes": 60, "patients": 3}}
    monkeypatch.setattr(RULES_OF_WATCH, lambda: AnomalyRules(many))
    many_patients(furnished, 3)
    doctor = furnished.login("doctor.a")
    for n in (0, 1):
        must(doctor.get(f"Observation/lab-many-{n}"))
    watch(furnished)
    assert flags(furnished) == []

    furnished.clock.forward(seconds=3000)
    must(doctor.get("Observation/lab-many-2"))
    watch(furnished)
    (found,) = flags(furnished)
    assert rules_of([found]) == ["many-patients"]
    assert found["input"][0]["valueInteger"] == 3
    assert "for" not in found


def test_many_patients_over_a_long_time_are_not(
    furnished: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = {**load_rules().figures, "many-patients": {"minutes": 10, "patients": 3}}
    monkeypatch.setattr(RULES_OF_WATCH, lambda: AnomalyRules(many))
    many_patients(furnished, 3)
    doctor = furnished.login("doctor.a")
    for n in range(3):
        must(doctor.get(f"Observation/lab-many-{n}"))
        furnished.clock.forward(seconds=400)
    watch(furnished)

    assert flags(furnished) == []


def test_a_night_with_many_patients_is_flagged(
    furnished: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = {"after-hours": {"from_hour": 22, "until_hour": 6, "patients": 2}}
    monkeypatch.setattr(RULES_OF_WATCH, lambda: AnomalyRules(night))
    many_patients(furnished, 2)
    # The clock stands at four in the afternoon in Hong Kong.
    for hours, expected in ((0, []), (9, ["after-hours"])):
        furnished.clock.forward(seconds=hours * 3600)
        doctor = furnished.login("doctor.a")
        for n in range(2):
            must(doctor.get(f"Observation/lab-many-{n}"))
        watch(furnished)
        assert rules_of(flags(furnished)) == expected


def test_a_burst_of_emergencies_is_flagged(
    furnished: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    burst = {"emergency-burst": {"hours": 24, "patients": 2}}
    monkeypatch.setattr(RULES_OF_WATCH, lambda: AnomalyRules(burst))
    many_patients(furnished, 2)
    now = furnished.clock()
    with furnished.gateway.store.write_transaction() as connection:
        for n in range(2):
            connection.execute(
                "INSERT INTO consent_emergency (consent, patient, person, organization, since,"
                " until) VALUES (?, ?, 'doctor.b', 'hospital-b', ?, ?)",
                (f"em-{n}", f"many-{n}", now - 1000, now + 1000_000),
            )
    for n in range(2):
        must(furnished.login("doctor.b").get(f"Observation/lab-many-{n}"))
    watch(furnished)

    assert rules_of(flags(furnished)) == ["emergency-burst"]
    answer = must(furnished.login("auditor").get("AuditEvent?reason=emergency"))
    references = str([one["resource"]["entity"] for one in answer.json()["entry"]])
    assert "Consent/em-0" in references
    assert "Consent/em-1" in references


def test_a_steward_settles_a_flag_with_a_note_and_that_is_on_record(furnished: House) -> None:
    furnished.share()
    must(furnished.login("doctor.b").get("Observation/lab-1"))
    watch(furnished)
    (found,) = flags(furnished, "status=open")
    steward = furnished.login("steward")

    settled = must(steward.post("AuditEvent/$settle", settling(found["id"]))).json()

    assert settled["status"] == "completed"
    assert settled["note"][0]["text"] == "A referral."
    assert flags(furnished, "status=open") == []
    assert rules_of(flags(furnished, "status=settled")) == ["no-visit"]
    assert steward.post("AuditEvent/$settle", settling(found["id"])).status_code == 409
    answer = must(furnished.login("auditor").get("AuditEvent?subtype=audit-settle&outcome=0"))
    (event,) = [one["resource"] for one in answer.json()["entry"]]
    assert event["outcomeDesc"] == "settled in-order"
    assert "A referral." not in answer.text


def test_the_worklist_is_the_stewards_alone(furnished: House) -> None:
    assert furnished.login("auditor").get("AuditEvent/$worklist").status_code == 200
    for login in ("doctor.a", "p.pat-1", "admin", "researcher"):
        assert furnished.login(login).get("AuditEvent/$worklist").status_code == 403
    for login in ("doctor.a", "p.pat-1", "auditor"):
        assert furnished.login(login).post("AuditEvent/$settle", settling("x")).status_code == 403


@pytest.mark.parametrize("query", ["status=x", "rule=x", "_count=x", "colour=red"])
def test_a_malformed_question_is_refused(furnished: House, query: str) -> None:
    assert furnished.login("steward").get(f"AuditEvent/$worklist?{query}").status_code == 400


@pytest.mark.parametrize(
    "body",
    [settling(""), settling("x", verdict="guilty"), settling("x", note=" "), {"parameter": 3}],
)
def test_a_malformed_settling_is_refused(furnished: House, body: dict[str, Any]) -> None:
    assert furnished.login("steward").post("AuditEvent/$settle", body).status_code == 400
    assert furnished.login("steward").post("AuditEvent/$settle", settling("x")).status_code == 404


def test_the_worklist_pages(furnished: House) -> None:
    furnished.share()
    for _ in range(3):
        must(furnished.login("doctor.b").get("Observation/lab-1"))
        watch(furnished)
        furnished.clock.forward(seconds=86_400)
    steward, seen = furnished.login("steward"), []
    address: str | None = "AuditEvent/$worklist?_count=1"
    while address:
        page = must(steward.get(address)).json()
        seen += [one["resource"]["id"] for one in page.get("entry", [])]
        address = next((one["url"] for one in page["link"] if one["relation"] == "next"), None)

    assert len(seen) == len(set(seen)) == 3
