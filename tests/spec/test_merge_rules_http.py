"""A merge shows nobody more than before, and taken back it leaves what everybody sees as it was."""

from __future__ import annotations

import random
from typing import Any

import pytest

from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account
from tests.lib.gateway import (
    House,
    MoveIn,
    condition,
    consent,
    encounter,
    must,
    observation,
    patient,
    restriction,
)
from tests.spec.test_duplicates_http import compare
from tests.spec.test_merge_http import merge, staffed, unmerge

__all__ = ["staffed"]

READERS = ("doctor.a", "doctor.b", "pharmacist.b", "p.pat-1", "p.pat-2")
TYPES = ("Patient", "Observation", "Condition", "Encounter", "Consent")
AGAINST = ("Organization/hospital-a", "Organization/hospital-b")


def fill(house: House, chance: random.Random) -> None:
    """Give both patients records of both hospitals, and choices drawn at random."""
    house.clock.forward(seconds=60)
    for name in ("pat-1", "pat-2"):
        for number, organization in enumerate(("hospital-a", "hospital-b")):
            author, key = house.system(organization), f"{name}-{number}"
            author.store(encounter(f"enc-{key}", name))
            author.store(condition(f"con-{key}", f"enc-{key}", name))
            for category in ("laboratory", "vital-signs", "imaging"):
                author.store(observation(f"{category}-{key}", category, name))
        person = house.login(f"p.{name}")
        for organization in AGAINST:
            if chance.random() < 0.7:
                actor = restriction("x", against=organization)["provision"]["actor"]
                provision = {"type": "permit", "actor": actor}
                sharing = f"share-{name}-{organization[-1]}"
                person.store(consent(sharing, "sharing", patient=name, provision=provision))
        for number in range(chance.randrange(3)):
            chosen: dict[str, Any] = chance.choice(
                [{"domain": "laboratory"}, {"domain": "diagnosis"}, {},
                 {"record": f"Observation/vital-signs-{name}-0"}]
            )  # fmt: skip
            rule = restriction(f"hide-{name}-{number}", against=chance.choice(AGAINST), **chosen)
            person.store({**rule, "patient": {"reference": f"Patient/{name}"}})


def visible(house: House) -> dict[str, set[str]]:
    """Return what each reader finds, and what `$match` tells them of both."""
    found = {}
    for login in READERS:
        reader = house.login(login)
        found[login] = {
            one for kind in TYPES for one in reader.ids(f"{kind}?_count=200")
        } | matched(house, login)
    return found


def matched(house: House, login: str) -> set[str]:
    """Return whom `$match` finds for a clinician."""
    if not login.startswith("doctor"):
        return set()
    body = {"resourceType": "Parameters",
            "parameter": [{"name": "resource", "resource": patient("x", "ZA1234560")}]}  # fmt: skip
    answer = must(house.login(login).post("Patient/$match", body)).json()
    return {f"match {entry['resource']['id']}" for entry in answer.get("entry", ())}


@pytest.mark.parametrize("seed", range(4))
def test_a_merge_shows_nobody_more_and_its_undoing_shows_all_of_it_again(
    staffed: House, seed: int
) -> None:
    fill(staffed, random.Random(seed))
    before = visible(staffed)
    assert any(before.values())

    identity = merge(staffed)
    during = visible(staffed)
    for login in READERS:
        more = {one for one in during[login] - before[login] if not one.startswith("Provenance")}
        assert more == set(), (seed, login)

    must(unmerge(staffed, identity))
    assert visible(staffed) == before


def test_who_is_hidden_changes_no_answer_of_match_or_of_a_merge(move_in: MoveIn) -> None:
    """One world has a third record of the person, which hospital-b may not see, on the list."""
    answers = []
    for world in ("alone", "beside one who is hidden"):
        house = move_in("furnished", world)
        accounts.add_account(
            house.gateway.store, Account("steward.2", "steward", "Stella", "ehr-commons")
        )
        house.share()
        if world != "alone":
            house.system("hospital-a").store(patient("pat-3", "ZA1234560"))
            compare(house)
        doctor = house.login("doctor.b")
        description = {"name": "resource", "resource": patient("x", "ZA1234560")}
        body = {"resourceType": "Parameters", "parameter": [description]}
        asked = [doctor.post("Patient/$match", body)]
        for source in ("pat-3", "nobody"):
            sent = {"resourceType": "Parameters", "parameter": [
                {"name": f"{name}-patient", "valueReference": {"reference": f"Patient/{one}"}}
                for name, one in (("source", source), ("target", "pat-1"))
            ]}  # fmt: skip
            asked.append(doctor.post("Patient/$merge", sent))
        asked += [doctor.get("$duplicates"), doctor.get("$merges")]
        answers.append([(one.status_code, one.content) for one in asked])

    assert answers[0] == answers[1]
    assert [status for status, _ in answers[0]] == [200, 403, 403, 403, 403]
    assert answers[0][1] == answers[0][2]
    assert b"pat-1" in answers[0][0][1]
