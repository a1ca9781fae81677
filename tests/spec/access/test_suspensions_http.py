"""Containment: who is suspended reaches nothing from the next request on, on every worker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from fastapi.testclient import TestClient

from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.app import create_gateway
from ehr_gateway.audit_log.recorder import AuditContext
from ehr_gateway.backup.replay import describe_redo_action, replay_entries
from ehr_gateway.journal.entries import Entry, SealedEntry
from ehr_gateway.journal.redo_actions import build_suspension_redo
from ehr_gateway.oauth import clients
from ehr_gateway.tokens.access_tokens import Subject
from tests.lib.gateway import PASSWORD, House, Session, must

REASON = "Somebody else uses this log-in"
HOUR = 3600


def suspend(house: House, kind: str, subject: str = "", by: str = "steward", **more: str) -> str:
    """Suspend, and return the suspension's id."""
    values = {"kind": kind, "subject": subject, "reason": REASON, **more}
    answer = must(house.login(by).post("$suspend", parameters(values)))
    return str(part(answer.json()["parameter"], "id"))


def lift(house: House, suspension: str) -> Any:
    values = {"suspension": suspension, "reason": "It was a mistake of ours"}
    return house.login("steward").post("$lift-suspension", parameters(values))


def parameters(values: dict[str, str]) -> dict[str, Any]:
    """Return a Parameters resource."""
    sent = [{"name": name, "valueString": text} for name, text in values.items() if text]
    return {"resourceType": "Parameters", "parameter": sent}


def part(parts: list[Any], name: str) -> Any:
    """Return the value of the part of a name."""
    found = next(found for found in parts if found["name"] == name)
    return next(value for key, value in found.items() if key.startswith("value"))


@pytest.fixture(autouse=True)
def registered_client(furnished: House) -> None:
    """Register the client that the tokens of the tests are issued to."""
    client = clients.Client("test", "Test", scope="", organization="ehr-commons")
    clients.register_client(furnished.gateway.store.database, client, PASSWORD)


@pytest.fixture
def other_worker(furnished: House) -> Iterator[TestClient]:
    """Serve the same store by a second gateway."""
    with TestClient(create_gateway(furnished.settings, clock=furnished.clock)) as client:
        yield client


def sessions(house: House, other: TestClient, login: str) -> list[Session]:
    """Return the sessions of one token with both workers."""
    token = house.token(login)
    return [Session(house.client, token), Session(other, token)]


CASES = (
    # kind, subject, who is stopped, who is not
    ("person", "doctor.a", "doctor.a", "pharmacist.a"),
    ("organization", "hospital-a", "doctor.a", "p.pat-1"),
    ("client", "test", "doctor.a", None),
)


@pytest.mark.parametrize(("kind", "subject", "stopped", "free"), CASES)
@pytest.mark.parametrize("by", ["steward", "admin"])
def test_who_is_suspended_is_refused_at_once_on_each_worker_until_it_is_lifted(
    furnished: House,
    other_worker: TestClient,
    kind: str,
    subject: str,
    stopped: str,
    free: str | None,
    by: str,
) -> None:
    colleague = Account("pharmacist.a", "clinician", "Ph A", "hospital-a", "pharmacist")
    accounts.add_account(furnished.gateway.store.database, colleague)
    workers = sessions(furnished, other_worker, stopped)
    assert [worker.get("Observation/lab-1").status_code for worker in workers] == [200, 200]
    # By another client, so that nobody suspends the one they use.
    account = accounts.find_account(furnished.gateway.store.database, by)
    own = furnished.issue(Subject(by, by, account.role, "console", "ehr-commons"), "ehr/access")
    console = Session(furnished.client, own)

    values = {"kind": kind, "subject": subject, "reason": REASON}
    answer = must(console.post("$suspend", parameters(values)))

    for worker in workers:
        assert worker.get("Observation/lab-1").status_code == 403
        assert worker.get("Patient?name=chan").status_code == 403
        assert worker.post("Observation", {"resourceType": "Observation"}).status_code == 403
    # A new token is of no use either.
    assert furnished.login(stopped).get("Observation/lab-1").status_code == 403
    if free:
        assert furnished.login(free).get("Observation/lab-1").status_code == 200
    values = {"suspension": part(answer.json()["parameter"], "id"), "reason": "All is in order"}
    must(console.post("$lift-suspension", parameters(values)))
    assert [worker.get("Observation/lab-1").status_code for worker in workers] == [200, 200]


