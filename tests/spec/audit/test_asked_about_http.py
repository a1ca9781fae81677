"""Whom a request asks about is on record, counted or returned, found or not (both databases)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.audit_log.asked_about import MAX_COUNTED_ROWS
from ehr_gateway.audit_log.erase import erase_patient_events
from ehr_gateway.audit_log.recorder import AuditContext
from ehr_gateway.audit_log.service import AuditLog
from ehr_gateway.audit_log.verify import VerifyTask, verify_log
from ehr_gateway.tokens.access_tokens import Subject
from tests.lib.gateway import House, Session, condition, consent, must, observation, patient
from tests.lib.subscriptions import register_system, subscription

HKID = "https://ehr-commons.hk/hkid"


class Ledger:
    """What one person's requests add to the log, by patient."""

    def __init__(self, house: House, login: str, session: Session | None = None) -> None:
        self.house, self.login = house, login
        self.session = session or house.login(login)

    def rows(self) -> list[Any]:
        self.house.gateway.audit_batcher.flush()
        with self.house.gateway.store.read_transaction() as connection:
            return connection.execute(
                "SELECT id, patient, reason, outcome, entities, query, interaction FROM audit"
                " WHERE login = ? ORDER BY seq",
                (self.login,),
            ).fetchall()

    @contextmanager
    def added(self) -> Iterator[list[Any]]:
        """Yield a list that holds, afterwards, the rows that were added meanwhile."""
        before = len(self.rows())
        new: list[Any] = []
        yield new
        new += self.rows()[before:]


def patients(rows: list[Any]) -> set[str]:
    return {row["patient"] for row in rows if row["patient"]}


# Each names pat-1, or a record of pat-1, to a doctor who may see nothing of it.
NAMED = [
    "Condition?patient=pat-1&code=B20&_summary=count",
    "Condition?patient=pat-1&code=B20",
    "Condition?patient=Patient/pat-1&_count=0",
    "Condition?subject=Patient/pat-1&_total=accurate",
    "Condition?subject=pat-1&_total=estimate",
    "Condition?subject:Patient=pat-1",
    "Condition?patient=http://testserver/fhir/Patient/pat-1",
    f"Condition?patient.identifier={HKID}|ZA1234560&_summary=count",
    "Condition?patient.identifier=ZA1234560",
    f"Condition?subject:Patient.identifier={HKID}|ZA1234560",
    "Condition?subject:Patient.name=Chan",
    "Condition?subject:Patient.family=Chan&subject:Patient.birthdate=1980-02-03",
    "Condition?patient._id=pat-1",
    f"Condition?patient:identifier={HKID}|ZA1234560",
    "Condition?encounter=Encounter/enc-1",
    "Condition?encounter.subject=Patient/pat-1",
    "Condition?encounter.patient.identifier=ZA1234560",
    "Condition?_filter=patient eq Patient/pat-1",
    "Condition?_filter=not (patient eq Patient/pat-1)",
    "Condition?_id=con-1",
    "Condition?patient=pat-1&no-such-parameter=1",
    "Patient?_id=pat-1",
    f"Patient?identifier={HKID}|ZA1234560",
    "Patient?identifier=ZA1234560&_summary=count",
    "Patient?identifier:not=ZA1234560&_summary=count",
    "Patient?family=Chan&birthdate=1980-02-03",
    "Patient?_has:Condition:patient:_id=con-1",
    "Patient?_has:Observation:patient:encounter=Encounter/enc-1&_summary=count",
    "Practitioner?_has:Observation:performer:patient=pat-1",
    "Practitioner?_has:Observation:performer:patient.identifier=ZA1234560",
    "Patient/pat-1/Condition",
    "Patient/pat-1/Condition?_summary=count",
    "Patient/pat-1/*",
    "Encounter/enc-1/Observation",
    "Observation/lab-1",
    "Observation/lab-1/_history",
    "Observation/lab-1/_history/1",
    "Patient/pat-1",
    "Patient/pat-1/_history",
    "Patient/pat-1/$withheld",
    "Patient/pat-1/$held",
    "Patient/pat-1/$explain-access?organization=hospital-b&domain=laboratory",
    "?_type=Condition,Observation&patient=pat-1&_summary=count",
    "?_id=lab-1&_type=Observation",
    "AuditEvent?patient=pat-1",
    "Group?member=Patient/pat-1",
    "Provenance?target=Observation/lab-1",
]  # fmt: skip


