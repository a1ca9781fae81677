"""`$merge`, `$decide-merge`, `$merges`, `$unmerge`: two Patients of one person, by two stewards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account
from tests.lib.gateway import House, must, observation, patient, restriction
from tests.spec.access.steps import named, told

HKID = "https://ehr-commons.hk/hkid"
REASON = "Both papers were seen at the counter"
HKIDS = {"pat-1": "ZA1234560", "pat-2": "ZB1234563", "pat-3": "ZC1234566"}
Json = dict[str, Any]


@pytest.fixture
def staffed(furnished: House) -> House:
    """Return a house with two stewards, whose two Patients have one number."""
    steward = Account("steward.2", "steward", "Stella", "ehr-commons")
    accounts.add_account(furnished.gateway.store, steward)
    must(furnished.system("ehr-commons").put({**patient("pat-2", HKIDS["pat-1"])}))
    return furnished


def merge_body(source: str = "pat-1", target: str = "pat-2", **more: Any) -> Json:
    """Return the parameters of `$merge`; those of `more` as resource, boolean or text."""
    sent: list[Json] = [
        {"name": f"{name}-patient", "valueReference": {"reference": f"Patient/{one}"}}
        for name, one in (("source", source), ("target", target))
        if one
    ]
    for name, value in more.items():
        key = {bool: "valueBoolean", str: "valueString"}.get(type(value), "resource")
        sent.append({"name": name.replace("_", "-"), key: value})
    return {"resourceType": "Parameters", "parameter": sent}


def propose(house: House, source: str = "pat-1", target: str = "pat-2", **more: Any) -> Any:
    """Let the first steward propose a merge."""
    sent = merge_body(source, target, reason=REASON, **more)
    return house.login("steward").post("Patient/$merge", sent)


def decide(house: House, merge: str, decision: str = "approve", login: str = "steward.2") -> Any:
    """Let a steward decide."""
    sent = [("merge", merge), ("decision", decision), ("reason", REASON)]
    return house.login(login).post(
        "$decide-merge",
        {"resourceType": "Parameters",
         "parameter": [{"name": name, "valueString": value} for name, value in sent]},
    )  # fmt: skip


def task_of(answer: Any) -> str:
    """Return the id of the proposal that an answer has as a Task."""
    assert answer.status_code == 202, answer.text
    (task,) = [one["resource"] for one in answer.json()["parameter"] if one["name"] == "task"]
    assert task["status"] == "requested"
    return str(task["id"])


def merge(house: House, source: str = "pat-1", target: str = "pat-2", **more: Any) -> str:
    """Merge two Patients; return the merge's id."""
    identity = task_of(propose(house, source, target, **more))
    assert named(decide(house, identity))["outcome"] == ["merged"]
    return identity


def unmerge(house: House, identity: str) -> Any:
    """Let one steward propose, and another decide, that a merge is taken back."""
    sent = {"resourceType": "Parameters", "parameter": [
        {"name": "merge", "valueString": identity}, {"name": "reason", "valueString": REASON},
    ]}  # fmt: skip
    return decide(house, task_of(house.login("steward").post("Patient/$unmerge", sent)))


def stored(house: House, name: str) -> Json:
    """Return a Patient as it is stored."""
    return dict(must(house.login(f"p.{name}").get(f"Patient/{name}")).json())


def issues(answer: Any) -> list[tuple[str, str]]:
    """Return severity and text of what an outcome says."""
    body = answer.json()
    if body["resourceType"] == "Parameters":
        (body,) = [one["resource"] for one in body["parameter"] if one["name"] == "outcome"]
    return [(one["severity"], one["diagnostics"]) for one in body["issue"]]


def count_rows(house: House) -> list[int]:
    with house.gateway.store.read_transaction() as connection:
        return [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("resource", "access_request", "notice", "consent_link")
        ]


def test_a_merge_links_two_patients_and_moves_nothing(staffed: House) -> None:
    before = stored(staffed, "pat-1")["meta"]["versionId"]

    merge(staffed)

    source, target = stored(staffed, "pat-1"), stored(staffed, "pat-2")
    assert source["active"] is False
    assert source["link"] == [{"other": {"reference": "Patient/pat-2"}, "type": "replaced-by"}]
    assert target["link"] == [{"other": {"reference": "Patient/pat-1"}, "type": "replaces"}]
    assert "active" not in target
    assert int(source["meta"]["versionId"]) == int(before) + 1
    mine = staffed.login("p.pat-1")
    assert mine.get("Observation/lab-1").json()["subject"] == {"reference": "Patient/pat-1"}
    assert [kind for kind, _ in told(staffed)] == ["accounts-merged"]
    assert [kind for kind, _ in told(staffed, staffed.login("p.pat-2"))] == ["accounts-merged"]


