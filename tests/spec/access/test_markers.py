"""The marker is the only difference that something withheld makes, and none where it is hidden."""

from __future__ import annotations

import dataclasses

import pytest

from tests.lib.gateway import House, MoveIn, Session, must, observation, restriction
from tests.spec.access.steps import REASON, named, redeem, send, xray

SEALED = {
    "url": "https://ehr-commons.hk/fhir/StructureDefinition/sealed",
    "valueBoolean": True,
}
PATHS = ("Patient/pat-1", "ImagingStudy?patient=pat-1", "Observation?patient=pat-1&_total=accurate",
         "Patient/pat-1/$withheld")  # fmt: skip


def test_a_hidden_record_is_told_of_without_a_word_on_what_it_is(furnished: House) -> None:
    furnished.share()
    furnished.login("p.pat-1").store(restriction("hides", domain="laboratory"))
    doctor = furnished.login("doctor.b")

    assert named(doctor.get("Patient/pat-1/$withheld")) == {"shared": [True], "hidden": [True]}


def test_a_restriction_of_what_is_not_there_gives_no_marker(furnished: House) -> None:
    furnished.share()
    furnished.login("p.pat-1").store(restriction("hides", domain="immunisation"))
    marked = named(furnished.login("doctor.b").get("Patient/pat-1/$withheld"))

    assert marked == {"shared": [True], "hidden": [False]}


def test_sealed_not_shared_and_not_there_give_no_marker(furnished: House) -> None:
    doctor = furnished.login("doctor.b")
    nothing = {"shared": [False], "hidden": [False]}
    assert named(doctor.get("Patient/pat-1/$withheld")) == nothing
    assert named(doctor.get("Patient/nobody/$withheld")) == nothing
    furnished.share()
    furnished.login("p.pat-1").store(restriction("seals", domain="laboratory", extension=[SEALED]))

    assert named(doctor.get("Patient/pat-1/$withheld")) == {"shared": [True], "hidden": [False]}


def test_a_profession_without_the_domain_learns_nothing_of_it(furnished: House) -> None:
    furnished.share()
    furnished.system("hospital-a").store(
        {
            "resourceType": "ImagingStudy", "id": "ray-1", "status": "available",
            "subject": {"reference": "Patient/pat-1"},
        }
    )  # fmt: skip
    program = furnished.system("hospital-b", "system/*.rs")

    assert named(program.get("Patient/pat-1/$withheld")) == {"shared": [True], "hidden": [False]}


def test_a_step_up_for_what_the_marker_names_opens_what_is_withheld(furnished: House) -> None:
    furnished.share()
    # The domain of one is in doubt, the other holds a record of another domain.
    uncoded = {**observation("uncoded", "laboratory"), "code": {"text": "glucose"}}
    del uncoded["category"]
    held = observation("held", "imaging")
    holder = {**observation("holder", "laboratory"), "contained": [held],
              "hasMember": [{"reference": "#held"}]}  # fmt: skip
    for record in (uncoded, holder):
        furnished.system("hospital-a").store(record)
    pharmacist = furnished.login("pharmacist.b")
    marked = named(pharmacist.get("Patient/pat-1/$withheld"))
    assert pharmacist.get("Observation/uncoded").status_code == 404

    asked = send(
        pharmacist, "Patient/pat-1/$request-access", reason=REASON, domain=marked["domain"], hours=1
    )
    must(redeem(furnished, pharmacist, str(named(asked)["id"][0])))

    assert named(pharmacist.get("Patient/pat-1/$withheld")) == {
        "shared": [True], "hidden": [False],
    }  # fmt: skip
    for name in ("uncoded", "holder"):
        must(pharmacist.get(f"Observation/{name}"))


@pytest.mark.parametrize("policy", ["show", "hide"])
def test_two_stores_that_differ_in_what_is_withheld_differ_in_the_marker_alone(
    move_in: MoveIn, policy: str
) -> None:
    with_it, without = move_in("furnished", "with"), move_in("furnished", "without")
    for house in (with_it, without):
        house.share()
        limits = dataclasses.replace(house.settings.limits, withheld_marker=policy)
        settings = dataclasses.replace(house.gateway.settings, limits=limits)
        house.app.state.gateway = dataclasses.replace(house.gateway, settings=settings)
    xray(with_it, "ray-1")

    answers = [_answers(house.login("pharmacist.b")) for house in (with_it, without)]

    differing = [path for path in PATHS if answers[0][path] != answers[1][path]]
    assert differing == (["Patient/pat-1/$withheld"] if policy == "show" else [])


def _answers(session: Session) -> dict[str, str]:
    found = {}
    for path in PATHS:
        body = session.get(path).json()
        body.pop("id", None)
        body.get("meta", {}).pop("lastUpdated", None)
        for entry in body.get("entry", []):
            entry["resource"]["meta"].pop("lastUpdated", None)
        found[path] = str(body)
    return found


@pytest.mark.parametrize("login", ["p.pat-1", "steward", "researcher", "auditor"])
def test_the_marker_is_for_those_who_treat(furnished: House, login: str) -> None:
    assert furnished.login(login).get("Patient/pat-1/$withheld").status_code == 403
