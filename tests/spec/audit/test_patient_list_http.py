"""$patient-list: one event for a whole list, which each of its patients finds (both databases)."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from ehr_fhir.identifier_systems import MARK_SYSTEM
from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.audit_log.anomalies import flag_anomalies
from ehr_gateway.audit_log.anomaly_rules import AnomalyRules
from ehr_gateway.audit_log.erase import erase_patient_events
from ehr_gateway.audit_log.recorder import AuditContext
from ehr_gateway.audit_log.service import AuditLog
from ehr_gateway.audit_log.verify import VerifyTask, verify_log
from ehr_gateway.notices.access_notices import queue_access_notices
from ehr_gateway.tokens.access_tokens import Subject
from tests.lib.gateway import House, Session, consent, must, observation, patient, restriction

LIST = "Patient/$patient-list"
SINCE = "vital-signs-from=2026-01-01&laboratory-from=2026-01-01"
WARD = f"{LIST}?list=ward&{SINCE}"
IN_WARD = [f"pat-{number}" for number in range(1, 7)]
PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"


@pytest.fixture
def ward(furnished: House) -> House:
    """Return a house where six patients lie in hospital-a, which wrote what it knows of them."""
    platform, hospital = furnished.system("ehr-commons"), furnished.system("hospital-a")
    for number in range(3, 7):
        platform.store(patient(f"pat-{number}", f"ZD{number}"))
        platform.store(consent(f"joining-{number}", "joining", patient=f"pat-{number}"))
    for name in IN_WARD:
        hospital.store(stay(name))
    for name in ("pat-3", "pat-4"):
        hospital.store(observation(f"k-{name}", "laboratory", patient=name))
    return furnished


def stay(name: str) -> dict[str, Any]:
    return {
        "resourceType": "Encounter",
        "id": f"stay-{name}",
        "status": "in-progress",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
        "subject": {"reference": f"Patient/{name}"},
        "serviceProvider": {"reference": "Organization/hospital-a"},
        "location": [{"location": {"display": f"Bed {name}"}}],
    }


def rows(house: House, login: str = "doctor.a") -> list[Any]:
    house.gateway.audit_batcher.flush()
    with house.gateway.store.read_transaction() as connection:
        return connection.execute(
            "SELECT * FROM audit WHERE login = ? ORDER BY seq", (login,)
        ).fetchall()


def ask(session: Session, address: str = WARD) -> dict[str, list[Any]]:
    """Return the answer's parameters by name."""
    found: dict[str, list[Any]] = {}
    for one in must(session.get(address)).json()["parameter"]:
        value = one.get("resource") or one.get("valueId") or one.get("valueString")
        found.setdefault(one["name"], []).append(value)
    return found


def events(session: Session, query: str) -> list[dict[str, Any]]:
    answer = must(session.get(f"AuditEvent?_count=500&{query}"))
    return [entry["resource"] for entry in answer.json().get("entry", [])]


def test_a_list_is_one_event_however_many_patients_and_records_it_has(ward: House) -> None:
    shown = ask(ward.login("doctor.a"))

    assert shown["listed"] == IN_WARD
    assert {record["id"] for record in shown["laboratory"]} == {"lab-1", "lab-2", "k-pat-3",
                                                                "k-pat-4"}  # fmt: skip
    (row,) = rows(ward)
    assert (row["patient"], row["reason"]) == (None, "listed")


def test_each_patient_finds_the_list_its_length_and_their_own_domains(ward: House) -> None:
    ask(ward.login("doctor.a"))
    auditor = ward.login("auditor")

    for name, domains in (("pat-3", {"encounter", "laboratory"}), ("pat-5", {"encounter"})):
        (event,) = events(auditor, f"patient={name}&agent=doctor.a")
        person, group = event["entity"][:2]
        assert person["what"] == {"reference": f"Patient/{name}"}
        assert domains <= {detail["valueString"] for detail in person["detail"]}
        assert group["detail"] == [{"type": "listed", "valueString": "6"}]
    assert "laboratory" not in str(events(auditor, "patient=pat-5&agent=doctor.a"))
    assert len(events(auditor, "patient=pat-3&agent=doctor.a&domain=laboratory")) == 1
    assert events(auditor, "patient=pat-5&agent=doctor.a&domain=laboratory") == []
    assert len(events(auditor, "patient=pat-3&agent=doctor.a&reason=own-record")) == 1
    total = must(auditor.get("AuditEvent?patient=pat-3&agent=doctor.a&_total=accurate")).json()
    assert total["total"] == 1
    (own,) = events(ward.login("p.pat-2"), "agent=doctor.a")
    assert must(ward.login("p.pat-2").get(f"AuditEvent/{own['id']}")).json() == own