def test_each_patient_finds_provenance_that_names_no_other_account(staffed: House) -> None:
    merge(staffed)

    for name in ("pat-1", "pat-2"):
        found = must(staffed.login(f"p.{name}").get("Provenance")).json()["entry"]
        (provenance,) = [one["resource"] for one in found]
        assert provenance["target"] == [{"reference": f"Patient/{name}"}]
        assert provenance["activity"]["coding"][0]["code"] == "merge"
        assert [one["who"]["display"] for one in provenance["agent"]] == ["St", "Stella"]


def test_a_preview_says_what_would_change_and_writes_nothing(staffed: House) -> None:
    staffed.login("p.pat-1").store(restriction("hide-1", against="Organization/hospital-b"))
    rows = count_rows(staffed)

    answer = staffed.login("steward").post("Patient/$merge", merge_body(preview=True))

    assert answer.status_code == 200
    assert count_rows(staffed) == rows
    said = [text for _, text in issues(answer)]
    # A steward sees Consents, and no chart.
    assert {"source: 2 Consent", "target: 1 Consent"} == {
        text for text in said if text.startswith(("source:", "target:"))
    }
    result = named(answer)["result"][0]
    assert (result["born"], result["active"]) == (["1980-02-03"], [True])
    assert "lab-1" not in answer.text
    assert "identifier" not in answer.text


def test_who_proposed_a_merge_does_not_decide_it(staffed: House) -> None:
    same = Account("steward.again", "steward", "St", "ehr-commons", person="steward")
    accounts.add_account(staffed.gateway.store, same)
    identity = task_of(propose(staffed))

    for login in ("steward", "steward.again"):
        assert decide(staffed, identity, login=login).status_code == 403
    assert "link" not in stored(staffed, "pat-1")
    assert named(decide(staffed, identity, "refuse"))["outcome"] == ["refused"]
    assert "link" not in stored(staffed, "pat-1")
    assert decide(staffed, identity).status_code == 404


@pytest.mark.parametrize(
    "login", ["doctor.a", "p.pat-1", "auditor", "admin", "researcher", "system"]
)
def test_merges_are_for_stewards_whether_there_is_such_a_patient_or_not(
    staffed: House, login: str
) -> None:
    caller = staffed.system("hospital-a") if login == "system" else staffed.login(login)

    answers = [
        caller.post("Patient/$merge", merge_body(source, "pat-2", preview=True))
        for source in ("pat-1", "nobody")
    ]

    assert [one.status_code for one in answers] == [403, 403]
    assert answers[0].json()["issue"] == answers[1].json()["issue"]
    assert caller.get("$merges").status_code == 403
    sent = {"resourceType": "Parameters", "parameter": [
        {"name": "merge", "valueString": "x"}, {"name": "reason", "valueString": REASON},
    ]}  # fmt: skip
    assert caller.post("Patient/$unmerge", sent).status_code == 403


def test_one_steward_alone_links_nobody(staffed: House) -> None:
    link = [{"type": "replaced-by", "other": {"reference": "Patient/pat-2"}}]
    answer = staffed.login("steward").put({**patient("pat-1", HKIDS["pat-1"]), "link": link})

    assert answer.status_code == 403
    assert "$merge" in answer.text


def test_the_stricter_rule_of_either_holds_from_the_next_request_until_it_is_undone(
    staffed: House,
) -> None:
    staffed.share()
    hide = restriction("hide-2", against="Organization/hospital-b", domain="laboratory")
    staffed.login("p.pat-2").store({**hide, "patient": {"reference": "Patient/pat-2"}})
    doctor = staffed.login("doctor.b")
    assert doctor.get("Observation/lab-1").status_code == 200

    identity = merge(staffed)
    assert doctor.get("Observation/lab-1").status_code == 404
    assert doctor.get("Observation/vital-1").status_code == 200

    assert named(unmerge(staffed, identity))["outcome"] == ["unmerged"]
    assert doctor.get("Observation/lab-1").status_code == 200


