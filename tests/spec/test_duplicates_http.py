"""`$duplicates`, `$decide-duplicate`: pairs of Patients for the steward."""

from __future__ import annotations

from typing import Any

import pytest

from ehr_fhir.errors import Invalid
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.patient_matching import duplicates
from ehr_gateway.patient_matching.duplicates import find_new_duplicates
from ehr_gateway.patient_matching.identity import Identity
from tests.lib.gateway import House, must, patient
from tests.spec.access.steps import named, send
from tests.spec.test_merge_http import decide, merge, propose, staffed, task_of
from tests.spec.test_merge_http import unmerge as take_apart

__all__ = ["staffed"]

TWIN = "ZA1234560"
REASON = "They are twins, both came to the counter"


def compare(house: House) -> int:
    """Compare what is new or has changed; return how many Patients that was."""
    return find_new_duplicates(house.gateway.store, house.clock)


def pairs(house: House, **query: str) -> list[dict[str, Any]]:
    """Return the pairs that a steward is listed."""
    address = "$duplicates?" + "&".join(f"{name}={value}" for name, value in query.items())
    return named(house.login("steward").get(address.rstrip("?"))).get("pair", [])


def ids(house: House, **query: str) -> list[tuple[str, str]]:
    """Return the ids of the pairs that a steward is listed."""
    return [
        (one["first"][0]["patient"][0]["reference"], one["second"][0]["patient"][0]["reference"])
        for one in pairs(house, **query)
    ]


def settle(house: House, decision: str, **more: str) -> Any:
    """Let the steward decide about the pair."""
    return send(
        house.login("steward"), "$decide-duplicate",
        first="pat-2", second="pat-1", decision=decision, **more,
    )  # fmt: skip


PAIR = [("Patient/pat-1", "Patient/pat-2")]


def test_a_pair_is_listed_with_both_and_why(staffed: House) -> None:
    number = [{"system": JURISDICTION.person_identifier.system, "value": TWIN}]
    for name in ("pat-1", "pat-2"):
        must(staffed.system("ehr-commons").put({**patient(name, TWIN), "identifier": number}))
    compare(staffed)

    (pair,) = pairs(staffed)

    assert pair["grade"] == ["certain"]
    assert pair["proposed"] == [False]
    assert pair["first"][0]["born"] == ["1980-02-03"]
    assert {one["element"][0]: one["level"][0] for one in pair["field"]} == {
        "number": "same", "letters": "same", "birth-date": "same", "gender": "same",
    }  # fmt: skip
    assert all(one["weight"][0] > 0 for one in pair["field"])
    shown = must(staffed.login("steward").get("$duplicates")).text
    assert TWIN not in shown


@pytest.mark.parametrize(
    "elements",
    [
        {"birthDate": "9999-12-31"},
        {"birthDate": "0001-01-01"},
        {"name": [{"text": ",, ,,"}]},
        {"name": [{"family": "Chan\\\\", "given": ["Tai|", "$,"]}]},
    ],
    ids=str,
)
def test_a_patient_with_a_date_or_name_that_stands_for_none_holds_up_nobody(
    staffed: House, elements: dict[str, Any]
) -> None:
    number = [{"system": JURISDICTION.person_identifier.system, "value": TWIN}]
    person = {**patient("pat-2", TWIN), "identifier": number, **elements}
    must(staffed.system("ehr-commons").put(person))

    assert compare(staffed) == 2
    body = {"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": person}]}
    answer = staffed.system("ehr-commons").post("Patient/$match", body)
    assert "pat-2" in [one["resource"]["id"] for one in must(answer).json()["entry"]]