def test_who_looked_says_so(ward: House) -> None:
    ask(ward.login("doctor.a"))

    answer = must(ward.login("p.pat-2").get("Patient/pat-2/$access-history?login=doctor.a")).json()

    (visit,) = [one["part"] for one in answer["parameter"] if one["name"] == "visit"]
    told = {(part["name"], part.get("valueString", part.get("valueCode", part.get("valueInteger"))))
            for part in visit}  # fmt: skip
    assert {("login", "doctor.a"), ("operation", "patient-list"), ("list-of", 6),
            ("looked-at", "encounter"), ("looked-at", "Patient")} <= told  # fmt: skip


def test_the_same_list_shown_again_puts_nobody_on_record_anew(ward: House) -> None:
    doctor = ward.login("doctor.a")
    (shown,) = ask(doctor)["shown"]
    (first,) = rows(ward)

    for _ in range(3):
        ward.clock.forward(seconds=60)
        assert ask(doctor, f"{WARD}&shown={shown}")["shown"] == [shown]

    again = rows(ward)[1:]
    assert [(row["patient"], row["entities"]) for row in again] == [
        (None, f'["AuditEvent/{first["id"]}"]')
    ] * 3
    assert len(events(ward.login("auditor"), "patient=pat-3&agent=doctor.a")) == 1


@pytest.mark.parametrize("change", ["a patient more", "a kind more", "ten minutes", "another list",
                                    "another person", "a value of one's own"])  # fmt: skip
def test_what_is_not_the_same_is_on_record_again(ward: House, change: str) -> None:
    ward.share("hospital-a")
    (shown,) = ask(ward.login("doctor.a"))["shown"]
    before = len(events(ward.login("auditor"), "patient=pat-1&agent=doctor.a"))
    who, address = "doctor.a", f"{WARD}&shown={shown}"
    hospital = ward.system("hospital-a")
    if change == "a patient more":
        ward.system("ehr-commons").store(patient("pat-7", "ZD7"))
        ward.system("ehr-commons").store(consent("joining-7", "joining", patient="pat-7"))
        hospital.store(stay("pat-7"))
    elif change == "a kind more":
        hospital.store(observation("k-pat-5", "laboratory", patient="pat-5"))
    elif change == "ten minutes":
        ward.clock.forward(seconds=timedelta(minutes=10).total_seconds())
    elif change == "another list":
        must(ward.login("doctor.a").get("Patient/pat-1"))
        address = address.replace("ward", "opened")
        before += 1
    elif change == "another person":
        who = "doctor.a2"
        accounts.add_account(
            ward.gateway.store, Account(who, "clinician", "Dr A2", "hospital-a", "doctor")
        )
    else:
        address = f"{WARD}&shown={shown[:-4]}AAAA"

    assert shown not in ask(ward.login(who), address)["shown"]

    if change != "another person":
        assert len(events(ward.login("auditor"), "patient=pat-1&agent=doctor.a")) == before + 1


def test_a_list_that_is_closed_to_the_reader_tells_nothing_and_names_whom_it_was_about(
    ward: House,
) -> None:
    ward.share()
    mark = {
        "resourceType": "CareTeam",
        "id": "mark-1",
        "identifier": [{"system": MARK_SYSTEM, "value": "doctor.b/pat-1"}],
        "status": "active",
        "subject": {"reference": "Patient/pat-1"},
        "participant": [{"member": {"reference": "Practitioner/doctor.b"}}],
    }
    person = {"resourceType": "Practitioner", "id": "doctor.b", "active": True}
    ward.system("ehr-commons").store(person)
    ward.login("doctor.b").store(mark)
    address = f"{LIST}?list=marked&{SINCE}"
    assert {one["id"] for one in ask(ward.login("doctor.b"), address)["patient"]} == {"pat-1"}

    ward.login("p.pat-1").store(restriction("close-all", against="Organization/hospital-b"))

    after = ask(ward.login("doctor.b"), address)
    assert set(after) <= {"shown", "listed", "mark"}


def test_a_grant_is_on_record_by_patient_with_its_consent(ward: House) -> None:
    ward.share()
    emergency = {"resourceType": "Parameters", "parameter": [
        {"name": "reason", "valueString": "unconscious"}]}  # fmt: skip
    must(ward.login("doctor.b").post("Patient/pat-2/$declare-emergency", emergency))
    must(ward.login("doctor.b").get("Patient/pat-2"))
    ask(ward.login("doctor.b"), f"{LIST}?list=opened&{SINCE}")

    row = rows(ward, "doctor.b")[-1]

    assert (row["patient"], row["reason"], row["query"]) == ("pat-2", "emergency", LIST)
    assert row["consent"]


