"""SMART Health Links: what each gives, to whom, until when, and what is told of it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from ehr_fhir.ips.conformance import find_summary_faults
from ehr_fhir.ips.sections import SUMMARY_TYPES
from ehr_gateway.accounts import accounts
from tests.lib.gateway import House, must, restriction
from tests.lib.health_links import PASSCODE, create_link, decrypt, open_link, payload_of
from tests.lib.smart import App, at_once
from tests.spec.access.steps import carer, named, send

CONTENTS = ("snapshot", "live")
LABORATORY = "Observation/lab-1"


def summary_of(house: House, link: str) -> dict[str, Any]:
    """Return the summary that a link gives now."""
    (file,) = must(open_link(house, link)).json()["files"]
    return decrypt(file["embedded"], link)


def records_of(house: House, link: str) -> set[str]:
    """Return the records that a link gives now."""
    entries = summary_of(house, link)["entry"]
    return {f"{one['resource']['resourceType']}/{one['resource']['id']}" for one in entries}


def path_of(link: str) -> str:
    """Return the path of a link's address."""
    return urlsplit(str(payload_of(link)["url"])).path


def links_of(house: House, login: str = "p.pat-1") -> list[dict[str, Any]]:
    """Return the links that somebody is shown."""
    listed = named(house.login(login).get("Patient/pat-1/$health-links"))
    return list(listed.get("link", []))


@pytest.mark.parametrize("content", CONTENTS)
def test_a_link_gives_the_summary_to_who_knows_the_passcode(furnished: House, content: str) -> None:
    made = create_link(furnished.login("p.pat-1"), content=content, label="For the clinic")

    payload = payload_of(made["link"])
    manifest = must(open_link(furnished, made["link"])).json()
    document = summary_of(furnished, made["link"])

    assert payload["flag"] == {"snapshot": "P", "live": "LP"}[content]
    assert payload["label"] == "For the clinic"
    assert payload["exp"] == 1_797_955_200  # the end of 22 December in Hong Kong
    assert len(payload["url"]) <= 128
    assert len(path_of(made["link"]).rpartition("/")[2]) == 43
    assert manifest["status"] == {"snapshot": "finalized", "live": "can-change"}[content]
    assert manifest["files"][0]["contentType"] == "application/fhir+json"
    assert find_summary_faults(document) == []
    assert "13.5" in json.dumps(document)


def test_a_live_link_follows_the_record_and_a_snapshot_does_not(furnished: House) -> None:
    patient, doctor = furnished.login("p.pat-1"), furnished.login("doctor.a")
    links = {content: create_link(patient, content=content)["link"] for content in CONTENTS}
    hold = {"reason": "To be told in person", "until": "2026-12-01"}
    must(send(doctor, "Observation/lab-1/$hold", **hold))

    shown = {content: records_of(furnished, link) for content, link in links.items()}

    assert shown["snapshot"] - shown["live"] >= {LABORATORY}


@pytest.mark.parametrize("content", CONTENTS)
def test_it_opens_nothing_once_it_was_ended_or_is_over(furnished: House, content: str) -> None:
    patient = furnished.login("p.pat-1")
    ended, over = (create_link(patient, content=content) for _ in range(2))
    apart = must(open_link(furnished, ended["link"], embeddedLengthMax=0)).json()
    location = urlsplit(apart["files"][0]["location"]).path
    shown = [one for link in links_of(furnished) for one in link.get("opening", ())]
    assert [one["outcome"][0] for one in shown] == ["tried"]
    assert furnished.client.get(location).status_code == 200
    # Once.
    assert furnished.client.get(location).status_code == 404
    again = must(open_link(furnished, ended["link"], embeddedLengthMax=0)).json()
    location = urlsplit(again["files"][0]["location"]).path

    must(send(patient, "Patient/pat-1/$end-health-link", link=ended["id"]))
    gone = [open_link(furnished, ended["link"]), furnished.client.get(location)]
    furnished.clock.forward(seconds=31 * 86_400)
    gone.append(open_link(furnished, over["link"]))
    unknown = furnished.client.post(f"/shl/{'x' * 43}", json={"recipient": "x", "passcode": "y"})

    assert {answer.status_code for answer in (*gone, unknown)} == {404}
    assert {answer.text for answer in gone} == {unknown.text}
    assert {link["state"][0] for link in links_of(furnished)} == {"ended", "expired"}
    with furnished.gateway.store.read_transaction() as connection:
        rows = connection.execute("SELECT file FROM health_link WHERE ended_ms IS NOT NULL")
        assert [row[0] for row in rows] == [None]


def test_wrong_passcodes_are_counted_for_good_and_lock_the_link(furnished: House) -> None:
    link = create_link(furnished.login("p.pat-1"))["link"]
    left = []
    for _ in range(5):
        answer = open_link(furnished, link, "wrong")
        assert answer.status_code == 401
        left.append(answer.json()["remainingAttempts"])
    # A right one forgives none of them.
    must(open_link(furnished, link))
    for _ in range(5):
        left.append(open_link(furnished, link, "wrong").json()["remainingAttempts"])
    locked = open_link(furnished, link)

    assert left == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert locked.status_code == 404
    (shown,) = links_of(furnished)
    assert shown["state"] == ["locked"]
    assert [one["outcome"][0] for one in shown["opening"]].count("wrong-passcode") == 10


