"""Corrections: asked by the patient, answered by the author, and the statement after a refusal."""

from __future__ import annotations

from typing import Any

import pytest

from ehr_gateway.access_requests.correction_requests import CORRECTION_KIND
from ehr_gateway.access_requests.request_rows import AccessRequest, insert_request
from tests.lib.gateway import House, Session, must, observation, restriction
from tests.spec.access.steps import carer, named, send, told

LAB = "Observation/lab-1"
ASKS = "Patient/pat-1/$request-correction"
TEXT = "The haemoglobin is of my sister, zebra-marked"
NO = "The sample bears the right name and number"
SAYS = "I was not in hospital on that day, quagga-marked"


def asked(house: House, record: str = LAB, session: Session | None = None) -> str:
    """Ask for a correction and return the request's id."""
    patient = session or house.login("p.pat-1")
    return str(named(send(patient, ASKS, record=record, text=TEXT))["id"][0])


def listed(session: Session, address: str = "$corrections") -> list[dict[str, Any]]:
    return [
        {name: values[0] for name, values in one.items()}
        for one in named(session.get(address)).get("correction", [])
    ]


def answered(house: House, request: str, outcome: str = "refused", login: str = "doctor.a") -> Any:
    session = house.login(login)
    return send(session, "$answer-correction", request=request, outcome=outcome, reason=NO)


def test_a_request_reaches_the_author_and_the_steward(furnished: House) -> None:
    furnished.share()
    request = asked(furnished)

    for session, address in (
        (furnished.login("doctor.a"), "$corrections"),
        (furnished.login("steward"), "$corrections"),
        (furnished.login("p.pat-1"), "Patient/pat-1/$corrections"),
        (furnished.login("doctor.a"), f"{LAB}/$corrections"),
    ):
        (one,) = listed(session, address)
        assert (one["id"], one["state"], one["record"]) == (request, "requested", LAB)
        assert one["text"] == TEXT
        # 40 days.
        assert one["due"][:10] == "2027-01-01"
    # Whoever else reads the record is not told what the patient asks of the author.
    assert listed(furnished.login("doctor.b")) == []
    assert listed(furnished.login("doctor.b"), f"{LAB}/$corrections") == []
    for login in ("p.pat-2", "auditor", "researcher", "admin"):
        assert furnished.login(login).get("$corrections").status_code == 403
        assert furnished.login(login).get("Patient/pat-1/$corrections").status_code in (403, 404)


def test_an_accepted_request_is_done_when_the_record_is_changed(furnished: House) -> None:
    patient, hospital = furnished.login("p.pat-1"), furnished.system("hospital-a")
    request = asked(furnished)

    must(answered(furnished, request, "accepted"))
    (accepted,) = listed(patient, "Patient/pat-1/$corrections")
    furnished.clock.forward(seconds=60)
    must(hospital.put(observation("lab-1", "laboratory") | {"status": "corrected"}))
    (done,) = listed(patient, "Patient/pat-1/$corrections")

    assert accepted["state"] == done["state"] == "accepted"
    assert "changed" not in accepted
    assert done["changed"] == "2026-11-22T08:01:00.000Z"
    assert (done["answer"], done["answered-by"]) == (NO, "Dr A")
    kinds = [kind for kind, _ in told(furnished)]
    assert kinds == ["correction-answered"]
    assert answered(furnished, request).status_code == 409
    # After an answer one may ask again.
    asked(furnished)


def test_after_a_refusal_the_patient_attaches_a_statement_that_readers_find(
    furnished: House,
) -> None:
    patient = furnished.login("p.pat-1")
    request = asked(furnished)
    assert send(patient, "$attach-statement", request=request, text=SAYS).status_code == 409
    must(answered(furnished, request))

    must(send(patient, "$attach-statement", request=request, text=SAYS))

    doctor = furnished.login("doctor.b")
    assert doctor.get(f"{LAB}/$corrections").status_code == 404
    furnished.share()
    (one,) = listed(doctor, f"{LAB}/$corrections")
    assert (one["statement"], one["state"]) == (SAYS, "refused")
    # Who may not read the record does not find what was said about it.
    furnished.login("p.pat-1").store(restriction("close", record=LAB))
    assert doctor.get(f"{LAB}/$corrections").status_code == 404
    assert listed(doctor) == []


@pytest.mark.parametrize("login", ["doctor.b", "pharmacist.b", "steward", "p.pat-1", "p.pat-2"])
def test_only_the_author_answers(furnished: House, login: str) -> None:
    furnished.share()
    request = asked(furnished)

    assert answered(furnished, request, login=login).status_code in (403, 404)
    assert answered(furnished, "absent").status_code == 404
    (one,) = listed(furnished.login("p.pat-1"), "Patient/pat-1/$corrections")
    assert one["state"] == "requested"


