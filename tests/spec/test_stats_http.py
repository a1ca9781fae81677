"""`Observation/$stats` over HTTP: of which measurements, and that hidden ones never count."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest

from tests.lib.gateway import House, Session, must, observation, restriction

LOINC = "http://loinc.org"
ASKED = (("subject", "Patient/pat-1"), ("code", "718-7"))


def ask(session: Session, *pairs: tuple[str, str], statistic: str = "average") -> Any:
    query = urlencode([*(pairs or ASKED), ("statistic", statistic)])
    return session.get(f"Observation/$stats?{query}")


def parts(answer: Any, name: str = "statistics") -> list[dict[str, Any]]:
    sent = must(answer).json()["parameter"]
    return [one["resource"] for one in sent if one["name"] == name]


def values(answer: Any) -> dict[str, Any]:
    (statistics,) = parts(answer)
    return {
        one["code"]["coding"][0]["code"]: one.get("valueQuantity", {}).get("value")
        for one in statistics["component"]
    }


def post(session: Session, *parameters: dict[str, Any]) -> Any:
    sent = [{"name": "subject", "valueUri": "Patient/pat-1"}, *parameters]
    return session.post("Observation/$stats", {"resourceType": "Parameters", "parameter": sent})


@pytest.fixture
def measured(furnished: House) -> House:
    """Return a house with values of 10, 13.5 (three times) and 20, and one that was an error."""
    hospital = furnished.system("hospital-a")
    for name, value, more in (
        ("low", 10, {"effectiveDateTime": "2026-01-01"}),
        ("high", 20, {"effectiveDateTime": "2026-02-01"}),
        ("wrong", 99, {"status": "entered-in-error"}),
        ("stopped", 98, {"status": "cancelled"}),
    ):
        body = observation(name, "laboratory")
        body["valueQuantity"] = {**body["valueQuantity"], "value": value}
        hospital.store({**body, **more})
    return furnished


def test_statistics_are_of_all_that_the_reader_finds(measured: House) -> None:
    hospital = measured.system("hospital-a")
    pairs = [*ASKED, ("statistic", "count"), ("statistic", "min"), ("statistic", "maximum")]
    answer = ask(hospital, *pairs)

    assert values(answer) == {"count": 5, "minimum": 10, "maximum": 20, "average": 14.1}
    (statistics,) = parts(answer)
    assert statistics["subject"] == {"reference": "Patient/pat-1"}
    assert statistics["component"][-1]["valueQuantity"] == {"value": 14.1, "unit": "g/dL"}


def test_what_is_hidden_from_the_reader_changes_no_number(measured: House) -> None:
    measured.share()
    reader = measured.login("doctor.b")
    before = values(ask(reader, statistic="count"))
    hidden = restriction("close-1", record="Observation/high")
    measured.login("p.pat-1").store(hidden)
    closed = ask(reader, *ASKED, ("statistic", "maximum"), statistic="count")
    measured.system("hospital-a").delete("Observation/high")
    gone = ask(reader, *ASKED, ("statistic", "maximum"), statistic="count")

    assert before == {"count": 5}
    assert values(closed) == {"maximum": 13.5, "count": 4}
    assert closed.json() == gone.json()


@pytest.mark.parametrize("reader", ["doctor.b", "p.pat-2"])
def test_who_may_see_nothing_is_answered_as_if_there_were_nothing(
    measured: House, reader: str
) -> None:
    session = measured.login(reader)
    answers = [
        values(ask(session, ("subject", subject), ASKED[1], statistic="total-count"))
        for subject in ("Patient/pat-1", "Patient/nobody")
    ]
    assert answers == [{"total-count": 0}] * 2


def test_a_component_is_measured_like_an_observation(furnished: House) -> None:
    pressure = observation("bp", "vital-signs")
    del pressure["valueQuantity"]
    millimetres = {"unit": "mmHg", "system": "http://unitsofmeasure.org", "code": "mm[Hg]"}
    pressure["code"] = {"coding": [{"system": LOINC, "code": "85354-9"}]}
    pressure["component"] = [
        {
            "code": {"coding": [{"system": LOINC, "code": code}]},
            "valueQuantity": {"value": value, **millimetres},
        }
        for code, value in (("8480-6", 120), ("8462-4", 80))
    ]
    hospital = furnished.system("hospital-a")
    hospital.store(pressure)

    both = [("system", LOINC), ("code", "8480-6"), ("code", "8462-4")]
    answer = ask(hospital, ("subject", "Patient/pat-1"), *both)
    found = [one["component"][0]["valueQuantity"] for one in parts(answer)]
    assert found == [{"value": 120, **millimetres}, {"value": 80, **millimetres}]
    panel = ask(hospital, ASKED[0], ("code", "85354-9"), ("statistic", "count"))
    assert values(panel) == {"count": 0, "average": None}


def test_a_period_and_a_duration_bound_what_is_looked_at(measured: House) -> None:
    hospital = measured.system("hospital-a")
    coding = {"name": "coding", "valueCoding": {"system": LOINC, "code": "718-7"}}
    count = {"name": "statistic", "valueCode": "count"}
    january = {"name": "period", "valuePeriod": {"start": "2026-01-01", "end": "2026-01-05"}}
    assert values(post(hospital, coding, count, january)) == {"count": 1}
    (statistics,) = parts(post(hospital, coding, count, january))
    assert statistics["effectivePeriod"] == january["valuePeriod"]

    # The clock stands in November.
    hours = [*ASKED, ("duration", "24.5")]
    assert values(ask(hospital, *hours, statistic="count")) == {"count": 0}
    assert values(ask(hospital, *ASKED, ("duration", "8000"), statistic="count")) == {"count": 5}


def test_the_measurements_come_along_when_asked_for(measured: House) -> None:
    hospital = measured.system("hospital-a")
    assert parts(ask(hospital), "source") == []
    two = ask(hospital, *ASKED, ("include", "true"), ("limit", "2"))
    assert [one["id"] for one in parts(two, "source")][:1] == ["high"]
    assert len(parts(two, "source")) == 2


@pytest.mark.parametrize(
    ("pairs", "status", "named"),
    [
        ([("code", "718-7")], 400, "subject"),
        ([("subject", "pat-1"), ("code", "718-7")], 400, "subject"),
        ([("subject", "Patient/pat-1")], 400, "code"),
        ([*ASKED, ("statistic", "mode")], 422, "statistic"),
        ([*ASKED, ("statistic", "regression")], 422, "statistic"),
        ([*ASKED, ("duration", "x")], 400, "duration"),
        ([*ASKED, ("duration", "-1")], 422, "duration"),
        ([*ASKED, ("duration", "99999999999")], 422, "duration"),
        ([*ASKED, ("limit", "0")], 422, "limit"),
        ([*ASKED, *[("code", str(number)) for number in range(21)]], 422, "code"),
        ([*ASKED, ("near", "1")], 400, "near"),
    ],
)
def test_bad_input_is_refused_with_the_parameters_name(
    furnished: House, pairs: list[tuple[str, str]], status: int, named: str
) -> None:
    answer = ask(furnished.system("hospital-a"), *pairs)
    assert answer.status_code == status, answer.text
    assert named in str(answer.json()["issue"])


@pytest.mark.parametrize("period", [{}, {"start": 5}, {"from": "2026"}, {"start": "soon"}])
def test_a_period_that_is_none_is_refused(furnished: House, period: dict[str, Any]) -> None:
    code = {"name": "code", "valueString": "718-7"}
    count = {"name": "statistic", "valueCode": "count"}
    sent = {"name": "period", "valuePeriod": period}
    assert post(furnished.system("hospital-a"), code, count, sent).status_code in (400, 422)


def test_units_that_do_not_convert_are_said_without_a_value(measured: House) -> None:
    body = observation("moles", "laboratory")
    body["valueQuantity"] = {"value": 8.7, "unit": "mmol/L"}
    measured.system("hospital-a").store(body)
    answer = ask(measured.system("hospital-a"))

    assert answer.status_code == 422
    assert "8.7" not in answer.text