def test_it_is_opened_so_often_in_a_minute_and_no_more(furnished: House) -> None:
    link = create_link(furnished.login("p.pat-1"), content="snapshot")["link"]

    answers = [open_link(furnished, link).status_code for _ in range(21)]
    furnished.clock.forward(seconds=61)

    assert answers == [200] * 20 + [429]
    assert open_link(furnished, link).status_code == 200


def test_the_store_has_neither_address_nor_key_nor_passcode_nor_a_file_in_the_clear(
    furnished: House,
) -> None:
    patient = furnished.login("p.pat-1")
    links = [create_link(patient, content=content)["link"] for content in CONTENTS]

    with furnished.gateway.store.read_transaction() as connection:
        rows = connection.execute("SELECT * FROM health_link").fetchall()
    stored = b"\n".join(
        bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
        for row in rows
        for value in tuple(row)
    )

    for link in links:
        payload = payload_of(link)
        for secret in (payload["key"], path_of(link).rpartition("/")[2], PASSCODE, "13.5"):
            assert secret.encode() not in stored


def test_the_patient_is_told_who_opened_it_on_the_list_and_in_the_history(
    furnished: House,
) -> None:
    link = create_link(furnished.login("p.pat-1"))["link"]
    open_link(furnished, link, recipient="Clinic\n\x00 <b>Ü</b>")
    open_link(furnished, link, "wrong")

    (shown,) = links_of(furnished)
    history = named(must(furnished.login("p.pat-1").get("Patient/pat-1/$access-history")))
    by_refused = {
        visit["refused"][0]: visit
        for visit in history["visit"]
        if visit["person"] == ["SMART Health Link"]
    }

    assert [one["outcome"][0] for one in shown["opening"]] == ["wrong-passcode", "opened"]
    assert shown["opening"][1]["recipient"] == ["Clinic <b>Ü</b>"]
    assert by_refused[False]["operation"] == ["open-health-link"]
    assert by_refused[False]["reason"] == ["health-link"]
    assert by_refused[True]["operation"] == ["open-health-link"]


def test_only_the_patient_and_a_carer_with_both_powers_have_links(furnished: House) -> None:
    furnished.share()
    sent = {"content": "live", "passcode": PASSCODE, "until": "2026-12-22"}
    sessions = [furnished.login(login) for login in ("doctor.b", "steward", "p.pat-2")]
    sessions += [carer(furnished, f"carer.{power}", power=power) for power in ("view", "manage")]
    own = create_link(furnished.login("p.pat-1"))

    for session in sessions:
        made = send(session, "Patient/pat-1/$create-health-link", **sent)
        ended = send(session, "Patient/pat-1/$end-health-link", link=own["id"])
        listed = session.get("Patient/pat-1/$health-links")
        absent = send(session, "Patient/pat-0/$create-health-link", **sent)
        assert [made.status_code, ended.status_code, listed.status_code] == [404] * 3
        assert made.json()["issue"] == absent.json()["issue"]
    assert len(links_of(furnished)) == 1


def test_a_carers_link_gives_what_the_carer_sees_while_they_may_act(furnished: House) -> None:
    session = carer(furnished, "carer.1", domain="laboratory")
    links = {content: create_link(session, content=content)["link"] for content in CONTENTS}

    shown = [records_of(furnished, link) for link in links.values()]
    (power,) = named(furnished.login("p.pat-1").get("Patient/pat-1/$carers"))["carer"]
    must(send(furnished.login("p.pat-1"), "$end-carer", carer=power["id"][0]))

    assert all("Patient/pat-1" in records and LABORATORY not in records for records in shown)
    assert [open_link(furnished, link).status_code for link in links.values()] == [404, 404]
    # The patient sees, and may end, what the carer made.
    assert {link["state"][0] for link in links_of(furnished)} == {"open"}


@pytest.mark.parametrize("power", ["view", "manage"])
def test_a_carers_link_needs_both_powers_at_each_opening(furnished: House, power: str) -> None:
    patient = furnished.login("p.pat-1")
    session = carer(furnished, "carer.1", power="view")
    invited = named(send(patient, "Patient/pat-1/$invite-carer", power="manage"))
    must(send(session, "$accept-invitation", code=invited["code"][0]))
    link = create_link(session)["link"]
    apart = must(open_link(furnished, link, embeddedLengthMax=0)).json()
    location = urlsplit(apart["files"][0]["location"]).path

    powers = named(patient.get("Patient/pat-1/$carers"))["carer"]
    (ended,) = [one["id"][0] for one in powers if one["power"] == [power]]
    must(send(patient, "$end-carer", carer=ended))

    # Whatever the passcode: a link that opens nothing counts no tries.
    for passcode in (PASSCODE, "wrong"):
        assert open_link(furnished, link, passcode).status_code == 404
    assert furnished.client.get(location).status_code == 404