def test_only_who_decides_asks_and_only_about_what_they_see(furnished: House) -> None:
    viewer = carer(furnished, "carer.1", power="view")
    manager = carer(furnished, "carer.2", power="both", domain="laboratory")
    patient, two = furnished.login("p.pat-1"), furnished.login("p.pat-2")

    def ask(session: Session, record: str, address: str = ASKS) -> int:
        return int(send(session, address, record=record, text=TEXT).status_code)

    assert ask(viewer, LAB) == ask(two, LAB) == ask(furnished.login("doctor.a"), LAB) == 404
    # What is closed to the carer is as absent as what is not there.
    assert ask(manager, LAB) == ask(manager, "Observation/absent") == 404
    assert ask(manager, "Condition/con-1") == 200
    assert ask(two, LAB, "Patient/pat-2/$request-correction") == 404
    assert ask(patient, "Patient/pat-1") == ask(patient, "Consent/joining-1") == 422
    # Nor does a request of the patient's about it appear.
    assert ask(patient, LAB) == 200
    assert ask(patient, LAB) == 409
    records = {one["record"] for one in listed(manager, "Patient/pat-1/$corrections")}
    assert records == {"Condition/con-1"}
    assert listed(manager, "Condition/con-1/$corrections")[0]["text"] == TEXT


@pytest.mark.parametrize("text", ["", "x", "aaaaaaaaaaaaaaaaaaaaaaa", "a\x00b" * 20, "x y" * 400])
def test_the_words_say_something(furnished: House, text: str) -> None:
    answer = send(furnished.login("p.pat-1"), ASKS, record=LAB, text=text)

    assert answer.status_code in (400, 422)


def test_the_words_are_in_no_log_notice_or_error(
    furnished: House, caplog: pytest.LogCaptureFixture
) -> None:
    patient = furnished.login("p.pat-1")
    request = asked(furnished)
    repeated = send(patient, ASKS, record=LAB, text=TEXT)
    must(answered(furnished, request))
    must(send(patient, "$attach-statement", request=request, text=SAYS))
    furnished.gateway.audit_batcher.flush()

    with furnished.gateway.store.read_transaction() as connection:
        logged = str([tuple(row) for row in connection.execute("SELECT * FROM audit").fetchall()])
        notices = str([tuple(row) for row in connection.execute("SELECT * FROM notice").fetchall()])
    for words in ("zebra", "quagga", NO):
        assert words not in logged + notices + caplog.text + repeated.text
    events = must(patient.get("AuditEvent?patient=pat-1")).json()["entry"]
    assert sum(LAB in str(event["resource"]) for event in events) >= 3


def test_the_patient_sees_the_answer_to_what_was_not_theirs(furnished: House) -> None:
    patient, steward = furnished.login("p.pat-1"), furnished.login("steward")
    manager = carer(furnished, "carer.1", power="both")
    of_patient = asked(furnished)
    of_carer = asked(furnished, "Condition/con-1", manager)
    for request, record in ((of_patient, LAB), (of_carer, "Condition/con-1")):
        must(answered(furnished, request, "accepted"))
        must(send(steward, f"{record}/$move", patient="pat-2", reason="The sample was another's"))
        assert patient.get(record).status_code == 404

    said = {one["id"]: one["answer"] for one in listed(patient, "Patient/pat-1/$corrections")}
    assert said == {of_patient: NO, of_carer: NO}
    # Of what the patient asked, a carer who does not see the record learns nothing.
    assert [one["id"] for one in listed(manager, "Patient/pat-1/$corrections")] == [of_carer]
    assert listed(furnished.login("p.pat-2"), "Patient/pat-2/$corrections") == []


def _insert(house: House, number: int, state: str, *, record: str = LAB) -> str:
    """Put a request into the table as it was asked long ago; return its id."""
    identity = f"c-{state}-{number}"
    with house.gateway.store.write_transaction() as connection:
        insert_request(
            connection,
            AccessRequest(
                id=identity, kind=CORRECTION_KIND, state=state, patient="pat-1", person="p.pat-1",
                display="Chan", organization="hospital-a", profession=None, reason=TEXT,
                details={"record": record, "version": 1}, asked_ms=number, expires_ms=number,
            ),
        )  # fmt: skip
    return identity


def test_what_waits_longest_is_never_pushed_off_the_list(furnished: House) -> None:
    overdue = _insert(furnished, 1, "requested")
    undone = _insert(furnished, 2, "accepted")
    for number in range(3, 206):
        _insert(furnished, number, "refused")

    for login in ("doctor.a", "steward"):
        ids = {one["id"] for one in listed(furnished.login(login))}
        assert {overdue, undone} <= ids, login
        assert "c-refused-205" in ids, login


@pytest.mark.parametrize("how", ["deleted", "entered-in-error"])
@pytest.mark.parametrize("outcome", ["requested", "accepted", "refused"])
def test_a_request_and_its_answer_outlive_the_record(
    furnished: House, how: str, outcome: str
) -> None:
    patient, hospital = furnished.login("p.pat-1"), furnished.system("hospital-a")
    request = asked(furnished)
    if outcome != "requested":
        must(answered(furnished, request, outcome))
    furnished.clock.forward(seconds=60)
    if how == "deleted":
        must(hospital.delete(LAB))
    else:
        must(hospital.put(observation("lab-1", "laboratory") | {"status": "entered-in-error"}))

    for session, address in (
        (patient, "Patient/pat-1/$corrections"),
        (furnished.login("doctor.a"), "$corrections"),
        (furnished.login("steward"), "$corrections"),
    ):
        (one,) = listed(session, address)
        assert (one["id"], one["state"], one["text"]) == (request, outcome, TEXT)
        assert one["changed"] == "2026-11-22T08:01:00.000Z"
    if outcome == "requested":
        must(answered(furnished, request, "accepted"))
