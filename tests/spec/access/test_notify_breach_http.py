"""$notify-breach: each patient of a report is told once, whatever is repeated or cut off."""

from __future__ import annotations

from typing import Any

import pytest

from ehr_gateway.operations import notify_breach
from tests.lib.gateway import House, Session, consent, must, observation, patient

PEOPLE = [f"pat-{number}" for number in range(1, 6)]
PERIOD = {"from": "2026-11-01", "until": "2026-11-22T16:00:01+08:00"}


@pytest.fixture
def breached(furnished: House) -> House:
    """Return a house where doctor.a saw records of five patients."""
    platform, hospital = furnished.system("ehr-commons"), furnished.system("hospital-a")
    for name in PEOPLE[2:]:
        platform.store(patient(name, f"ZF{name[-1]}"))
        platform.store(consent(f"joining-{name}", "joining", patient=name))
    for name in PEOPLE:
        hospital.store(observation(f"lab-{name}", "laboratory", patient=name))
        must(furnished.login("doctor.a").get(f"Observation/lab-{name}"))
    return furnished


def notify(session: Session, **values: Any) -> Any:
    sent = {"kind": "person", "subject": "doctor.a", **PERIOD, "patients": 5, **values}
    parameters = [
        {"name": name, "valueInteger" if isinstance(value, int) else "valueString": value}
        for name, value in sent.items()
        if value is not None
    ]
    return session.post("$notify-breach", {"resourceType": "Parameters", "parameter": parameters})


def numbers(answer: Any) -> dict[str, int]:
    return {one["name"]: one["valueInteger"] for one in must(answer).json()["parameter"]}


def notices(house: House, name: str, language: str = "en") -> list[str]:
    """Return the texts of a patient's notices of a breach."""
    with house.gateway.store.read_transaction() as connection:
        rows = connection.execute(
            "SELECT read_ms FROM notice WHERE kind = 'breach' AND reader = ?", (f"Patient/{name}",)
        ).fetchall()
    if name not in ("pat-1", "pat-2"):
        return [""] * len(rows)
    answer = must(house.login(f"p.{name}").get(f"$notices?language={language}")).json()
    found = []
    for one in answer["parameter"]:
        parts = {part["name"]: part for part in one.get("part", ())}
        if one["name"] == "notice" and parts["kind"]["valueString"] == "breach":
            assert parts["read"]["valueBoolean"] is False
            found.append(parts["text"]["valueString"])
    return found


def test_everybody_is_told_once_and_the_steward_how_many(breached: House) -> None:
    steward = breached.login("steward")

    assert numbers(notify(steward)) == {"patients": 5, "told": 5, "told-before": 0}
    assert numbers(notify(steward)) == {"patients": 5, "told": 0, "told-before": 5}

    assert [len(notices(breached, name)) for name in PEOPLE] == [1] * 5
    texts = {language: notices(breached, "pat-1", language)[0]
             for language in ("en", "zh-Hant-HK", "zh-Hans")}  # fmt: skip
    assert len(set(texts.values())) == 3
    for text in texts.values():
        assert "2026-11-22 16:00" in text
        assert "Dr A" not in text
        assert "doctor.a" not in text
    unread = must(breached.login("p.pat-1").get("$unread-notices")).json()["parameter"]
    assert unread[0]["valueInteger"] >= 1


def test_each_patient_finds_in_their_log_that_they_were_told(breached: House) -> None:
    notify(breached.login("steward"))
    notify(breached.login("steward"))

    answer = must(breached.login("p.pat-1").get("AuditEvent?agent=steward&subtype=operation"))

    assert len(answer.json()["entry"]) == 1


def test_what_was_cut_off_goes_on(breached: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify_breach, "_BATCH", 2)
    tell, calls = notify_breach._queue_notices, 0

    def cut_off(*values: Any) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError("the process ends here")
        return tell(*values)

    monkeypatch.setattr(notify_breach, "_queue_notices", cut_off)
    assert notify(breached.login("steward")).status_code == 500
    assert sum(len(notices(breached, name)) for name in PEOPLE) == 2

    assert numbers(notify(breached.login("steward"))) == {
        "patients": 5, "told": 3, "told-before": 2,
    }  # fmt: skip
    assert [len(notices(breached, name)) for name in PEOPLE] == [1] * 5


def test_a_later_end_tells_only_whom_it_names_anew(breached: House) -> None:
    notify(breached.login("steward"))
    breached.clock.forward(seconds=3600)
    platform = breached.system("ehr-commons")
    platform.store(patient("pat-6", "ZF6"))
    platform.store(consent("joining-6", "joining", patient="pat-6"))
    breached.system("hospital-a").store(observation("l-6", "laboratory", patient="pat-6"))
    must(breached.login("doctor.a").get("Observation/l-6"))

    later = {"until": "2026-11-22T17:00:00.001+08:00"}
    assert notify(breached.login("steward"), **later).status_code == 409
    assert notices(breached, "pat-6") == []
    assert numbers(notify(breached.login("steward"), **later, patients=6)) == {
        "patients": 6, "told": 1, "told-before": 5,
    }  # fmt: skip


@pytest.mark.parametrize("login", ["auditor", "admin", "doctor.a", "p.pat-1"])
def test_it_is_for_a_steward(breached: House, login: str) -> None:
    assert notify(breached.login(login)).status_code == 403


@pytest.mark.parametrize(
    "values",
    [
        {"patients": 4},
        {"patients": None},
        {"until": None},
        {"until": "2026-10-01"},
        {"from": "2026-11-22T16:00:01+08:00"},
        {"subject": None},
        {"kind": "emergency"},
        {"kind": "nobody"},
    ],
)
def test_what_does_not_fit_tells_nobody(breached: House, values: dict[str, Any]) -> None:
    assert notify(breached.login("steward"), **values).status_code in (400, 409, 422)
    assert sum(len(notices(breached, name)) for name in PEOPLE) == 0