@pytest.mark.sampled
@pytest.mark.parametrize("address", NAMED)
def test_whom_criteria_name_is_on_record_found_or_not(furnished: House, address: str) -> None:
    ledger = Ledger(furnished, "doctor.b")

    with ledger.added() as rows:
        answer = ledger.session.get(address)

    assert answer.status_code in (200, 400, 403, 404)
    assert "pat-1" in patients(rows), (address, answer.status_code, [tuple(row) for row in rows])
    assert "ZA1234560" not in str([tuple(row) for row in rows])


def _form(address: str) -> Callable[[Session], Any]:
    path, _, form = address.partition("?")
    return lambda session: session.request(
        "POST",
        f"{path}/_search".lstrip("/"),
        content=form,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )


def _batch(*requests: tuple[str, str], kind: str = "batch") -> Callable[[Session], Any]:
    entries = [{"request": {"method": method, "url": url}} for method, url in requests]
    return lambda session: session.post(
        "", {"resourceType": "Bundle", "type": kind, "entry": entries}
    )


def _created(body: dict[str, Any], criteria: str) -> Callable[[Session], Any]:
    return lambda session: session.post(
        body["resourceType"], body, headers={"If-None-Exist": criteria}
    )


def _by_criteria(method: str, address: str, body: Any = None) -> Callable[[Session], Any]:
    return lambda session: session.request(
        method, address, json=body, headers={"Content-Type": "application/fhir+json"}
    )


def _deposit(subject: str) -> dict[str, Any]:
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "resource": {
                    "resourceType": "Basic",
                    "code": {"text": "x"},
                    "subject": {"reference": subject},
                },
                "request": {"method": "POST", "url": "Basic"},
            }
        ],
    }


ORGANIZATION = {"resourceType": "Organization", "name": "A new one"}
OTHER_REQUESTS: dict[str, Callable[[Session], Any]] = {
    "form": _form("Condition?patient=pat-1&_summary=count"),
    "form of the system": _form("?_type=Condition&patient=pat-1"),
    "form of a compartment": _form("Patient/pat-1/Condition?code=B20"),
    "batch of a count": _batch(("GET", "Condition?patient=pat-1&_summary=count")),
    "batch of a hidden record": _batch(("GET", "Observation/lab-1"), ("GET", "metadata")),
    "batch of a history": _batch(("GET", "Observation/lab-1/_history")),
    "batch of a delete": _batch(("DELETE", "Observation/lab-1")),
    "transaction of a hidden record": _batch(("GET", "Observation/lab-1"), kind="transaction"),
    "conditional create that matches nothing": _created(
        ORGANIZATION, "name=none&_has:Patient:organization:_id=pat-1"
    ),
    "conditional create that is refused": _created(
        observation("x", "laboratory"), f"patient.identifier={HKID}|ZA1234560&nonsense=1"
    ),
    "invalid conditional create": _created({"resourceType": "Condition"}, "patient=pat-1"),
    "transaction with an invalid entry": _batch(
        ("GET", "Condition?patient=pat-1"), ("DELETE", "Nothing/x"), kind="transaction"
    ),
    "conditional update": _by_criteria(
        "PUT", "Observation?patient=pat-1&code=none", {"resourceType": "Observation"}
    ),
    "conditional patch": lambda session: session.request(
        "PATCH",
        "Observation?patient=pat-1",
        content=b'[{"op": "remove", "path": "/status"}]',
        headers={"Content-Type": "application/json-patch+json"},
    ),
    "conditional delete": _by_criteria("DELETE", "Observation?patient=pat-1&code=none"),
    "update of a hidden record": lambda session: session.put(observation("lab-1", "laboratory")),
    "delete of a hidden record": lambda session: session.delete("Observation/lab-1"),
    "conditional reference": lambda session: session.post(
        "", _deposit(f"Patient?identifier={HKID}|ZA1234560&active=true")
    ),
    "conditional reference by a record": lambda session: session.post(
        "", _deposit("Encounter?_id=enc-1")
    ),
}


@pytest.mark.sampled
@pytest.mark.parametrize("kind", OTHER_REQUESTS)
def test_whom_forms_bundles_and_conditional_writes_name_is_on_record(
    furnished: House, kind: str
) -> None:
    ledger = Ledger(furnished, "doctor.b")

    with ledger.added() as rows:
        answer = OTHER_REQUESTS[kind](ledger.session)

    assert answer.status_code != 500
    assert "pat-1" in patients(rows), (answer.status_code, answer.text)
    assert "ZA1234560" not in str([tuple(row) for row in rows])


