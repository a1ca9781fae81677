"""Corrections in the open: a steward's, a patient's own labels, proposals of identity, moves."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lib.gateway import House, must, observation, patient, restriction

Json = dict[str, Any]
ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
REASON = "On paper at the counter, form 12"
HIV = {"system": ACT_CODE, "code": "HIV"}


def call(house: House, login: str, address: str, **values: Any) -> Any:
    """Call an operation with parameters; what is not text is given with its element."""
    parameters = [
        {"name": name, **(value if isinstance(value, dict) else {"valueString": value})}
        for name, value in values.items()
    ]
    body = {"resourceType": "Parameters", "parameter": parameters}
    return house.login(login).post(address, body)


def labels(*codes: str) -> Json:
    """Return the parameter `meta` with labels."""
    return {"valueMeta": {"security": [{"system": ACT_CODE, "code": code} for code in codes]}}


def notices(house: House, login: str) -> str:
    """Return what a patient was told."""
    return str(must(house.login(login).get("$notices")).text)


def worklist(house: House, rule: str) -> list[Json]:
    """Return the Tasks of one rule."""
    found = must(house.login("steward").get(f"AuditEvent/$worklist?rule={rule}")).json()
    return [entry["resource"] for entry in found.get("entry", [])]


def hide_hiv(house: House) -> None:
    """Share everything with hospital-b but what is labelled HIV."""
    house.share()
    house.login("p.pat-1").store(
        restriction("hide-hiv", against="Organization/hospital-b", securityLabel=[HIV])
    )


def test_a_patient_labels_an_own_record_and_takes_the_label_back(furnished: House) -> None:
    hide_hiv(furnished)
    doctor = furnished.login("doctor.b")
    assert doctor.get("Observation/lab-1").status_code == 200

    added = call(furnished, "p.pat-1", "Observation/lab-1/$meta-add", meta=labels("HIV"))
    assert must(added).json()["parameter"][0]["valueMeta"]["security"] == [HIV]
    assert doctor.get("Observation/lab-1").status_code == 404
    # The author sees it, and learns nothing of the label.
    own = must(furnished.login("doctor.a").get("Observation/lab-1")).json()
    assert "security" not in own["meta"]
    # The author's next version does not take it back.
    must(furnished.login("doctor.a").put({**own, "status": "amended"}))
    assert doctor.get("Observation/lab-1").status_code == 404

    taken = call(furnished, "p.pat-1", "Observation/lab-1/$meta-delete", meta=labels("HIV"))
    assert must(taken).json()["parameter"][0]["valueMeta"] == {}
    assert doctor.get("Observation/lab-1").status_code == 200


def test_a_patient_takes_no_label_of_the_authors_away(furnished: House) -> None:
    hide_hiv(furnished)
    labelled = {**observation("lab-1", "laboratory"), "meta": {"security": [HIV]}}
    must(furnished.system("hospital-a").put(labelled))

    must(call(furnished, "p.pat-1", "Observation/lab-1/$meta-delete", meta=labels("HIV")))

    assert furnished.login("doctor.b").get("Observation/lab-1").status_code == 404


@pytest.mark.parametrize("login", ["doctor.a", "doctor.b", "steward", "admin", "researcher"])
def test_only_patients_put_labels_on_records(furnished: House, login: str) -> None:
    furnished.share()

    answer = call(furnished, login, "Observation/lab-1/$meta-add", meta=labels("HIV"))

    assert answer.status_code == 403


def test_somebody_elses_record_is_labelled_as_one_that_is_absent(furnished: House) -> None:
    answers = [
        call(furnished, "p.pat-2", f"Observation/{name}/$meta-add", meta=labels("HIV"))
        for name in ("lab-1", "absent")
    ]

    assert answers[0].status_code == 404
    assert answers[0].content == answers[1].content


def test_a_label_that_is_none_is_refused(furnished: House) -> None:
    for meta in (labels("COLOUR"), labels(), {"valueMeta": {"tag": [HIV]}}):
        answer = call(furnished, "p.pat-1", "Observation/lab-1/$meta-add", meta=meta)
        assert answer.status_code in (400, 422)


def test_a_steward_adds_and_denies_a_label_and_the_patient_is_told(furnished: House) -> None:
    hide_hiv(furnished)
    doctor = furnished.login("doctor.b")
    at = "Observation/lab-1/$correct-facts"

    must(call(furnished, "steward", at, fact="label", value="HIV", action="add", reason=REASON))
    assert doctor.get("Observation/lab-1").status_code == 404

    must(call(furnished, "steward", at, fact="label", value="HIV", action="deny", reason=REASON))
    assert doctor.get("Observation/lab-1").status_code == 200
    assert "record-corrected" in notices(furnished, "p.pat-1")
    assert "record-corrected" not in notices(furnished, "p.pat-2")
    events = must(furnished.login("auditor").get("AuditEvent?subtype=operation&patient=pat-1"))
    assert "Observation/lab-1" in events.text
    assert REASON not in events.text


def test_a_steward_corrects_domain_episode_and_date(furnished: House) -> None:
    furnished.share()
    doctor = furnished.login("doctor.b")
    own = furnished.login("p.pat-1")
    close = {
        "domain": restriction("c", domain="radiology"),
        "episode": restriction(
            "c",
            data=[{"meaning": "related", "reference": {"reference": "Encounter/enc-1"}}],
        ),
        "date": restriction("c", dataPeriod={"start": "2019-01-01", "end": "2019-12-31"}),
    }
    values = {"domain": "radiology", "episode": "enc-1", "date": "2019-05-06"}
    for fact, rule in close.items():
        own.store(rule)
        assert doctor.get("Observation/lab-2").status_code == 200
        sent = {"fact": fact, "value": values[fact], "reason": REASON}
        must(call(furnished, "steward", "Observation/lab-2/$correct-facts", action="add", **sent))
        assert doctor.get("Observation/lab-2").status_code == 404, fact
        withdrawn = call(
            furnished, "steward", "Observation/lab-2/$correct-facts", action="withdraw", **sent
        )
        must(withdrawn)


@pytest.mark.parametrize("operation", ["$correct-facts", "$move", "$withdraw"])
@pytest.mark.parametrize("login", ["doctor.a", "doctor.b", "p.pat-1", "admin", "auditor"])
def test_only_a_steward_corrects_what_others_wrote(
    furnished: House, login: str, operation: str
) -> None:
    sent = {
        "$correct-facts": {"fact": "label", "value": "HIV", "action": "add"},
        "$move": {"patient": "pat-2"},
        "$withdraw": {"as": "deleted"},
    }[operation]

    for name in ("lab-1", "absent"):
        answer = call(furnished, login, f"Observation/{name}/{operation}", reason=REASON, **sent)
        assert answer.status_code == 403


def test_a_steward_moves_a_record_and_both_are_told(furnished: House) -> None:
    moved = call(furnished, "steward", "Observation/lab-2/$move", patient="pat-2", reason=REASON)
    must(moved)

    author = must(furnished.login("doctor.a").get("Observation/lab-2")).json()
    assert author["subject"]["reference"] == "Patient/pat-2"
    assert must(furnished.login("p.pat-2").get("Observation/lab-2")).status_code == 200
    assert furnished.login("p.pat-1").get("Observation/lab-2").status_code == 404
    for login in ("p.pat-1", "p.pat-2"):
        assert "record-moved" in notices(furnished, login)


def test_a_steward_moves_nothing_to_nobody(furnished: House) -> None:
    for to in ("absent", "pat-1"):
        answer = call(furnished, "steward", "Observation/lab-2/$move", patient=to, reason=REASON)
        assert answer.status_code == 422
    assert must(furnished.login("p.pat-1").get("Observation/lab-2")).status_code == 200


def test_the_author_moves_a_record_and_a_steward_sees_it(furnished: House) -> None:
    body = {**observation("lab-2", "laboratory"), "subject": {"reference": "Patient/pat-2"}}

    must(furnished.login("doctor.a").put(body))

    assert furnished.login("p.pat-1").get("Observation/lab-2").status_code == 404
    for login in ("p.pat-1", "p.pat-2"):
        assert "record-moved" in notices(furnished, login)
    tasks = worklist(furnished, "record-moved")
    assert {task["for"]["reference"] for task in tasks} == {"Patient/pat-1", "Patient/pat-2"}


def test_an_author_who_opens_what_was_closed_is_told_of(furnished: House) -> None:
    hide_hiv(furnished)
    hospital = furnished.system("hospital-a")
    labelled = {**observation("lab-1", "laboratory"), "meta": {"security": [HIV]}}
    must(hospital.put(labelled))
    assert "record-opened" not in notices(furnished, "p.pat-1")

    must(hospital.put(observation("lab-1", "laboratory")))

    assert furnished.login("doctor.b").get("Observation/lab-1").status_code == 200
    assert "record-opened" in notices(furnished, "p.pat-1")


@pytest.mark.parametrize("how", ["deleted", "entered-in-error"])
def test_a_steward_withdraws_a_record_on_request(furnished: House, how: str) -> None:
    must(call(furnished, "steward", "Condition/con-1/$withdraw", reason=REASON, **{"as": how}))

    author = furnished.login("doctor.a").get("Condition/con-1")
    if how == "deleted":
        assert author.status_code == 410
    else:
        code = must(author).json()["verificationStatus"]["coding"][0]["code"]
        assert code == "entered-in-error"
    assert "record-corrected" in notices(furnished, "p.pat-1")


def test_a_steward_deletes_no_person(furnished: House) -> None:
    answer = call(
        furnished, "steward", "Patient/pat-1/$withdraw", reason=REASON, **{"as": "deleted"}
    )

    assert answer.status_code == 403


def proposals(house: House) -> list[Json]:
    """Return the proposals that wait, each as name -> value of its parts."""
    found = must(house.login("steward").get("$identity-proposals")).json()
    return [
        {
            part["name"]: next(value for key, value in part.items() if key != "name")
            for part in proposal["part"]
        }
        for proposal in found.get("parameter", [])
    ]


def propose(house: House, **more: Any) -> Json:
    """Let hospital-a propose another birth date; return the answer's status and the proposal."""
    body = {**patient("pat-1", "ZA1234560"), "birthDate": "1981-02-03", **more}
    answer = house.login("doctor.a").put(body)
    assert answer.status_code == 202, answer.text
    return proposals(house)[0]