def test_undone_both_are_as_before_but_for_what_was_written_since(staffed: House) -> None:
    before = {name: stored(staffed, name) for name in ("pat-1", "pat-2")}
    result = {
        **before["pat-2"],
        "link": [{"type": "replaces", "other": {"reference": "Patient/pat-1"}}],
        "birthDate": "1980-02-04",
        "language": "zh",
    }
    identity = task_of(propose(staffed, result_patient=result))
    (waiting,) = named(staffed.login("steward.2").get("$merges"))["merge"]
    assert waiting["change"] == [
        {"element": ["birthDate"], "now": ["1980-02-03"], "proposed": ["1980-02-04"]},
        {"element": ["language"]},
    ]  # fmt: skip
    must(decide(staffed, identity))
    platform = staffed.system("ehr-commons")
    since = {**stored(staffed, "pat-2"), "language": "en", "telecom": [{"value": "2345 6789"}]}
    must(platform.put(since))
    must(platform.put(observation("lab-9", "laboratory", patient="pat-2")))

    must(unmerge(staffed, identity))

    source, target = stored(staffed, "pat-1"), stored(staffed, "pat-2")
    for one in (before["pat-1"], before["pat-2"], source, target):
        del one["meta"]
    assert source == before["pat-1"]
    # The language that the merge changed was changed once more.
    assert target == before["pat-2"] | {"language": "en", "telecom": [{"value": "2345 6789"}]}
    lab = staffed.login("p.pat-2").get("Observation/lab-9").json()
    assert lab["subject"] == {"reference": "Patient/pat-2"}
    listed = named(staffed.login("steward").get("$merges"))["merge"]
    assert [(one["kind"], one["state"]) for one in listed] == [
        (["unmerge"], ["active"]), (["merge"], ["ended"]),
    ]  # fmt: skip
    assert listed[0]["kept"] == ["language"]
    again = {"resourceType": "Parameters", "parameter": [
        {"name": "merge", "valueString": identity}, {"name": "reason", "valueString": REASON},
    ]}  # fmt: skip
    assert staffed.login("steward").post("Patient/$unmerge", again).status_code == 404
    merge(staffed)


def test_a_proposal_is_outdated_when_one_of_the_two_has_changed(staffed: House) -> None:
    identity = task_of(propose(staffed))
    telecom = [{"system": "phone", "value": "2345 6789"}]
    must(staffed.system("ehr-commons").put({**stored(staffed, "pat-2"), "telecom": telecom}))

    waiting = named(staffed.login("steward").get("$merges"))["merge"]
    assert waiting[0]["current"] == [False]
    assert decide(staffed, identity).status_code == 409
    assert "link" not in stored(staffed, "pat-1")
    assert decide(staffed, identity).status_code == 404


def test_what_cannot_be_merged_says_why(staffed: House) -> None:
    platform = staffed.system("ehr-commons")
    platform.store(patient("pat-3", HKIDS["pat-3"]))
    platform.store({**patient("pat-4", HKIDS["pat-3"]), "deceasedBoolean": True})
    platform.store(patient("pat-5", HKIDS["pat-3"]))
    must(platform.delete("Patient/pat-5"))

    cases = [
        ("pat-1", "pat-1", 422, "itself"),
        ("nobody", "pat-1", 404, "no Patient"),
        ("pat-1", "nobody", 404, "no Patient"),
        ("pat-5", "pat-1", 404, "no Patient"),
        ("pat-1", "pat-4", 409, "died"),
        ("", "pat-1", 400, "source-patient"),
        ("pat-1", "pat-2/extra", 422, "Patient of this server"),
    ]
    for source, target, status, text in cases:
        answer = propose(staffed, source, target)
        assert (answer.status_code, text in issues(answer)[0][1]) == (status, True), answer.text

    waiting = task_of(propose(staffed, "pat-1", "pat-2"))
    assert propose(staffed, "pat-2", "pat-3").status_code == 409
    must(decide(staffed, waiting))
    # A chain goes on from the one that stays; nobody is merged twice, nor in a circle.
    for source, target in (("pat-1", "pat-3"), ("pat-3", "pat-1"), ("pat-2", "pat-1")):
        assert propose(staffed, source, target).status_code == 409
    merge(staffed, "pat-2", "pat-3")
    assert propose(staffed, "pat-3", "pat-1").status_code == 409