def _parameters(address: str, **values: dict[str, Any] | str) -> Callable[[Session], Any]:
    parts = [
        {"name": name.replace("_", "-"), **({"valueString": one} if isinstance(one, str) else one)}
        for name, one in values.items()
    ]
    return lambda session: session.post(address, {"resourceType": "Parameters", "parameter": parts})


_IDENTIFIER = {"system": HKID, "value": "ZA1234560"}
_ONE = {"valueReference": {"reference": "Patient/pat-1"}}
# By whom, and what: requests that are refused, or find nobody, whatever they name.
NAMED_BY_OTHERS: dict[str, tuple[str, Callable[[Session], Any]]] = {
    "subscription to a patient's records": ("system", lambda session: session.post(
        "Subscription", subscription("new-result", None, "Observation?patient=pat-1"))),
    "preview of a merge": ("steward", _parameters(
        "Patient/$merge", source_patient=_ONE, target_patient=_ONE)),
    "merge by an identifier": ("steward", _parameters(
        "Patient/$merge", source_patient={"valueReference": {"reference": "Patient/pat-2"}},
        source_patient_identifier={"valueIdentifier": _IDENTIFIER},
        target_patient={"valueReference": {"reference": "Patient/pat-2"}})),
    "difference": ("system", lambda session: session.get(
        "$diff?from=Patient/pat-1&to=Patient/pat-2")),
    "statistics": ("system", lambda session: session.get(
        "Observation/$stats?subject=Patient/pat-1&code=1&statistic=count")),
    "label": ("system", _parameters(
        "Observation/lab-1/$meta-add", meta={"valueMeta": {"tag": [{"code": "a"}]}})),
}  # fmt: skip


@pytest.mark.sampled
@pytest.mark.parametrize("kind", NAMED_BY_OTHERS)
def test_whom_operations_name_is_on_record_also_where_they_are_refused(
    furnished: House, kind: str
) -> None:
    accounts.add_account(
        furnished.gateway.store, Account("steward", "steward", "Ho", "ehr-commons")
    )
    who, ask = NAMED_BY_OTHERS[kind]
    hospital = register_system(furnished, "hospital-b")
    ledger = (
        Ledger(furnished, "steward")
        if who == "steward"
        else Ledger(furnished, "system-hospital-b", hospital)
    )

    with ledger.added() as rows:
        answer = ask(ledger.session)

    assert answer.status_code != 500
    assert "pat-1" in patients(rows), (answer.status_code, answer.text)
    assert "ZA1234560" not in str([tuple(row) for row in rows])


def test_whom_nobody_is_found_for_is_named_by_id_alone(furnished: House) -> None:
    ledger = Ledger(furnished, "doctor.b")

    with ledger.added() as rows:
        ledger.session.get("Condition?patient=nobody&_summary=count")
        ledger.session.get("Patient/no-one")
        ledger.session.get(f"Patient?identifier={HKID}|ZC7654321")

    assert patients(rows) == {"nobody", "no-one"}
    assert "ZC7654321" not in str([tuple(row) for row in rows])


def test_an_answer_does_not_tell_whom_the_log_names(furnished: House) -> None:
    doctor = furnished.login("doctor.b")

    hidden, absent = (doctor.get(f"Observation/{name}") for name in ("lab-1", "lab-9"))

    assert hidden.status_code == absent.status_code == 404
    assert hidden.content == absent.content
    # Of the log, doctors read nothing.
    assert doctor.get("AuditEvent").status_code == 403


def test_whoever_a_number_includes_is_on_record(furnished: House) -> None:
    furnished.system("hospital-a").store(condition("con-2", "enc-1", patient="pat-2"))
    ledger = Ledger(furnished, "doctor.a")

    for form in ("_summary=count", "_count=0", "_total=accurate&_count=1", "_total=estimate"):
        with ledger.added() as rows:
            answer = must(ledger.session.get(f"Condition?{form}"))
        assert answer.json()["total"] == 2
        assert patients(rows) == {"pat-1", "pat-2"}, form
    with ledger.added() as rows:
        must(_batch(("GET", "Condition?_summary=count"))(ledger.session))
    assert {(row["patient"], row["reason"]) for row in rows} == {
        ("pat-1", "counted"),
        ("pat-2", "counted"),
    }
    with ledger.added() as rows:
        must(ledger.session.get("?_type=Condition&_summary=count"))
    assert patients(rows) == {"pat-1", "pat-2"}


def test_a_number_that_is_refused_counts_nobody(furnished: House) -> None:
    ledger = Ledger(furnished, "doctor.a")

    with ledger.added() as rows:
        assert ledger.session.get("Condition?_summary=count&_sort=nothing").status_code == 400

    assert patients(rows) == set()


