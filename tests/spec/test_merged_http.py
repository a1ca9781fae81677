"""Merged accounts over HTTP: a link closes both ways at the next request, and opens nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lib.gateway import (
    House,
    MoveIn,
    Session,
    consent,
    must,
    observation,
    patient,
    restriction,
)
from tests.spec.access.steps import named, send

OF_ONE = ("Patient/pat-1", "Observation/lab-1", "Condition/con-1")
HKIDS = {"pat-1": "ZA1234560", "pat-2": "ZB1234563", "pat-3": "ZC1234566"}


def account(name: str, **links: str) -> dict[str, Any]:
    """Return a patient with links, each named by its kind."""
    made = [
        {"type": kind.replace("_", "-"), "other": {"reference": f"Patient/{other}"}}
        for kind, other in links.items()
    ]
    return {**patient(name, HKIDS[name]), **({"link": made} if made else {})}


def merge(house: House, name: str = "pat-2", **links: str) -> None:
    """State anew whom an account is the same person as; no links take them back."""
    must(house.system("ehr-commons").put(account(name, **links)))


def hidden(name: str = "pat-2", **provision: Any) -> dict[str, Any]:
    """Return a restriction of a patient against hospital-b."""
    made = restriction(f"hide-{name}", against="Organization/hospital-b", **provision)
    return {**made, "patient": {"reference": f"Patient/{name}"}}


def statuses(session: Session) -> set[int]:
    return {session.get(one).status_code for one in OF_ONE}


def test_what_one_account_closed_is_closed_in_the_other_at_the_next_request(
    furnished: House,
) -> None:
    furnished.share()
    furnished.login("p.pat-2").store(hidden())
    doctor = furnished.login("doctor.b")
    assert statuses(doctor) == {200}

    merge(furnished, replaces="pat-1")
    assert statuses(doctor) == {404}
    assert doctor.ids("Observation?patient=pat-1") == []
    assert doctor.get("Observation/lab-1/_history/1").status_code == 404

    merge(furnished)
    assert statuses(doctor) == {200}


@pytest.mark.parametrize("kind", ["replaces", "replaced_by", "seealso"])
def test_a_person_and_the_doctor_go_on_seeing_the_account_that_states_a_link(
    furnished: House, kind: str
) -> None:
    furnished.share()
    readers = [furnished.login("p.pat-1"), furnished.login("doctor.b")]

    merge(furnished, "pat-1", **{kind: "pat-2"})

    assert [one.get("Patient/pat-1").status_code for one in readers] == [200, 200]
    assert furnished.login("p.pat-2").get("Patient/pat-1").status_code == 404


def test_a_restriction_made_after_the_merge_counts_and_ends_for_both(furnished: House) -> None:
    furnished.share()
    doctor, other = furnished.login("doctor.b"), furnished.login("p.pat-2")
    merge(furnished, replaced_by="pat-1")
    assert statuses(doctor) == {200}

    other.store(hidden(domain="laboratory"))
    assert doctor.get("Observation/lab-1").status_code == 404
    assert doctor.get("Condition/con-1").status_code == 200

    other.store(hidden(domain="diagnosis"))
    assert doctor.get("Observation/lab-1").status_code == 200
    assert doctor.get("Condition/con-1").status_code == 404

    must(other.delete("Consent/hide-pat-2"))
    assert doctor.get("Condition/con-1").status_code == 200


def test_a_deleted_account_ends_what_it_alone_stated(furnished: House) -> None:
    furnished.share()
    platform = furnished.system("ehr-commons")
    platform.store(account("pat-3", replaces="pat-1", replaced_by="pat-2"))
    furnished.login("p.pat-2").store(hidden())
    doctor = furnished.login("doctor.b")
    assert statuses(doctor) == {404}

    must(platform.delete("Patient/pat-3"))
    assert statuses(doctor) == {200}


def test_what_two_accounts_state_ends_with_the_second(furnished: House) -> None:
    furnished.share()
    furnished.login("p.pat-2").store(hidden())
    merge(furnished, "pat-1", replaced_by="pat-2")
    merge(furnished, "pat-2", replaces="pat-1")
    doctor = furnished.login("doctor.b")

    merge(furnished, "pat-2")
    assert doctor.get("Observation/lab-1").status_code == 404

    merge(furnished, "pat-1")
    assert doctor.get("Observation/lab-1").status_code == 200


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_a_transaction_brings_account_link_and_restriction_in_any_order(
    furnished: House, order: tuple[int, ...]
) -> None:
    furnished.share()
    parts = [account("pat-3"), account("pat-2", replaces="pat-1"), hidden("pat-3")]
    parts[0]["link"] = [{"type": "replaces", "other": {"reference": "Patient/pat-2"}}]
    entries = [
        {
            "resource": parts[number],
            "request": {
                "method": "PUT",
                "url": f"{parts[number]['resourceType']}/{parts[number]['id']}",
            },
        }
        for number in order
    ]
    body = {"resourceType": "Bundle", "type": "transaction", "entry": entries}

    must(furnished.system("ehr-commons").post("", body))

    assert statuses(furnished.login("doctor.b")) == {404}


def test_a_link_opens_nothing(furnished: House) -> None:
    sharing = consent(
        "sharing-of-2",
        "sharing",
        patient="pat-2",
        provision=hidden()["provision"] | {"type": "permit"},
    )
    furnished.login("p.pat-2").store(sharing)
    doctor = furnished.login("doctor.b")

    merge(furnished, replaces="pat-1")
    merge(furnished, "pat-1", replaced_by="pat-2")

    assert statuses(doctor) == {404}
    assert furnished.login("p.pat-2").get("Observation/lab-1").status_code == 404


def test_a_merged_account_answers_as_one_that_is_restricted_itself(move_in: MoveIn) -> None:
    addresses = (
        *OF_ONE, "Observation?patient=pat-1&_total=accurate", "Patient?_total=accurate",
        "Patient/pat-1/$withheld", "Observation/_history", "Patient/pat-2", "_history",
    )  # fmt: skip
    answers = []

    for world in ("merged", "its own"):
        house = move_in("furnished", world)
        house.share()
        if world == "merged":
            house.login("p.pat-2").store(hidden(domain="laboratory"))
            merge(house, replaces="pat-1")
        else:
            house.login("p.pat-1").store(hidden("pat-1", domain="laboratory"))
        doctor = house.login("doctor.b")
        answers.append([doctor.get(one) for one in addresses])

    merged, own = answers
    assert [one.status_code for one in merged] == [one.status_code for one in own]
    assert {200, 404} == {one.status_code for one in own}
    assert [one.content for one in merged if one.status_code == 200] == [
        one.content for one in own if one.status_code == 200
    ]


def test_a_held_result_stays_held_when_it_moves_to_the_other_account(furnished: House) -> None:
    author = furnished.login("doctor.a")
    until = {"reason": "To be told in person at the next visit", "until": "2026-12-01"}
    must(send(author, "Observation/lab-2/$hold", **until))
    merge(furnished, replaces="pat-1")
    other = furnished.login("p.pat-2")
    assert "held" not in named(other.get("Patient/pat-2/$held"))

    moved = observation("lab-2", "laboratory", patient="pat-2")
    must(furnished.system("hospital-a").put(moved))

    assert other.get("Observation/lab-2").status_code == 404
    (stub,) = named(other.get("Patient/pat-2/$held"))["held"]
    assert stub["organization"] == ["hospital-a"]
    assert "held" not in named(furnished.login("p.pat-1").get("Patient/pat-1/$held"))