def test_all_emergency_access_is_closed_on_each_worker_and_opens_again(
    furnished: House, other_worker: TestClient
) -> None:
    doctor = furnished.login("doctor.b")
    declared = {"reason": "Unconscious in the emergency room"}
    must(doctor.post("Patient/pat-1/$declare-emergency", parameters(declared)))
    workers = sessions(furnished, other_worker, "doctor.b")
    assert [worker.get("Observation/lab-1").status_code for worker in workers] == [200, 200]

    suspension = suspend(furnished, "emergency")

    for worker in workers:
        assert worker.get("Observation/lab-1").status_code == 404
        assert worker.get("Observation?patient=pat-1").json().get("entry", []) == []
    refused = doctor.post("Patient/pat-2/$declare-emergency", parameters(declared))
    assert refused.status_code == 403
    # What needs no emergency stays as it was.
    assert furnished.login("doctor.a").get("Observation/lab-1").status_code == 200
    must(lift(furnished, suspension))
    assert [worker.get("Observation/lab-1").status_code for worker in workers] == [200, 200]


def test_an_emergency_that_is_suspended_is_explained_as_none(furnished: House) -> None:
    declared = {"reason": "Unconscious in the emergency room"}
    doctor = furnished.login("doctor.b")
    must(doctor.post("Patient/pat-1/$declare-emergency", parameters(declared)))
    question = (
        "Patient/pat-1/$explain-access?record=Observation/lab-1&organization=hospital-b"
        "&person=doctor.b"
    )
    patient = furnished.login("p.pat-1")
    before = must(patient.get(question)).json()["parameter"]

    suspend(furnished, "emergency")

    assert part(before, "reason") == "emergency"
    assert part(must(patient.get(question)).json()["parameter"], "reason") != "emergency"


def test_a_suspension_ends_by_itself(furnished: House) -> None:
    doctor = furnished.login("doctor.a")
    suspend(furnished, "person", "doctor.a", until="2026-11-22T09:00:00Z")
    assert doctor.get("Observation/lab-1").status_code == 403

    furnished.clock.forward(seconds=HOUR - 1)
    assert furnished.login("doctor.a").get("Observation/lab-1").status_code == 403
    furnished.clock.forward(seconds=1)
    assert furnished.login("doctor.a").get("Observation/lab-1").status_code == 200


def test_of_several_suspensions_each_has_to_end(furnished: House) -> None:
    first = suspend(furnished, "person", "doctor.a")
    second = suspend(furnished, "organization", "hospital-a", until="2026-11-22T09:00:00Z")
    must(lift(furnished, first))
    assert furnished.login("doctor.a").get("Observation/lab-1").status_code == 403

    must(lift(furnished, second))

    assert furnished.login("doctor.a").get("Observation/lab-1").status_code == 200
    assert lift(furnished, second).status_code == 409


def test_all_accounts_of_a_person_are_suspended(furnished: House) -> None:
    for login, place in (("lee.a", "hospital-a"), ("lee.b", "hospital-b")):
        person = Account(login, "clinician", "Dr Lee", place, "doctor", person="lee")
        accounts.add_account(furnished.gateway.store.database, person)

    suspend(furnished, "person", "lee.b")

    assert furnished.login("lee.a").get("Observation/lab-1").status_code == 403


def test_what_a_suspended_person_tries_is_on_record_and_so_is_the_suspension(
    furnished: House,
) -> None:
    suspend(furnished, "person", "doctor.a")
    furnished.login("doctor.a").get("Observation/lab-1")
    auditor = furnished.login("auditor")

    tried = must(auditor.get("AuditEvent?agent=doctor.a")).json()["entry"][0]["resource"]
    acted = must(auditor.get("AuditEvent?agent=steward")).json()["entry"][0]["resource"]
    assert tried["outcome"] == "4"
    assert acted["outcomeDesc"] == "suspended person"
    told = must(auditor.get("$suspensions")).json()["parameter"][0]["part"]
    assert part(told, "reason") == REASON
    assert part(told, "by") == "St"