def decide(house: House, proposal: Json, decision: str) -> Any:
    """Let the steward decide."""
    return call(
        house, "steward", "$decide-identity",
        proposal=proposal["id"], decision=decision, reason=REASON,
    )  # fmt: skip


@pytest.fixture
def shared(furnished: House) -> House:
    """Let hospital-a see the patient whom it changes."""
    furnished.share("hospital-a")
    return furnished


def test_a_steward_approves_a_proposal(shared: House) -> None:
    proposal = propose(shared)
    assert (proposal["patient"], proposal["display"], proposal["current"]) == (
        "pat-1", "Dr A", True,
    )  # fmt: skip
    parts = {part["name"]: part for part in proposal["change"]}
    assert parts["element"]["valueCode"] == "birthDate"
    assert (parts["now"]["valueString"], parts["proposed"]["valueString"]) == (
        "1980-02-03", "1981-02-03",
    )  # fmt: skip

    must(decide(shared, proposal, "approve"))

    body = must(shared.login("p.pat-1").get("Patient/pat-1")).json()
    assert (body["birthDate"], body["meta"]["versionId"]) == ("1981-02-03", "2")
    assert proposals(shared) == []
    assert "identity-changed" in notices(shared, "p.pat-1")
    assert decide(shared, proposal, "approve").status_code == 404


