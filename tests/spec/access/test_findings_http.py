"""Findings of quality: told by the lake, decided by a steward, and told to the lake."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ehr_gateway.tokens.access_tokens import Subject
from tests.lib.gateway import House, Session, must, observation
from tests.spec.access.steps import named, send

LAB = "Observation/lab-1"
REASON = "The laboratory confirms the value, zebra-marked"
FINDING: dict[str, Any] = {
    "type": "Observation",
    "id": "lab-1",
    "version": 1,
    "severity": "error",
    "rules": ["value-plausible"],
    "elements": ["code", "status", "Patient/pat-1#birthDate", "Patient/pat-2#birthDate"],
}


def lake(house: House) -> Session:
    """Return the lake's own session."""
    return house.system("ehr-commons", "system/MeasureReport.cruds ehr/feed.read")


def tell(house: House, *findings: dict[str, Any], everything: bool = True) -> Any:
    body = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "findings", "valueString": json.dumps(list(findings))},
            {"name": "all", "valueBoolean": everything},
        ],
    }
    return lake(house).post("$report-findings", body)


def decide(session: Session, decision: str, version: int = 1) -> Any:
    return send(
        session, f"{LAB}/$decide-finding", version=version, decision=decision, reason=REASON
    )


def listed(session: Session, query: str = "") -> list[str]:
    answer = must(session.get(f"$findings{query}"))
    return [one["record"][0] for one in named(answer).get("finding", [])]


def told_to_lake(house: House) -> list[Any]:
    lines = must(lake(house).get("/feed?after=0&decisions=0&limit=5000")).text.splitlines()
    return [entry["quality"] for entry in map(json.loads, lines) if "quality" in entry]


def test_a_steward_sees_the_elements_at_fault_and_nothing_else(furnished: House) -> None:
    must(tell(furnished, FINDING))
    steward = furnished.login("steward")

    answer = must(steward.get(f"{LAB}/$finding"))

    shown = {one["path"][0]: one.get("value", [None])[0] for one in named(answer)["element"]}
    assert listed(steward) == [LAB]
    # Of another patient nothing is shown.
    assert set(shown) == {"code", "status", "Patient/pat-1#birthDate"}
    assert shown["status"] == '"final"'
    assert "subject" not in answer.text and "valueQuantity" not in answer.text


def test_the_patient_finds_in_their_log_that_a_steward_looked(furnished: House) -> None:
    must(tell(furnished, FINDING))
    patient, query = furnished.login("p.pat-1"), "AuditEvent?patient=Patient/pat-1&_count=100"
    before = must(patient.get(query)).text.count(f'"{LAB}"')

    must(furnished.login("steward").get(f"{LAB}/$finding"))

    assert must(patient.get(query)).text.count(f'"{LAB}"') == before + 1


def test_a_steward_of_an_organisation_has_what_it_wrote(furnished: House) -> None:
    must(tell(furnished, FINDING))
    for organization, has_it in (("hospital-a", True), ("hospital-b", False)):
        subject = Subject("st.x", "st-x", "steward", "St X", organization)
        session = Session(furnished.client, furnished.issue(subject, "user/*.rs ehr/access"))

        assert listed(session) == ([LAB] if has_it else [])
        assert session.get(f"{LAB}/$finding").status_code == (200 if has_it else 404)
        assert decide(session, "reject").status_code == (200 if has_it else 404)


@pytest.mark.parametrize("decision", ["release", "reject", "send-back"])
def test_a_decision_is_told_to_the_lake(furnished: House, decision: str) -> None:
    must(tell(furnished, FINDING))
    steward = furnished.login("steward")

    must(decide(steward, decision))

    assert told_to_lake(furnished) == [[{"version": 1, "decision": decision}]]
    # Neither the reason nor who decided is told to the lake.
    assert "zebra" not in must(lake(furnished).get("/feed?after=0&decisions=0&limit=5000")).text
    is_final = decision != "send-back"
    assert listed(steward) == ([] if is_final else [LAB])
    assert listed(steward, "?state=decided") == ([LAB] if is_final else [])
    assert decide(steward, "release").status_code == (409 if is_final else 200)


def test_what_is_sent_back_is_a_correction_request_to_its_author(furnished: House) -> None:
    must(tell(furnished, FINDING))
    must(decide(furnished.login("steward"), "send-back"))

    (asked,) = named(furnished.login("doctor.a").get("$corrections"))["correction"]

    assert (asked["record"], asked["text"]) == ([LAB], [REASON])
    assert decide(furnished.login("steward"), "send-back").status_code == 409


def test_a_newer_version_takes_the_place_of_one_with_a_fault(furnished: House) -> None:
    must(tell(furnished, FINDING))
    must(furnished.system("hospital-a").put(observation("lab-1", "laboratory")))
    steward = furnished.login("steward")

    assert listed(steward) == []
    assert decide(steward, "release").status_code == 404
    assert steward.get(f"{LAB}/$finding").status_code == 404


def test_what_has_no_fault_any_more_is_gone(furnished: House) -> None:
    must(tell(furnished, FINDING))
    must(tell(furnished, {**FINDING, "rules": [], "elements": []}, everything=False))

    assert listed(furnished.login("steward")) == []
    must(tell(furnished, FINDING))
    must(tell(furnished))
    assert listed(furnished.login("steward")) == []


def test_what_waits_is_counted_as_it_is_listed(furnished: House) -> None:
    def counted(session: Session) -> Any:
        found = must(session.get("$waiting")).json()["parameter"]
        return next(one["valueInteger"] for one in found if one["name"] == "findings")

    steward = furnished.login("steward")
    assert counted(steward) == 0
    must(tell(furnished, FINDING))
    assert counted(steward) == 1
    for organization, number in (("hospital-a", 1), ("hospital-b", 0)):
        subject = Subject("st.x", "st-x", "steward", "St X", organization)
        session = Session(furnished.client, furnished.issue(subject, "user/*.rs ehr/access"))
        assert counted(session) == number
    must(decide(steward, "reject"))
    assert counted(steward) == 0


@pytest.mark.parametrize("login", ["doctor.a", "p.pat-1", "auditor", "admin", "researcher"])
def test_nobody_else_sees_or_decides(furnished: House, login: str) -> None:
    must(tell(furnished, FINDING))
    session = furnished.login(login)

    assert session.get("$findings").status_code == 403
    assert session.get(f"{LAB}/$finding").status_code == 403
    assert decide(session, "release").status_code == 403


def test_only_the_lake_tells(furnished: House) -> None:
    for session in (furnished.login("steward"), furnished.system("hospital-a")):
        body = {
            "resourceType": "Parameters",
            "parameter": [{"name": "findings", "valueString": "[]"}],
        }
        assert session.post("$report-findings", body).status_code == 403
    for broken in ("{}", "[1]", "no json", '[{"type": "Observation"}]'):
        body = {
            "resourceType": "Parameters",
            "parameter": [{"name": "findings", "valueString": broken}],
        }
        assert lake(furnished).post("$report-findings", body).status_code in (400, 422)


def test_a_path_that_leads_nowhere_shows_nothing(furnished: House) -> None:
    paths = ["no.such[3].thing", "code[0]", "../../x", "status.x", "Organization/o#name"]
    must(tell(furnished, {**FINDING, "elements": paths}))

    answer = named(must(furnished.login("steward").get(f"{LAB}/$finding")))

    assert [one.get("value") for one in answer.get("element", [])] == [None] * 3