def test_a_link_ends_with_the_account_that_made_it(furnished: House) -> None:
    link = create_link(furnished.login("p.pat-1"))["link"]
    with furnished.gateway.store.write_transaction() as connection:
        connection.execute("UPDATE account SET disabled = 1 WHERE login = 'p.pat-1'")

    assert open_link(furnished, link).status_code == 404


def test_an_app_of_others_makes_no_link_that_would_outlive_its_permission(
    furnished: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once(monkeypatch)
    app = App(furnished, scope="openid launch/patient patient/*.rs ehr/access").register()
    session = app.session(app.tokens("p.pat-1"))
    sent = {"content": "live", "passcode": PASSCODE, "until": "2026-12-22"}

    answer = send(session, "Patient/pat-1/$create-health-link", **sent)

    assert answer.status_code == 403
    assert links_of(furnished) == []


def test_a_token_makes_no_link_to_more_than_it_may_read(furnished: House) -> None:
    sent = {"content": "live", "passcode": PASSCODE, "until": "2026-12-22"}
    one_type = furnished.login("p.pat-1", scope="patient/Observation.rs ehr/access")
    without_steps = furnished.login("p.pat-1", scope="patient/*.rs")
    category = "http://terminology.hl7.org/CodeSystem/observation-category|vital-signs"
    types = sorted(SUMMARY_TYPES - {"Observation"})
    scopes = [f"patient/{kind}.rs" for kind in types]
    scopes += [f"patient/Observation.rs?category={category}", "ehr/access"]
    narrow = furnished.login("p.pat-1", scope=" ".join(scopes))

    for session in (one_type, without_steps):
        answer = send(session, "Patient/pat-1/$create-health-link", **sent)
        assert answer.status_code == 403
    shown = records_of(furnished, create_link(narrow)["link"])

    assert "Observation/vital-1" in shown
    assert LABORATORY not in shown


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"until": "2026-11-20"}, 422),
        ({"until": "2028-01-01"}, 422),
        ({"passcode": "12345"}, 400),
        ({"content": "all"}, 422),
        ({"label": "x" * 81}, 422),
        ({"label": "😷" * 41}, 422),
    ],
)
def test_what_is_no_link_is_refused_by_name(
    furnished: House, changes: dict[str, str], status: int
) -> None:
    sent = {"content": "live", "passcode": PASSCODE, "until": "2026-12-22", **changes}

    answer = send(furnished.login("p.pat-1"), "Patient/pat-1/$create-health-link", **sent)

    assert answer.status_code == status, answer.text
    assert "x" * 81 not in answer.text
    assert "12345" not in answer.text


def test_a_strangers_request_is_read_strictly_and_viewers_elsewhere_may_send_it(
    furnished: House,
) -> None:
    link = create_link(furnished.login("p.pat-1"), label="\u202e A \u2028label")["link"]
    path = path_of(link)
    origin = {"Origin": "https://viewer.example"}
    bad: list[Any] = [
        [], {}, {"recipient": ""}, {"recipient": 5}, {"recipient": "x", "passcode": 5},
        {"recipient": "x", "passcode": PASSCODE, "embeddedLengthMax": "many"},
    ]  # fmt: skip

    assert payload_of(link)["label"] == "A label"
    assert [furnished.client.post(path, json=body).status_code for body in bad] == [400] * 6
    assert furnished.client.post(path, content=b"{").status_code == 415
    large = furnished.client.post(path, json={"recipient": "x" * 70_000})
    assert large.status_code == 413
    opened = furnished.client.post(
        path, json={"recipient": "x", "passcode": PASSCODE}, headers=origin
    )
    assert opened.headers["access-control-allow-origin"] == "*"
    assert opened.headers["cache-control"] == "no-store"
    assert furnished.client.options(path, headers=origin).status_code == 204
    assert furnished.client.get(path).status_code in (404, 405)
    for forged in (
        f"o.1795334500000.{'A' * 43}",
        "o.1795334500000.é",
        "o.٣.x",
        "o",
        "..",
        "x" * 300,
    ):
        assert furnished.client.get(f"{path}/{forged}").status_code == 404


def test_what_the_patient_closes_to_others_is_still_theirs_to_give(furnished: House) -> None:
    patient = furnished.login("p.pat-1")
    patient.store(restriction("all", against="Organization/hospital-b", record="Observation/lab-1"))
    link = create_link(patient)["link"]

    assert LABORATORY in records_of(furnished, link)


def test_accounts_are_asked_by_the_log_in_that_made_the_link(furnished: House) -> None:
    link = create_link(furnished.login("p.pat-1"))["link"]
    before = accounts.find_account(furnished.gateway.store.database, "p.pat-1")
    moved = accounts.Account("p.pat-1", "patient", before.display, patient="pat-2")
    accounts.add_account(furnished.gateway.store.database, moved, "another secret")

    assert open_link(furnished, link).status_code == 404