def test_a_steward_refuses_a_proposal(shared: House) -> None:
    proposal = propose(shared)

    must(decide(shared, proposal, "refuse"))

    body = must(shared.login("p.pat-1").get("Patient/pat-1")).json()
    assert (body["birthDate"], body["meta"]["versionId"]) == ("1980-02-03", "1")
    assert proposals(shared) == []


def test_what_was_changed_meanwhile_is_outdated(shared: House) -> None:
    proposal = propose(shared)
    telecom = [{"system": "phone", "value": "2345 6789"}]
    must(shared.login("doctor.a").put({**patient("pat-1", "ZA1234560"), "telecom": telecom}))

    assert proposals(shared)[0]["current"] is False
    assert decide(shared, proposal, "approve").status_code == 409
    assert decide(shared, proposal, "approve").status_code == 404
    body = must(shared.login("p.pat-1").get("Patient/pat-1")).json()
    assert (body["birthDate"], body["telecom"]) == ("1980-02-03", telecom)


def test_the_same_proposal_sent_again_is_one(shared: House) -> None:
    first = propose(shared)
    again = propose(shared)

    assert first["id"] == again["id"]
    assert len(proposals(shared)) == 1


def test_a_proposal_in_a_transaction_changes_nothing_and_the_rest_is_stored(
    shared: House,
) -> None:
    changed = {**patient("pat-1", "ZA1234560"), "gender": "male"}
    entries = [
        {"request": {"method": "PUT", "url": "Patient/pat-1"}, "resource": changed},
        {
            "request": {"method": "POST", "url": "Observation"},
            "resource": observation("x", "laboratory"),
        },
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}

    answer = must(shared.login("doctor.a").post("/fhir", bundle)).json()["entry"]

    assert [entry["response"]["status"][:3] for entry in answer] == ["202", "201"]
    assert answer[0]["response"]["outcome"]["issue"][0]["severity"] == "information"
    assert "resource" not in answer[0]
    body = must(shared.login("p.pat-1").get("Patient/pat-1")).json()
    assert (body["gender"], body["meta"]["versionId"]) == ("female", "1")


