"""The log says by which line of the consent table a record was seen, and to carers no more."""

from __future__ import annotations

from typing import Any

import pytest

from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.audit_log import recorder
from ehr_gateway.audit_log.erase import erase_patient_events
from ehr_gateway.audit_log.service import AuditLog
from ehr_gateway.audit_log.verify import VerifyTask, verify_log
from ehr_gateway.tokens.access_tokens import Subject
from tests.lib.gateway import House, Session, must, restriction


def events(session: Session, query: str = "") -> list[dict[str, Any]]:
    answer = must(session.get(f"AuditEvent?_count=500{query}"))
    return [entry["resource"] for entry in answer.json().get("entry", [])]


def grant(house: House, person: str, domain: str = "*") -> None:
    """Let a step-up grant be in force: what an approved request for access leaves."""
    now = house.clock()
    with house.gateway.store.write_transaction() as connection:
        connection.execute(
            "INSERT INTO consent_grant (consent, patient, person, organization, domain, since,"
            " until) VALUES ('grant-1', 'pat-1', ?, 'hospital-b', ?, ?, ?)",
            (person, domain, now - 1000, now + 3_600_000),
        )


def carer(house: House, since_days: int = -1) -> Session:
    """Let a carer have the power to view, and log in."""
    account = Account("carer.c", "carer", "Carer C")
    accounts.add_account(house.gateway.store, account)
    now = house.clock()
    with house.gateway.store.write_transaction() as connection:
        connection.execute(
            "INSERT INTO consent_carer (consent, patient, person, can_view, can_manage, since,"
            " until) VALUES ('carer-1', 'pat-1', 'carer.c', 1, 0, ?, NULL)",
            (now + since_days * 86_400_000,),
        )
    return house.login("carer.c", "user/*.rs")


def test_what_a_grant_opened_is_told_apart_with_its_consent(furnished: House) -> None:
    furnished.share()
    furnished.login("p.pat-1").store(restriction("closed-1", domain="laboratory"))
    doctor = furnished.login("doctor.b")
    assert doctor.get("Observation/lab-1").status_code == 404
    # Sharing came first; what it does not open, the grant does.
    furnished.clock.forward(seconds=60)
    grant(furnished, "doctor.b")
    must(doctor.get("Observation/lab-1"))
    must(doctor.get("Observation/vital-1"))

    found = {
        one["entity"][1]["what"]["reference"]: one
        for one in events(furnished.login("p.pat-1"), "&agent=doctor.b&outcome=0")
    }

    assert found["Observation/lab-1"]["outcomeDesc"] == "grant"
    references = [one.get("what") for one in found["Observation/lab-1"]["entity"]]
    assert {"reference": "Consent/grant-1"} in references
    assert found["Observation/vital-1"]["outcomeDesc"] == "shared"


def test_a_carer_reads_who_looked_while_the_power_is_in_force(furnished: House) -> None:
    must(furnished.login("doctor.a").get("Observation/lab-1"))

    found = events(carer(furnished), "&agent=doctor.a")

    assert [one["subtype"][0]["code"] for one in found] == ["read"]
    assert events(furnished.login("p.pat-1"), "&agent=carer.c")[0]["agent"][0]["altId"] == "carer.c"


def test_a_carer_without_a_power_reads_nothing(furnished: House) -> None:
    must(furnished.login("doctor.a").get("Observation/lab-1"))
    stranger = carer(furnished, since_days=1)

    assert events(stranger) == []
    assert events(stranger, "&patient=pat-1") == []
    (event, *_) = events(furnished.login("auditor"), "&patient=pat-1")
    assert stranger.get(f"AuditEvent/{event['id']}").status_code == 404


def test_what_is_closed_to_a_carer_is_left_out_of_the_log(furnished: House) -> None:
    doctor = furnished.login("doctor.a")
    must(doctor.get("Observation/lab-1"))
    must(doctor.get("Observation?patient=pat-1"))
    limit = restriction("limit-1", domain="laboratory")
    limit["provision"]["actor"] = []
    with furnished.gateway.store.write_transaction() as connection:
        connection.execute(
            "INSERT INTO consent_restriction (consent, rule, patient, sealed, since, domain,"
            " actor_kind) VALUES ('limit-1', 0, 'pat-1', 0, 0, 'laboratory', 'carer')"
        )

    found = events(carer(furnished), "&agent=doctor.a")

    assert len(found) == 1
    references = {one["what"].get("reference") for one in found[0]["entity"] if "what" in one}
    assert {"Observation/vital-1"} <= references
    assert not references & {"Observation/lab-1", "Observation/lab-2"}
    assert found[0]["entity"][0]["detail"] == [
        {"type": "data-domain", "valueString": "observation"}
    ]
    # No question tells what was left out.
    session = furnished.login("carer.c", "user/*.rs")
    assert events(session, "&agent=doctor.a&domain=laboratory") == []
    assert len(events(session, "&agent=doctor.a&domain=observation")) == 1
    assert "outcomeDesc" not in found[0]


def test_an_erasure_empties_the_events_and_the_log_still_holds(furnished: House) -> None:
    must(furnished.login("doctor.a").get("Observation/lab-1"))
    log: AuditLog = furnished.app.state.audit_log
    log.flush_and_sign()
    occasion = recorder.AuditContext(
        Subject("platform", "Platform", "system", "platform"), "HSYSADMIN", furnished.clock(),
        "request-1", "operation",
    )  # fmt: skip
    with furnished.gateway.store.write_transaction() as connection:
        emptied = erase_patient_events(connection, occasion, "pat-1")
    log.flush_and_sign()

    with furnished.gateway.store.read_transaction() as connection:
        rows = str([tuple(row) for row in connection.execute("SELECT * FROM audit")])
    settings = furnished.settings
    report = verify_log(
        VerifyTask(
            settings.database, settings.audit_folder, log.signer.name, log.signer.public,
            processes=1,
        )
    )  # fmt: skip
    assert emptied > 0
    assert "pat-1" not in rows
    assert "lab-1" not in rows
    assert report.is_intact
    assert report.erased == emptied
    assert events(furnished.login("p.pat-1"), "&agent=doctor.a") == []


@pytest.mark.parametrize("query", ["_total=accurate", "reason=shared"])
def test_a_carer_gets_no_total_and_no_reason(furnished: House, query: str) -> None:
    assert carer(furnished).get(f"AuditEvent?{query}").status_code == 400