def test_one_patient_that_cannot_be_asked_for_holds_up_nobody(
    staffed: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(identity: Identity) -> Any:
        raise Invalid("A secret name")

    monkeypatch.setattr(duplicates, "build_searches", refuse)

    assert compare(staffed) == 2
    assert compare(staffed) == 0
    assert "was not compared" in caplog.text
    assert "secret" not in caplog.text


def test_only_what_is_new_or_has_changed_is_compared(staffed: House) -> None:
    assert compare(staffed) == 2
    assert compare(staffed) == 0
    must(staffed.system("ehr-commons").put({**patient("pat-2", "ZB1234563"), "birthDate": "1951"}))

    assert compare(staffed) == 1
    assert pairs(staffed) == []
    must(staffed.system("ehr-commons").put(patient("pat-3", TWIN)))
    assert compare(staffed) == 1
    assert ids(staffed) == [("Patient/pat-1", "Patient/pat-3")]


def test_what_was_decided_stands_until_the_two_agree_otherwise(staffed: House) -> None:
    compare(staffed)
    assert settle(staffed, "different").status_code == 400
    must(settle(staffed, "different", reason=REASON))

    assert pairs(staffed) == []
    (kept,) = pairs(staffed, state="different")
    assert (kept["display"], kept["reason"]) == (["St"], [REASON])
    platform = staffed.system("ehr-commons")
    must(platform.put({**patient("pat-2", TWIN), "language": "en"}))
    compare(staffed)
    assert pairs(staffed) == []

    must(platform.put({**patient("pat-2", TWIN), "gender": "unknown"}))
    compare(staffed)
    assert ids(staffed) == PAIR

    must(settle(staffed, "later"))
    assert ids(staffed, state="later") == PAIR
    must(settle(staffed, "open"))
    assert ids(staffed) == PAIR
    assert "display" not in pairs(staffed)[0]


def test_merged_patients_leave_the_list_and_come_back_when_taken_apart(staffed: House) -> None:
    compare(staffed)
    waiting = task_of(propose(staffed))
    assert pairs(staffed)[0]["proposed"] == [True]
    must(decide(staffed, waiting, "refuse"))
    assert pairs(staffed)[0]["proposed"] == [False]

    identity = merge(staffed)
    assert pairs(staffed) == []
    compare(staffed)
    assert pairs(staffed) == []

    must(take_apart(staffed, identity))
    compare(staffed)
    assert ids(staffed) == PAIR


def test_a_third_record_is_a_pair_with_the_one_that_stays_alone(staffed: House) -> None:
    merge(staffed)
    must(staffed.system("ehr-commons").put(patient("pat-3", TWIN)))
    compare(staffed)

    assert ids(staffed) == [("Patient/pat-2", "Patient/pat-3")]


def test_a_patient_who_was_deleted_is_in_no_pair(staffed: House) -> None:
    compare(staffed)
    must(staffed.system("ehr-commons").delete("Patient/pat-2"))

    assert pairs(staffed) == []
    compare(staffed)
    assert settle(staffed, "later").status_code == 404


def erase(house: House, name: str = "pat-1") -> None:
    """Let two stewards erase a patient."""
    asked = send(house.login("steward"), f"Patient/{name}/$purge", reason="On written request")
    erasure = named(asked)["erasure"][0]
    must(
        send(
            house.login("steward.2"), "$decide-erasure",
            erasure=erasure, decision="approve", reason="Papers seen and filed",
        )
    )  # fmt: skip


def rows_of(house: House, name: str = "pat-1") -> int:
    """Count the rows of pairs and merges that name a patient."""
    like = {"name": f"%{name}%"}
    with house.gateway.store.read_transaction() as connection:
        return sum(
            connection.execute(statement, like).fetchone()[0]
            for statement in (
                "SELECT count(*) FROM duplicate_candidate WHERE first LIKE :name"
                " OR second LIKE :name",
                "SELECT count(*) FROM access_request WHERE patient LIKE :name"
                " OR details LIKE :name",
            )
        )


@pytest.mark.parametrize("target", ["pat-1", "pat-2"])
def test_an_erased_patient_is_in_no_pair_and_no_merge(staffed: House, target: str) -> None:
    compare(staffed)
    source = "pat-2" if target == "pat-1" else "pat-1"
    must(take_apart(staffed, merge(staffed, source, target)))
    compare(staffed)
    task_of(propose(staffed, source, target))
    assert rows_of(staffed) > 3

    erase(staffed)

    assert rows_of(staffed) == 0
    assert pairs(staffed) == []
    assert compare(staffed) == 0
    # As one who was never there.
    answers = [propose(staffed, "pat-2", name) for name in ("pat-1", "nobody")]
    assert [one.status_code for one in answers] == [404, 404]
    assert answers[0].json()["issue"] == answers[1].json()["issue"]


def test_a_patient_who_is_erased_while_being_compared_is_in_no_pair(
    staffed: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, found = duplicates.find_similar_patients, list[Any]()

    def find_then_erase(*given: Any) -> Any:
        found.append(list(find(*given)))
        if len(found) == 2:
            erase(staffed)
        return iter(found[-1])

    monkeypatch.setattr(duplicates, "find_similar_patients", find_then_erase)
    compare(staffed)

    assert any(one.version.id == "pat-1" for one in found[1])
    assert rows_of(staffed) == 0


@pytest.mark.parametrize("login", ["doctor.a", "p.pat-1", "auditor", "admin", "researcher"])
def test_the_list_is_the_stewards(staffed: House, login: str) -> None:
    compare(staffed)
    caller = staffed.login(login)

    assert caller.get("$duplicates").status_code == 403
    for second in ("pat-2", "nobody"):
        refused = send(
            caller, "$decide-duplicate",
            first="pat-1", second=second, decision="different", reason=REASON,
        )  # fmt: skip
        assert refused.status_code == 403


def test_what_the_list_shows_each_patient_finds_among_the_accesses(staffed: House) -> None:
    compare(staffed)
    pairs(staffed)
    staffed.gateway.audit_batcher.flush()

    for name in ("pat-1", "pat-2"):
        history = must(staffed.login(f"p.{name}").get(f"Patient/{name}/$access-history")).text
        assert "duplicates" in history


@pytest.mark.parametrize("query", ["state=merged", "count=0", "count=101", "colour=red"])
def test_a_wrong_query_of_the_list_is_refused(staffed: House, query: str) -> None:
    assert staffed.login("steward").get(f"$duplicates?{query}").status_code in (400, 422)
