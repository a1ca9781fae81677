"""Carers: invited, limited, ended; and those recorded for who cannot decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account
from tests.lib.gateway import EHR, House, must, restriction
from tests.lib.typing_styles import TYPING_STYLES
from tests.spec.access.steps import carer, named, send, told

OVER = {"start": "2025-01-01", "end": "2026-01-01"}
ROLE = {
    "coding": [
        {"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP"}
    ]
}


def test_a_carer_sees_the_record_from_accepting_until_the_patient_ends_it(
    furnished: House,
) -> None:
    session = carer(furnished, "carer.1", power="view")
    patient = furnished.login("p.pat-1")
    assert session.get("Observation/lab-1").status_code == 200
    assert named(session.get("$acting-for"))["person"] == [
        {"patient": ["pat-1"], "view": [True], "manage": [False]}
    ]
    assert [kind for kind, _ in told(furnished)] == ["carer"]

    (one,) = named(patient.get("Patient/pat-1/$carers"))["carer"]
    must(send(patient, "$end-carer", carer=one["id"][0]))

    assert session.get("Observation/lab-1").status_code == 404
    assert "person" not in named(session.get("$acting-for"))


@pytest.mark.parametrize("style", TYPING_STYLES)
def test_an_invitation_is_taken_up_however_a_keyboard_types_its_code(
    furnished: House, style: str
) -> None:
    accounts.add_account(furnished.gateway.store, Account("carer.1", "carer", "Carer One"))
    invited = send(furnished.login("p.pat-1"), "Patient/pat-1/$invite-carer", power="view")
    typed = TYPING_STYLES[style](named(invited)["code"][0])

    must(send(furnished.login("carer.1"), "$accept-invitation", code=typed))


def test_domains_stay_closed_and_the_term_ends(furnished: House) -> None:
    session = carer(furnished, "carer.1", domain="laboratory", until="2026-11-30")

    assert session.get("Observation/lab-1").status_code == 404
    assert session.get("Condition/con-1").status_code == 200
    furnished.clock.forward(seconds=9 * 86_400)
    assert furnished.login("carer.1").get("Condition/con-1").status_code == 404


def test_the_power_to_manage_writes_choices_and_the_power_to_view_does_not(
    furnished: House,
) -> None:
    viewer = carer(furnished, "carer.1", power="view")
    manager = carer(furnished, "carer.2", power="manage")
    body = restriction("closes", domain="laboratory")
    del body["id"]

    assert viewer.post("Consent", body).status_code == 403
    assert manager.post("Consent", body).status_code == 201
    assert manager.get("Observation/lab-1").status_code == 404
    other = body | {"patient": {"reference": "Patient/pat-2"}}
    assert manager.post("Consent", other).status_code == 403


def test_one_log_in_serves_all_the_people_a_carer_has(furnished: House) -> None:
    session = carer(furnished, "carer.1")
    two = send(furnished.login("p.pat-2"), "Patient/pat-2/$invite-carer", power="view")
    must(send(session, "$accept-invitation", code=named(two)["code"][0]))

    assert session.get("Patient/pat-2").status_code == 200
    people = named(session.get("$acting-for"))["person"]
    assert [one["patient"] for one in people] == [["pat-1"], ["pat-2"]]


def test_an_invitation_is_good_once_for_a_carer_and_for_a_week(furnished: House) -> None:
    patient = furnished.login("p.pat-1")
    invited = named(send(patient, "Patient/pat-1/$invite-carer", power="view"))
    code = invited["code"][0]
    assert code not in str(named(patient.get("Patient/pat-1/$carers")))
    for login in ("doctor.b", "p.pat-2"):
        answer = send(furnished.login(login), "$accept-invitation", code=code)
        assert answer.status_code == 403
    for login in ("carer.1", "carer.2"):
        accounts.add_account(furnished.gateway.store, Account(login, "carer", "Carer"))

    must(send(furnished.login("carer.1"), "$accept-invitation", code=code.lower()))
    assert send(furnished.login("carer.2"), "$accept-invitation", code=code).status_code == 404
    late = named(send(patient, "Patient/pat-1/$invite-carer", power="view"))["code"][0]
    furnished.clock.forward(seconds=7 * 86_400)
    assert send(furnished.login("carer.2"), "$accept-invitation", code=late).status_code == 404


def test_guessing_invitations_is_slowed_down(furnished: House) -> None:
    accounts.add_account(furnished.gateway.store, Account("carer.1", "carer", "Carer"))
    session = furnished.login("carer.1")
    answers = [send(session, "$accept-invitation", code=f"AAAA{number}") for number in range(12)]

    assert answers[0].status_code == 404
    assert answers[-1].status_code == 429


def test_only_the_patient_invites_and_only_those_it_concerns_end(furnished: House) -> None:
    session = carer(furnished, "carer.1")
    (one,) = named(session.get("Patient/pat-1/$carers"))["carer"]
    for login in ("p.pat-2", "doctor.a", "carer.1"):
        answer = send(furnished.login(login), "Patient/pat-1/$invite-carer", power="view")
        assert answer.status_code == 404
    for login in ("p.pat-2", "doctor.a"):
        assert send(furnished.login(login), "$end-carer", carer=one["id"][0]).status_code == 404

    must(send(session, "$end-carer", carer=one["id"][0]))
    assert session.get("Patient/pat-1").status_code == 404


@pytest.mark.parametrize("login", ["doctor.a", "steward"])
def test_who_decides_for_a_patient_is_recorded_told_and_reviewed(
    furnished: House, login: str
) -> None:
    furnished.share("hospital-a")
    accounts.add_account(furnished.gateway.store, Account("carer.1", "carer", "Guardian"))
    recorded = send(
        furnished.login(login),
        "Patient/pat-1/$record-substitute",
        relation="guardian",
        basis="incapable",
        reason="Guardianship order of 3 November",
        until="2027-06-01",
    )
    session = furnished.login("carer.1")
    must(send(session, "$accept-invitation", code=named(recorded)["code"][0]))

    assert session.get("Observation/lab-1").status_code == 200
    assert [kind for kind, _ in told(furnished)] == ["substitute"]
    (review,) = named(furnished.login("steward").get("$access-reviews"))["access"]
    assert (review["kind"], review["relation"]) == (["substitute"], ["guardian"])
    answer = send(furnished.login("p.pat-1"), "$end-carer", carer=review["id"][0])
    assert answer.status_code == 404


def test_nobody_else_records_who_decides(furnished: House) -> None:
    given = {"relation": "parent", "basis": "minor", "reason": "Born 2020", "until": "2027-01-01"}
    given["reason"] = "The mother came along"
    statuses = [
        send(furnished.login(login), "Patient/pat-1/$record-substitute", **given).status_code
        for login in ("p.pat-1", "researcher", "doctor.b")
    ]

    assert statuses == [403, 403, 404]


def test_who_comes_before_in_the_order_of_the_law_decides(furnished: House) -> None:
    steward = furnished.login("steward")

    def record(relation: str) -> object:
        return send(
            steward, "Patient/pat-1/$record-substitute", relation=relation, basis="incapable",
            reason="Came with the patient", until="2027-06-01",
        )  # fmt: skip

    sessions = {}
    for relation in ("family", "guardian"):
        accounts.add_account(furnished.gateway.store, Account(f"c.{relation}", "carer", relation))
        sessions[relation] = furnished.login(f"c.{relation}")
        code = named(record(relation))["code"][0]
        must(send(sessions[relation], "$accept-invitation", code=code))

    assert sessions["guardian"].get("Patient/pat-1").status_code == 200
    assert sessions["family"].get("Patient/pat-1").status_code == 404
    assert record("family").status_code == 422  # type: ignore[attr-defined]


def test_who_was_invited_before_one_of_an_earlier_rank_accepted_comes_too_late(
    furnished: House,
) -> None:
    steward, codes, sessions = furnished.login("steward"), {}, {}
    for relation in ("family", "guardian"):
        accounts.add_account(furnished.gateway.store, Account(f"c.{relation}", "carer", relation))
        sessions[relation] = furnished.login(f"c.{relation}")
        recorded = send(
            steward, "Patient/pat-1/$record-substitute", relation=relation, basis="incapable",
            reason="Came with the patient", until="2027-06-01",
        )  # fmt: skip
        codes[relation] = named(recorded)["code"][0]

    must(send(sessions["guardian"], "$accept-invitation", code=codes["guardian"]))
    late = send(sessions["family"], "$accept-invitation", code=codes["family"])

    assert late.status_code == 422
    assert sessions["family"].get("Patient/pat-1").status_code == 404


def test_nobody_decides_as_for_a_child_for_an_adult(furnished: House) -> None:
    answer = send(
        furnished.login("steward"), "Patient/pat-1/$record-substitute", relation="parent",
        basis="minor", reason="Came with the patient", until="2027-06-01",
    )  # fmt: skip

    assert answer.status_code == 422
    assert "1980" not in answer.text


Json = dict[str, Any]


def power(house: House) -> tuple[str, Json]:
    """Return the address and the content of the Consent that gives carer.1 a power."""
    with house.gateway.store.read_transaction() as connection:
        row = connection.execute("SELECT consent FROM access_request WHERE kind = 'carer'")
        address = f"Consent/{row.fetchone()['consent']}"
    body: Json = must(house.login("p.pat-1").get(address)).json()
    return address, {key: value for key, value in body.items() if key != "meta"}


def put(house: House, body: Json) -> None:
    must(house.login("p.pat-1").put(body))


def cut_short(house: House, body: Json) -> None:
    house.clock.forward(seconds=60)
    provision = {**body["provision"], "period": {"end": "2026-11-22T08:00:30Z"}}
    put(house, {**body, "provision": provision})


def give_another(house: House, body: Json) -> None:
    actors = [
        {**actor, "reference": {"reference": "RelatedPerson/another"}}
        for actor in body["provision"]["actor"]
    ]
    house.system("ehr-commons").store(
        {
            "resourceType": "RelatedPerson",
            "id": "another",
            "patient": {"reference": "Patient/pat-1"},
        }
    )
    put(house, {**body, "provision": {**body["provision"], "actor": actors}})


ENDINGS: dict[str, Callable[[House, Json], Any]] = {
    "inactive": lambda house, body: put(house, {**body, "status": "inactive"}),
    "in error": lambda house, body: put(house, {**body, "status": "entered-in-error"}),
    "deleted": lambda house, body: must(house.login("p.pat-1").delete(f"Consent/{body['id']}")),
    "cut short": cut_short,
    "given to another": give_another,
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("older", [False, True])
def test_a_power_that_ended_is_not_given_again_by_the_same_consent(
    furnished: House, ending: str, older: bool
) -> None:
    session = carer(furnished, "carer.1", power="both")
    address, body = power(furnished)
    if older:
        # A store of a version that did not record what powers are given.
        with furnished.gateway.store.write_transaction() as connection:
            connection.execute("DELETE FROM consent_opening")
    assert session.get("Observation/lab-1").status_code == 200

    ENDINGS[ending](furnished, body)
    assert session.get("Observation/lab-1").status_code == 404
    furnished.clock.forward(seconds=60)
    put(furnished, body)
    operation = {"op": "add", "path": "/language", "value": "en"}
    headers = {"Content-Type": "application/json-patch+json"}
    patient = furnished.login("p.pat-1")
    must(patient.request("PATCH", address, json=[operation], headers=headers))

    assert session.get("Observation/lab-1").status_code == 404
    assert "person" not in named(session.get("$acting-for"))
    # A Consent of its own gives it again.
    again = {key: value for key, value in body.items() if key != "id"}
    must(patient.post("Consent", again))
    assert session.get("Observation/lab-1").status_code == 200


def test_a_power_is_lengthened_and_outlasts_what_is_shared(furnished: House) -> None:
    furnished.share()
    carer(furnished, "carer.1", until="2026-11-30")
    _, body = power(furnished)

    put(furnished, {**body, "provision": {**body["provision"], "period": {"end": "2027-01-31"}}})
    furnished.share(status="inactive")
    furnished.clock.forward(seconds=20 * 86_400)

    assert furnished.login("carer.1").get("Condition/con-1").status_code == 200


def test_a_carer_does_not_lift_what_limits_carers(furnished: House) -> None:
    limited = carer(furnished, "carer.1", power="both", domain="laboratory")
    other = carer(furnished, "carer.2", power="both")
    patient = furnished.login("p.pat-1")
    group = {"system": f"{EHR}/actor-group", "value": "carers"}
    closed = restriction("x", domain="observation")
    closed["provision"]["actor"] = [{"role": ROLE, "reference": {"identifier": group}}]
    del closed["id"]
    must(other.post("Consent", closed))
    listed = must(patient.get("Consent?patient=pat-1")).json()["entry"]
    limits = [
        entry["resource"]
        for entry in listed
        if entry["resource"]["category"][0]["coding"][0]["code"] in ("carer", "restriction")
    ]
    assert len(limits) == 4

    for session in (limited, other):
        for consent in limits:
            name = f"Consent/{consent['id']}"
            for changed in (
                consent | {"status": "inactive"},
                consent | {"provision": consent["provision"] | {"period": OVER}},
            ):
                assert session.put(changed).status_code == 403, consent
            assert session.delete(name).status_code == 403
            assert must(patient.get(name)).json()["meta"]["versionId"] == "1"
    assert limited.get("Observation/lab-1").status_code == 404
    # Nor does a carer make carers, of themselves or of others.
    (power, *_) = (c for c in limits if c["category"][0]["coding"][0]["code"] == "carer")
    served = ("id", "identifier", "meta")
    anew = {name: value for name, value in power.items() if name not in served}
    assert other.post("Consent", anew).status_code == 403
    # The patient lifts what the patient set.
    for consent in limits:
        if consent["category"][0]["coding"][0]["code"] == "restriction":
            must(patient.put(consent | {"status": "inactive"}))
    assert limited.get("Observation/lab-1").status_code == 200


def test_a_carer_takes_the_record_and_its_summary_while_the_power_lasts(furnished: House) -> None:
    session, addresses = carer(furnished, "carer.1", domain="laboratory"), ("everything", "summary")
    for name in addresses:
        answer = must(session.get(f"Patient/pat-1/${name}")).json()
        held = [one["resource"]["id"] for one in answer["entry"]]
        # What the patient keeps from carers is not in it.
        assert "con-1" in held, name
        assert not {"lab-1", "lab-2"} & set(held), name

    (one,) = named(furnished.login("p.pat-1").get("Patient/pat-1/$carers"))["carer"]
    must(send(furnished.login("p.pat-1"), "$end-carer", carer=one["id"][0]))

    assert [session.get(f"Patient/pat-1/${name}").status_code for name in addresses] == [404, 404]