def events(session: Session, query: str = "") -> list[dict[str, Any]]:
    answer = must(session.get(f"AuditEvent?_count=500{query}"))
    return [entry["resource"] for entry in answer.json().get("entry", [])]


def test_the_patients_list_and_the_auditors_event_show_it(furnished: House) -> None:
    must(furnished.login("doctor.b").get("Condition?patient=pat-1&code=B20&_summary=count"))

    for session in (furnished.login("p.pat-1"), furnished.login("auditor")):
        (event,) = events(session, "&patient=pat-1&agent=doctor.b")
        assert event["outcomeDesc"] == "named"
        assert event["meta"]["profile"][0].endswith("PatientQuery")
        assert event["entity"][0]["what"] == {"reference": "Patient/pat-1"}
    assert events(furnished.login("p.pat-2"), "&agent=doctor.b") == []


@pytest.fixture
def crowd(furnished: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """Return a house where more people than are on record one by one have a Condition."""
    monkeypatch.setattr("ehr_gateway.audit_log.asked_about.MAX_COUNTED_ROWS", 2)
    platform, hospital = furnished.system("ehr-commons"), furnished.system("hospital-a")
    for number in range(3, 7):
        platform.store(patient(f"pat-{number}", f"ZD{number}"))
        platform.store(consent(f"joining-{number}", "joining", patient=f"pat-{number}"))
        hospital.store(condition(f"con-{number}", "enc-1", patient=f"pat-{number}"))
    return furnished


def test_many_people_in_one_number_are_one_entry_that_each_finds(crowd: House) -> None:
    assert MAX_COUNTED_ROWS == 200
    ledger = Ledger(crowd, "doctor.a")

    with ledger.added() as rows:
        assert must(ledger.session.get("Condition?_summary=count")).json()["total"] == 5
    (row,) = rows
    auditor = crowd.login("auditor")

    assert (row["patient"], row["reason"]) == (None, "counted")
    for name in ("pat-1", "pat-3", "pat-6"):
        found = events(auditor, f"&patient={name}&agent=doctor.a&reason=counted")
        assert [event["id"] for event in found] == [row["id"]]
        assert found[0]["entity"][0]["what"] == {"reference": f"Patient/{name}"}
        total = must(auditor.get(f"AuditEvent?patient={name}&reason=counted&_total=accurate"))
        assert total.json()["total"] == 1
    assert events(auditor, "&patient=pat-2&reason=counted") == []
    (own,) = events(crowd.login("p.pat-1"), "&reason=counted")
    assert must(crowd.login("p.pat-1").get(f"AuditEvent/{own['id']}")).json() == own
    assert crowd.login("p.pat-2").get(f"AuditEvent/{own['id']}").status_code == 404
    (of_all,) = events(auditor, "&reason=counted")
    assert [entity["detail"] for entity in of_all["entity"] if "detail" in entity] == [
        [{"type": "counted", "valueString": "5"}]
    ]


def test_entries_of_many_people_stand_in_the_order_of_time(crowd: House) -> None:
    doctor, auditor = crowd.login("doctor.a"), crowd.login("auditor")
    for address in ("Condition?_summary=count", "Condition/con-3", "Condition?_count=0"):
        crowd.clock.forward(seconds=1)
        must(doctor.get(address))

    found = events(auditor, "&patient=pat-3&agent=doctor.a")
    pages = [must(auditor.get("AuditEvent?patient=pat-3&agent=doctor.a&_count=1")).json()]
    while nexts := [link["url"] for link in pages[-1]["link"] if link["relation"] == "next"]:
        pages.append(must(auditor.get(nexts[0])).json())

    assert [event["outcomeDesc"] for event in found] == ["counted", "own-record", "counted"]
    assert [page["entry"][0]["resource"]["id"] for page in pages] == [e["id"] for e in found]


def verified(house: House) -> list[str]:
    """Sign the log, verify it whole, and return what was found."""
    log: AuditLog = house.app.state.audit_log
    log.flush_and_sign()
    database = house.settings.database
    task = VerifyTask(database, log.folder.path, log.signer.name, log.signer.public, processes=1)
    return [finding.kind for finding in verify_log(task).findings]


def _change(house: House, sql: str, *values: object) -> None:
    with house.gateway.store.write_transaction() as connection:
        connection.execute(sql, values)


TAMPERED: dict[str, tuple[Any, ...]] = {
    "somebody taken out of the set": ("UPDATE audit_counted SET bits = ?", bytes([0b10])),
    "the whole set taken away": ("DELETE FROM audit_counted",),
    "two people exchanged": (
        "UPDATE audit_person SET patient = 'other' || patient WHERE number > ?",
        2,
    ),
    "a person emptied": ("UPDATE audit_person SET patient = NULL WHERE number = ?", 1),
    "a set put in": (
        "INSERT INTO audit_counted SELECT block, ?, bits FROM audit_counted",
        "event-of-nobody",
    ),
}


@pytest.mark.parametrize("kind", TAMPERED)
def test_a_set_that_was_changed_is_found(crowd: House, kind: str) -> None:
    must(crowd.login("doctor.a").get("Condition?_summary=count"))
    assert verified(crowd) == []

    _change(crowd, *TAMPERED[kind])

    assert set(verified(crowd)) <= {"counted", "erase"}
    assert verified(crowd) != []


def test_erasing_a_person_leaves_the_set_to_the_others(crowd: House) -> None:
    must(crowd.login("doctor.a").get("Condition?_summary=count"))
    crowd.gateway.audit_batcher.flush()
    audit_context = AuditContext(
        Subject("cli", "cli", "system", "cli", None), "HOPERAT", crowd.clock(), "erasing", "x"
    )
    auditor = crowd.login("auditor")

    with crowd.gateway.store.write_transaction() as connection:
        erase_patient_events(connection, audit_context, "pat-3")
    with crowd.gateway.store.read_transaction() as connection:
        people = connection.execute("SELECT patient FROM audit_person").fetchall()

    assert "pat-3" not in {row["patient"] for row in people}
    assert events(auditor, "&patient=pat-3&reason=counted") == []
    assert len(events(auditor, "&patient=pat-4&reason=counted")) == 1
    assert verified(crowd) == []
    # Whoever is counted after that has another number.
    must(crowd.login("doctor.a").get("Condition?_summary=count"))
    assert len(events(auditor, "&patient=pat-3&reason=counted")) == 1
    assert verified(crowd) == []


def test_a_carer_does_not_learn_of_closed_records_from_a_count(furnished: House) -> None:
    accounts.add_account(furnished.gateway.store, Account("carer.c", "carer", "Carer C"))
    _change(
        furnished,
        "INSERT INTO consent_carer (consent, patient, person, can_view, can_manage, since, until)"
        " VALUES ('carer-1', 'pat-1', 'carer.c', 1, 0, 0, NULL)",
    )
    doctor = furnished.login("doctor.a")
    must(doctor.get("Condition?_summary=count"))
    must(doctor.get("Condition?patient=pat-1&code=none"))

    found = events(furnished.login("carer.c", "user/*.rs"), "&agent=doctor.a")

    assert [event.get("outcomeDesc") for event in found] == [None]
    assert [event["subtype"][0]["code"] for event in found] == ["search-type"]


def test_whose_changes_the_feed_holds_is_on_record(furnished: House) -> None:
    caller = Subject("lake", "Lake", "system", "lake", "ehr-commons")
    lake = Session(furnished.client, furnished.issue(caller, "ehr/feed.read"))

    answer = must(lake.get("/feed?after=0"))
    place = f"after={answer.headers['X-Feed-Next']}&epoch={answer.headers['X-Feed-Epoch']}"
    must(lake.get(f"/feed?{place}"))

    assert len(events(furnished.login("auditor"), "&agent=lake")) == 3
    (event,) = events(furnished.login("p.pat-1"), "&agent=lake")
    assert event["outcomeDesc"] == "feed"
    references = [entity.get("what", {}).get("reference") for entity in event["entity"]]
    assert {"Patient/pat-1", "Observation/lab-1"} <= set(references)
    assert len(events(furnished.login("p.pat-2"), "&agent=lake")) == 1


def test_many_people_in_a_page_of_the_feed_are_one_entry(crowd: House) -> None:
    caller = Subject("lake", "Lake", "system", "lake", "ehr-commons")
    must(Session(crowd.client, crowd.issue(caller, "ehr/feed.read")).get("/feed?after=0"))

    for name in ("p.pat-1", "p.pat-2"):
        (event,) = events(crowd.login(name), "&agent=lake")
        assert event["outcomeDesc"] == "feed"
    assert verified(crowd) == []


def test_a_conditional_create_in_another_case_makes_no_second_person(furnished: House) -> None:
    platform = furnished.system("ehr-commons")
    body = {key: value for key, value in patient("x", "ZA1234560").items() if key != "id"}

    answer = _created(body, f"identifier={HKID}|za1234560")(platform)

    assert answer.status_code == 200
    assert answer.json()["id"] == "pat-1"
