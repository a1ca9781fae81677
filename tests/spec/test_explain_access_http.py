"""$explain-access: the patient and the steward learn which rule decides, a clinician nothing."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import pytest

from ehr_privacy.consent.explain import LANGUAGES, load_explanations
from tests.lib.gateway import House, Session, consent, must, observation, patient, restriction
from tests.spec.consent.test_cases import CASES, requester

RECORDS = ("Observation/lab-1", "Observation/vital-1", "Condition/con-1", "Patient/pat-1")
ASKED = "Patient/pat-1/$explain-access"


def found(answer: Any) -> dict[str, Any]:
    """Return the parameters of an answer by name; the texts by language."""
    named: dict[str, Any] = {"explanation": {}}
    for one in must(answer).json()["parameter"]:
        if one["name"] == "explanation":
            language, text = (part.popitem()[1] for part in one["part"])
            named["explanation"][language] = text
        else:
            named[one["name"]] = next(v for k, v in one.items() if k != "name")
    return named


def explained(house: House, query: str, login: str = "p.pat-1") -> dict[str, Any]:
    return found(house.login(login).get(f"{ASKED}?{query}"))


def worlds(house: House) -> Any:
    """Yield after each step of what a patient may decide."""
    patient = house.login("p.pat-1")
    yield "nothing is shared"
    house.share()
    yield "all is shared"
    patient.store(restriction("close-lab", against="Organization/hospital-b", domain="laboratory"))
    yield "the laboratory is closed"
    patient.store(restriction("close-all", against="Organization/hospital-b"))
    yield "all is closed"
    house.share(status="inactive")
    yield "nothing is shared any more"


def test_what_is_explained_is_what_the_clinician_meets(furnished: House) -> None:
    sessions = {name: furnished.login(name) for name in ("doctor.a", "doctor.b", "pharmacist.b")}
    met = set()

    for world in worlds(furnished):
        for login, session in sessions.items():
            organization = f"hospital-{login[-1]}"
            who = f"organization={organization}&person={login}"
            profession = "pharmacist" if login.startswith("ph") else "doctor"
            for record in RECORDS:
                answer = explained(furnished, f"{who}&profession={profession}&record={record}")
                permitted = session.get(record).status_code == 200
                assert answer["decision"] == ("permit" if permitted else "deny"), (world, record)
                met.add(answer["reason"])

    assert met == {"own-record", "shared", "hidden", "not-shared"}


def test_the_answer_names_the_rule_in_three_languages(furnished: House) -> None:
    furnished.share()
    close = restriction("close-lab", against="Organization/hospital-b", domain="laboratory")
    furnished.login("p.pat-1").store(close)

    for login in ("p.pat-1", "steward"):
        answer = explained(furnished, "organization=hospital-b&domain=laboratory", login)

        assert (answer["decision"], answer["reason"], answer["line"]) == ("deny", "hidden", 8)
        assert answer["source"] == {"reference": "Consent/close-lab"}
        assert set(answer["explanation"]) == set(LANGUAGES)
        assert all("hospital-b" in text for text in answer["explanation"].values())
        shared = explained(furnished, "organization=hospital-b&domain=diagnosis", login)
        assert shared["source"] == {"reference": "Consent/sharing-hospital-b"}


def test_an_instant_in_the_past_is_judged_by_the_consents_of_then(furnished: House) -> None:
    def at(clock: int) -> str:
        return datetime.fromtimestamp(clock / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    furnished.share()
    shared = furnished.clock.now
    furnished.clock.forward(seconds=60)
    furnished.share(status="inactive")
    furnished.clock.forward(seconds=60)
    query = "organization=hospital-b&domain=diagnosis"

    assert explained(furnished, query)["reason"] == "not-shared"
    assert explained(furnished, f"{query}&at={at(shared + 1000)}")["reason"] == "shared"
    assert explained(furnished, f"{query}&at={at(shared + 61_000)}")["reason"] == "not-shared"
    assert explained(furnished, f"{query}&at=2020-01-01")["reason"] == "not-joined"


@pytest.mark.parametrize("login", ["doctor.a", "doctor.b", "researcher", "auditor", "admin"])
def test_whoever_is_refused_learns_nothing(furnished: House, login: str) -> None:
    furnished.share()
    session = furnished.login(login)

    answers = [
        session.get(f"Patient/{one}/$explain-access?organization=hospital-b&domain=laboratory")
        for one in ("pat-1", "absent")
    ]

    assert [one.status_code for one in answers] == [403, 403]
    assert answers[0].json()["issue"] == answers[1].json()["issue"]


def test_another_patient_and_a_carer_without_power_meet_an_absent_patient(
    furnished: House,
) -> None:
    def ask(session: Session, name: str) -> Any:
        return session.get(f"Patient/{name}/$explain-access?organization=x&domain=other")

    other = furnished.login("p.pat-2")

    assert ask(other, "pat-1").status_code == 404
    assert ask(other, "pat-1").json()["issue"] == ask(other, "absent").json()["issue"]
    assert ask(furnished.login("steward"), "absent").status_code == 404
    assert ask(other, "pat-2").status_code == 200


def test_a_record_of_two_says_that_another_has_a_say_and_not_what(furnished: House) -> None:
    both = {**observation("both", "laboratory"), "focus": [{"reference": "Patient/pat-2"}]}
    both["contained"] = [
        {**observation("x", "laboratory", patient="pat-2"), "id": "x"},
    ]
    both["derivedFrom"] = [{"reference": "#x"}]
    furnished.system("hospital-a").store(both)
    furnished.share()
    closed = {**restriction("close", against="Organization/hospital-b"), "id": "of-the-other"}
    closed["patient"] = {"reference": "Patient/pat-2"}
    furnished.login("p.pat-2").store(closed)
    power = {
        "type": "permit",
        "actor": [
            {
                "role": closed["provision"]["actor"][0]["role"],
                "reference": {
                    "identifier": {
                        "system": "https://ehr-commons.hk/fhir/sid/account",
                        "value": "p.pat-1",
                    }
                },
            }
        ],
    }
    furnished.login("p.pat-2").store(consent("power", "carer", patient="pat-2", provision=power))

    answer = explained(furnished, "organization=hospital-b&record=Observation/both")

    assert (answer["decision"], answer["others"]) == ("permit", True)
    assert "of-the-other" not in str(answer)
    assert furnished.login("doctor.b").get("Observation/both").status_code == 404


def test_a_rule_of_a_merged_account_decides_and_is_not_named(furnished: House) -> None:
    furnished.share()
    closed = restriction("of-the-other", against="Organization/hospital-b", domain="laboratory")
    closed["patient"] = {"reference": "Patient/pat-2"}
    furnished.login("p.pat-2").store(closed)
    shared = datetime.fromtimestamp(furnished.clock.now / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    furnished.clock.forward(seconds=60)
    link = {"type": "replaced-by", "other": {"reference": "Patient/pat-2"}}
    platform = furnished.system("ehr-commons")
    must(platform.put({**patient("pat-1", "ZA1234560"), "link": [link]}))
    query = "organization=hospital-b&domain=laboratory"

    answer = explained(furnished, query)
    assert (answer["decision"], answer["reason"], answer["others"]) == ("deny", "hidden", True)
    assert "source" not in answer and "of-the-other" not in str(answer)
    assert "others" not in explained(furnished, query.replace("laboratory", "diagnosis"))
    assert explained(furnished, f"{query}&at={shared}")["decision"] == "permit"

    close = restriction("of-his-own", against="Organization/hospital-b")
    furnished.login("p.pat-1").store(close)
    answer = explained(furnished, query)
    assert answer["source"] == {"reference": "Consent/of-his-own"}
    assert "others" not in answer


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("domain=laboratory", "organization"),
        ("organization=a", "record"),
        ("organization=a&domain=laboratory&record=Observation/lab-1", "record"),
        ("organization=a&domain=everything", "domain"),
        ("organization=a&record=lab-1", "record"),
        ("organization=a&domain=other&profession=locksmith", "profession"),
        ("organization=a&domain=other&role=patient", "role"),
        ("domain=other&role=carer", "person"),
        ("organization=a&domain=other&label=SECRET", "label"),
        ("organization=a&record=Observation/lab-1&label=HIV", "label"),
        ("organization=a&domain=other&at=yesterday", "at"),
        ("organization=a&organization=b&domain=other", "organization"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused_with_the_parameter(
    furnished: House, query: str, parameter: str
) -> None:
    answer = furnished.login("p.pat-1").get(f"{ASKED}?{query}")

    assert answer.status_code == 400
    assert answer.json()["issue"][0]["expression"] == [parameter]


def test_a_record_that_is_another_patients_is_not_there(furnished: House) -> None:
    answer = furnished.login("p.pat-2").get(
        "Patient/pat-2/$explain-access?organization=a&record=Observation/lab-1"
    )

    assert answer.status_code == 404


def test_the_question_is_on_record(furnished: House) -> None:
    explained(furnished, "organization=hospital-b&record=Observation/lab-1")

    events = must(furnished.login("p.pat-1").get("AuditEvent?patient=pat-1")).json()

    assert b64encode(b"$explain-access").decode() in str(events)


def test_every_answer_of_the_table_about_a_clinician_or_carer_has_its_words() -> None:
    answers = {
        (case.answer.startswith("permit"), case.answer.split()[1])
        for case in CASES
        if requester(case.who).role in ("clinician", "system", "carer")
    }

    assert answers <= set(load_explanations())