@pytest.mark.parametrize("login", ["doctor.a", "p.pat-1", "researcher", "auditor"])
def test_nobody_else_suspends_or_lifts(furnished: House, login: str) -> None:
    suspension = suspend(furnished, "person", "doctor.b")
    session = furnished.login(login)

    for operation, values in (
        ("$suspend", {"kind": "person", "subject": "steward", "reason": REASON}),
        ("$lift-suspension", {"suspension": suspension, "reason": REASON}),
    ):
        assert session.post(operation, parameters(values)).status_code == 403
    assert session.get("$suspensions").status_code == (200 if login == "auditor" else 403)


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"kind": "person", "subject": "nobody", "reason": REASON}, 404),
        ({"kind": "organization", "subject": "nowhere", "reason": REASON}, 404),
        ({"kind": "client", "subject": "none", "reason": REASON}, 404),
        ({"kind": "person", "reason": REASON}, 400),
        ({"kind": "emergency", "subject": "doctor.a", "reason": REASON}, 400),
        ({"kind": "person", "subject": "doctor.a", "reason": "x"}, 422),
        ({"kind": "all", "subject": "doctor.a", "reason": REASON}, 422),
        ({"kind": "person", "subject": "steward", "reason": REASON}, 409),
        ({"kind": "client", "subject": "test", "reason": REASON}, 409),
        ({"kind": "person", "subject": "doctor.a", "reason": REASON, "until": "2020-01-01"}, 422),
        ({"kind": "person", "subject": "doctor.a", "reason": REASON, "until": "soon"}, 400),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    furnished: House, values: dict[str, str], status: int
) -> None:
    assert furnished.login("steward").post("$suspend", parameters(values)).status_code == status
    assert must(furnished.login("steward").get("$suspensions")).json().get("parameter") is None


def test_a_restore_suspends_again_and_lifts_nothing(furnished: House) -> None:
    suspension = suspend(furnished, "person", "doctor.a")
    store = furnished.gateway.store
    with store.write_transaction() as connection:
        action = build_suspension_redo(connection, suspension)
        connection.execute("DELETE FROM suspension")
    assert describe_redo_action(action) == f"suspension {suspension}"

    context = AuditContext(
        Subject("restore", "restore", "system", "ehr"), "HOPERAT", furnished.clock(), "r", "restore"
    )
    with store.write_transaction() as connection:
        entry = Entry(cast("SealedEntry", None), furnished.clock(), (action,))
        result = replay_entries(store, connection, [entry], context, audit_size=0)
    assert (result.replayed, result.failed) == (1, [])
    furnished.gateway.revocations.notify_processes()

    assert furnished.login("doctor.a").get("Observation/lab-1").status_code == 403


def test_the_breach_report_names_whose_records_were_reached(furnished: House) -> None:
    furnished.share()
    doctor = furnished.login("doctor.b")
    must(doctor.get("Observation?patient=pat-1&category=laboratory"))
    must(doctor.get("Condition?patient=pat-1"))
    # Asked about and not reached.
    must(doctor.get("Patient?identifier=ZB123456(3)"))
    must(furnished.login("doctor.a").get("Encounter?patient=pat-1"))
    question = "$breach-report?kind={}&subject={}&from=2026-11-22T00:00:00Z"

    def report(kind: str, subject: str) -> list[Any]:
        answer = must(furnished.login("steward").get(question.format(kind, subject)))
        found: list[Any] = answer.json()["parameter"]
        return found

    of_person = report("person", "doctor.b")
    assert part(of_person, "patients") == 1
    assert part(of_person, "accesses") == 2
    (told,) = [found["part"] for found in of_person if found["name"] == "patient"]
    assert part(told, "patient") == {"reference": "Patient/pat-1"}
    domains = [found["valueCode"] for found in told if found["name"] == "domain"]
    assert domains == ["diagnosis", "laboratory"]
    assert part(report("organization", "hospital-b"), "accesses") == 2
    assert part(report("client", "test"), "patients") == 1
    # The report is on the record of whom it names.
    seen = must(furnished.login("p.pat-1").get("AuditEvent?agent=steward")).json()["entry"]
    assert seen[0]["resource"]["outcomeDesc"] == "counted"


def test_the_breach_report_is_for_steward_and_auditor_and_knows_emergencies(
    furnished: House,
) -> None:
    doctor = furnished.login("doctor.b")
    declared = {"reason": "Unconscious in the emergency room"}
    must(doctor.post("Patient/pat-1/$declare-emergency", parameters(declared)))
    must(doctor.get("Observation?patient=pat-1&category=laboratory"))
    question = "$breach-report?kind=emergency&from=2026-11-22T00:00:00Z"

    found = must(furnished.login("auditor").get(question)).json()["parameter"]

    (told,) = [parameter["part"] for parameter in found if parameter["name"] == "patient"]
    assert part(told, "emergency") is True
    for login in ("doctor.a", "p.pat-1", "admin", "researcher"):
        assert furnished.login(login).get(question).status_code == 403