def test_the_dead_and_the_living_are_merged_by_a_result_that_says_what_is_so(
    staffed: House,
) -> None:
    staffed.system("ehr-commons").store(
        {**patient("pat-3", HKIDS["pat-1"]), "deceasedBoolean": True}
    )
    link = [{"type": "replaces", "other": {"reference": "Patient/pat-3"}}]
    result = {**patient("pat-1", HKIDS["pat-1"]), "link": link, "deceasedBoolean": True}

    merge(staffed, "pat-3", "pat-1", result_patient=result)

    assert stored(staffed, "pat-1")["deceasedBoolean"] is True


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "pat-3"},
        {"link": []},
        {"link": [{"type": "replaces", "other": {"reference": "Patient/pat-3"}}]},
        {
            "link": [
                {"type": "replaces", "other": {"reference": f"Patient/pat-{number}"}}
                for number in (1, 3)
            ]
        },
        {"birthDate": "yesterday"},
    ],
    ids=["id", "no link", "another link", "a link more", "malformed"],
)
def test_a_result_is_checked(staffed: House, wrong: Json) -> None:
    link = [{"type": "replaces", "other": {"reference": "Patient/pat-1"}}]
    result = {**patient("pat-2", HKIDS["pat-1"]), "link": link} | wrong
    answer = propose(staffed, result_patient={key: one for key, one in result.items() if one})

    assert answer.status_code == 422
    assert "yesterday" not in answer.text


def test_a_patient_is_named_by_identifiers_that_only_one_has(staffed: House) -> None:
    number = {"system": "urn:a", "value": "7"}
    staffed.system("ehr-commons").store(
        {**patient("pat-3", HKIDS["pat-3"]), "identifier": [number]}
    )

    def preview(*identifiers: Json, target: str = "pat-1", source: str = "") -> int:
        sent = merge_body(source, target, preview=True)
        sent["parameter"] += [
            {"name": "source-patient-identifier", "valueIdentifier": one} for one in identifiers
        ]
        return int(staffed.login("steward").post("Patient/$merge", sent).status_code)

    shared = {"system": HKID, "value": HKIDS["pat-1"]}
    assert preview(number) == 200
    assert preview(number, source="pat-3") == 200
    assert preview(number, source="pat-2") == 422
    assert preview(shared) == 422  # two have it
    assert preview(number, shared) == 422  # nobody has both
    assert preview({"value": "7"}) == 422
    assert preview({"system": "urn:b", "value": "7"}) == 422


def test_of_two_stewards_who_decide_at_once_one_does(staffed: House) -> None:
    third = Account("steward.3", "steward", "Sten", "ehr-commons")
    accounts.add_account(staffed.gateway.store, third)
    identity = task_of(propose(staffed))

    with ThreadPoolExecutor(2) as pool:
        answers = pool.map(
            lambda login: decide(staffed, identity, login=login), ("steward.2", "steward.3")
        )

    assert sorted(one.status_code for one in answers) == [200, 404]
    assert stored(staffed, "pat-1")["link"] == [
        {"other": {"reference": "Patient/pat-2"}, "type": "replaced-by"}
    ]


def test_at_the_counter_the_number_of_merged_accounts_is_one_persons(staffed: House) -> None:
    def at_the_counter() -> Any:
        sent = {"resourceType": "Parameters",
                "parameter": [{"name": "hkid", "valueString": "ZA123456(0)"}]}  # fmt: skip
        return staffed.login("steward").post("Patient/$counter-patient", sent)

    assert at_the_counter().status_code == 404
    merge(staffed)
    assert named(at_the_counter())["patient"] == [{"reference": "Patient/pat-2"}]


def test_who_writes_a_merged_patient_again_does_not_take_the_merge_apart(staffed: House) -> None:
    staffed.share("hospital-a")
    merge(staffed)
    hospital, telecom = staffed.system("hospital-a"), [{"system": "phone", "value": "2345 6789"}]

    refused = hospital.put({**patient("pat-1", HKIDS["pat-1"]), "telecom": telecom})
    taken = hospital.put({**stored(staffed, "pat-1"), "telecom": telecom})

    assert refused.status_code == 403
    assert taken.status_code == 200
    assert stored(staffed, "pat-1")["link"][0]["type"] == "replaced-by"