def test_a_patient_proposes_for_themselves_and_for_nobody_else(furnished: House) -> None:
    own = {**patient("pat-1", "ZA1234560"), "name": [{"family": "Chan", "given": ["Siu Ming"]}]}
    assert furnished.login("p.pat-1").put(own).status_code == 202
    assert furnished.login("p.pat-2").put(own).status_code in (403, 404)
    assert [proposal["display"] for proposal in proposals(furnished)] == ["Patient One"]


@pytest.mark.parametrize("login", ["doctor.a", "p.pat-1", "admin", "auditor", "researcher"])
def test_only_a_steward_sees_and_decides_proposals(shared: House, login: str) -> None:
    proposal = propose(shared)

    assert shared.login(login).get("$identity-proposals").status_code == 403
    answer = call(
        shared, login, "$decide-identity",
        proposal=proposal["id"], decision="approve", reason=REASON,
    )  # fmt: skip
    assert answer.status_code == 403


def test_whose_proposal_a_steward_sees_is_on_record(shared: House) -> None:
    propose(shared)

    address = "AuditEvent?agent=steward&patient=pat-1&subtype=operation&_total=accurate"
    assert must(shared.login("auditor").get(address)).json()["total"] == 1


def test_a_steward_corrects_a_person_by_the_papers(furnished: House) -> None:
    steward = furnished.login("steward")
    kind = {"Content-Type": "application/json-patch+json"}
    patch = [{"op": "replace", "path": "/birthDate", "value": "1981-02-03"}]

    must(steward.request("PATCH", "Patient/pat-1", json=patch, headers=kind))
    must(steward.put({**patient("pat-1", "ZA1234560"), "birthDate": "1981-02-04"}))

    assert steward.get("Patient/pat-1").status_code == 404
    body = must(furnished.login("p.pat-1").get("Patient/pat-1")).json()
    assert (body["birthDate"], body["meta"]["versionId"]) == ("1981-02-04", "3")