def test_the_breach_report_counts_the_patients_of_a_list(ward: House) -> None:
    ward.share("hospital-b")
    must(ward.login("doctor.b").get("Patient/pat-1"))
    before = Counter(row["patient"] for row in rows(ward, "doctor.b"))
    ask(ward.login("doctor.b"), f"{LIST}?list=opened&{SINCE}")
    assert Counter(row["patient"] for row in rows(ward, "doctor.b")) - before == {None: 1}
    ask(ward.login("doctor.a"))
    report = must(ward.login("steward").get(
        "$breach-report?kind=person&subject=doctor.a&from=2026-01-01")).json()  # fmt: skip

    reached = [one["part"][0]["valueReference"]["reference"] for one in report["parameter"]
               if one["name"] == "patient"]  # fmt: skip
    assert reached == [f"Patient/{name}" for name in IN_WARD]


def test_the_monitor_counts_the_patients_of_a_list(
    ward: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = AnomalyRules({"many-patients": {"minutes": 30, "patients": len(IN_WARD)}})
    monkeypatch.setattr("ehr_gateway.audit_log.anomalies.load_rules", lambda: few)
    # A batch that ends within the list.
    monkeypatch.setattr("ehr_gateway.audit_log.anomalies._BATCH_ROWS", len(IN_WARD) + 1)
    for record in ("Encounter/enc-1", "Observation/lab-1"):
        must(ward.login("doctor.a").get(record))
    ask(ward.login("doctor.a"))
    ward.gateway.audit_batcher.flush()

    assert flag_anomalies(ward.gateway.store.database, ward.clock) == 1


def test_a_first_list_of_an_organisation_is_a_first_access(ward: House) -> None:
    ward.share()
    ward.system("hospital-b").store(stay("pat-1") | {
        "id": "stay-b", "serviceProvider": {"reference": "Organization/hospital-b"}
    })  # fmt: skip
    ask(ward.login("doctor.b"))
    ward.gateway.audit_batcher.flush()

    queue_access_notices(ward.gateway.store, ward.clock())

    with ward.gateway.store.read_transaction() as connection:
        made = connection.execute("SELECT patient, kind FROM notice").fetchall()
    assert [tuple(row) for row in made] == [("pat-1", "first-access")]


def find_faults(house: House) -> list[str]:
    log: AuditLog = house.app.state.audit_log
    log.flush_and_sign()
    task = VerifyTask(house.settings.database, log.folder.path, log.signer.name,
                      log.signer.public, processes=1)  # fmt: skip
    return [finding.kind for finding in verify_log(task).findings]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_listed SET domains = '' WHERE domains <> ''",
        "UPDATE audit_listed SET reason = 'shared'",
        "UPDATE audit_listed SET at_ms = at_ms + 1",
        "DELETE FROM audit_listed WHERE person = 1",
        "DELETE FROM audit_listed",
        "UPDATE audit_listed SET event = 'nobody' WHERE person = 2",
        "UPDATE audit_person SET patient = 'x' || patient WHERE number = 1",
    ],
)
def test_a_list_that_was_changed_is_found(ward: House, statement: str) -> None:
    ask(ward.login("doctor.a"))
    assert find_faults(ward) == []

    with ward.gateway.store.write_transaction() as connection:
        connection.execute(statement)

    assert set(find_faults(ward)) == {"counted"}


def test_an_erased_patient_is_nameless_in_every_list(ward: House) -> None:
    ask(ward.login("doctor.a"))
    ward.gateway.audit_batcher.flush()
    audit_context = AuditContext(
        Subject("cli", "cli", "system", "cli", None), "HOPERAT", ward.clock(), "erasing", "x"
    )

    with ward.gateway.store.write_transaction() as connection:
        erase_patient_events(connection, audit_context, "pat-3")

    assert events(ward.login("auditor"), "patient=pat-3&agent=doctor.a") == []
    assert len(events(ward.login("auditor"), "patient=pat-4&agent=doctor.a")) == 1
    assert find_faults(ward) == []


def test_who_asks_wrongly_is_refused(ward: House) -> None:
    assert ward.login("p.pat-1").get(WARD).status_code == 403
    assert ward.login("steward").get(WARD).status_code == 403
    for query in ("", "?list=all", "?list=ward&vital-signs-from=yesterday", "?list=ward&x=1"):
        assert ward.login("doctor.a").get(f"{LIST}{query}").status_code == 400, query
