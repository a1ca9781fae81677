"""Subscriptions: made by their owner, told by rest-hook, each event judged as it is sent."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ehr_gateway.accounts.accounts import subject_of_account
from ehr_gateway.oauth import clients
from ehr_gateway.oauth.authorization_codes import Grant
from ehr_gateway.oauth.grant_context import GrantContext
from ehr_gateway.oauth.refresh_tokens import start_family
from ehr_gateway.oauth.registration import delete_client
from ehr_gateway.oauth.revoke_endpoint import revoke_family
from ehr_gateway.operations import _subscriptions
from ehr_gateway.subscriptions import events
from ehr_gateway.subscriptions.delivery import SubscriptionWorker
from ehr_gateway.subscriptions.feed import FeedMatcher
from ehr_gateway.subscriptions.rows import erase_subscriptions, find_subscription, switch_all_off
from ehr_gateway.tokens.access_tokens import issue_access_token
from ehr_gateway.tokens.suspensions import Suspension, insert_suspension
from tests.lib.gateway import PATIENT_ONE, House, MoveIn, Session, must, observation, restriction
from tests.lib.subscriptions import (
    Endpoint,
    events_of,
    is_signed,
    open_endpoint,
    register_system,
    status_of,
    subscribe,
    subscription,
    work,
)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """An endpoint on this machine."""
    with open_endpoint() as opened:
        yield opened


def test_a_new_result_is_told_after_a_handshake_once_and_signed(
    furnished: House, endpoint: Endpoint
) -> None:
    hospital = register_system(furnished, "hospital-a")
    made = must(
        hospital.post(
            "Subscription",
            subscription("new-result", endpoint.address, headers=["Authorization: Bearer x"]),
        )
    )
    body = made.json()
    assert body["status"] == "requested"
    secret = body["channel"]["extension"][-1]["valueString"]

    work(furnished)
    hospital.store(observation("new-1", "laboratory"))
    work(furnished)
    work(furnished)

    assert endpoint.types == ["handshake", "event-notification"]
    assert endpoint.events == [(1, "Observation/new-1")]
    assert status_of(endpoint.bundles[1])["events-since-subscription-start"] == "1"
    for headers, content in endpoint.received:
        assert is_signed(headers, content, secret)
        assert headers["authorization"] == "Bearer x"
    read = must(hospital.get(f"Subscription/{body['id']}")).json()
    assert read["status"] == "active"
    assert read["channel"]["header"] == ["Authorization: Bearer x"]
    assert "whsec" not in str(read)
    assert events_of(endpoint.bundles[0]) == []


def test_an_event_that_its_owner_may_not_see_leaves_no_gap(
    furnished: House, endpoint: Endpoint
) -> None:
    furnished.share()
    other, hospital = register_system(furnished, "hospital-b"), furnished.system("hospital-a")
    identity = subscribe(other, subscription("new-result", endpoint.address))
    furnished.login("p.pat-1").store(
        restriction("no-lab", against="Organization/hospital-b", domain="laboratory")
    )

    hospital.store(observation("closed", "laboratory"))
    hospital.store(observation("open", "vital-signs"))
    hospital.store(observation("not-shared", "vital-signs", patient="pat-2"))
    work(furnished)
    hospital.store(observation("open-2", "vital-signs"))
    work(furnished)

    assert endpoint.events == [(1, "Observation/open"), (2, "Observation/open-2")]
    told = must(other.get(f"Subscription/{identity}/$events")).json()
    assert events_of(told) == endpoint.events
    status = must(other.get(f"Subscription/{identity}/$status")).json()
    assert status_of(status)["events-since-subscription-start"] == "2"


def test_consent_that_ends_between_an_attempt_and_the_next_stops_the_event(
    furnished: House, endpoint: Endpoint
) -> None:
    furnished.share()
    other, hospital = register_system(furnished, "hospital-b"), furnished.system("hospital-a")
    identity = subscribe(other, subscription("new-result", endpoint.address))
    work(furnished)
    endpoint.status = 500
    hospital.store(observation("new-1", "vital-signs"))
    work(furnished)
    assert endpoint.events == [(1, "Observation/new-1")]

    furnished.share(status="inactive")
    endpoint.status = 200
    furnished.clock.forward(seconds=60)
    work(furnished)

    assert endpoint.events == [(1, "Observation/new-1")]
    assert events_of(must(other.get(f"Subscription/{identity}/$events")).json()) == []


def test_a_websocket_is_bound_by_a_token_for_one_use_and_told_at_once(furnished: House) -> None:
    hospital = register_system(furnished, "hospital-a")
    identity = subscribe(hospital, subscription("new-result", None, content="full-resource"))
    answer = must(hospital.get(f"Subscription/{identity}/$get-ws-binding-token")).json()
    values = {one["name"]: one for one in answer["parameter"]}
    token = values["token"]["valueString"]
    path = values["websocket-url"]["valueUrl"].removeprefix("ws://testserver")

    with furnished.client.websocket_connect(path) as socket:
        socket.send_text(f"bind-with-token {token}")
        assert status_of(socket.receive_json())["type"] == "handshake"
        hospital.store(observation("new-1", "laboratory"))
        work(furnished)
        told = socket.receive_json()
        assert events_of(told) == [(1, "Observation/new-1")]
        assert told["entry"][1]["resource"]["id"] == "new-1"

    with furnished.client.websocket_connect(path) as socket:
        socket.send_text(f"bind-with-token {token}")
        assert socket.receive()["code"] == 1008


def test_who_was_suspended_after_a_token_was_issued_binds_to_nothing(furnished: House) -> None:
    hospital = register_system(furnished, "hospital-a")
    identity = subscribe(hospital, subscription("new-result", None))
    answer = must(hospital.get(f"Subscription/{identity}/$get-ws-binding-token")).json()
    token, path = answer["parameter"][0]["valueString"], answer["parameter"][-1]["valueUrl"]
    now = furnished.clock()
    suspension = Suspension("s", "client", "system-hospital-a", "-", now, None, "steward", "St")
    with furnished.gateway.store.write_transaction() as connection:
        insert_suspension(connection, suspension)
    furnished.gateway.revocations.notify_processes()

    with furnished.client.websocket_connect(path.removeprefix("ws://testserver")) as socket:
        socket.send_text(f"bind-with-token {token}")
        assert socket.receive()["code"] == 1008


def test_only_a_system_and_a_patients_app_subscribe_and_only_with_the_right_to_read(
    furnished: House, endpoint: Endpoint
) -> None:
    wanted = subscription("new-result", endpoint.address)
    may_only_search = "system/Subscription.crud system/Observation.s system/DiagnosticReport.s"

    for session in (
        furnished.login("doctor.b"),
        furnished.login("steward"),
        register_system(furnished, "hospital-b", may_only_search),
        furnished.login("p.pat-1", "patient/*.rs"),
    ):
        assert session.post("Subscription", wanted).status_code == 403
    narrow = "system/Subscription.crud system/Observation.r"
    assert register_system(furnished, "hospital-a", narrow).post("Subscription", wanted).is_success


def test_nobody_else_sees_or_changes_a_subscription(furnished: House, endpoint: Endpoint) -> None:
    one, other = (register_system(furnished, name) for name in ("hospital-a", "hospital-b"))
    body = subscription("new-result", endpoint.address)
    identity = subscribe(one, body)
    address = f"Subscription/{identity}"

    absent = other.get("Subscription/absent")
    for answer in (
        other.get(address),
        other.put({**body, "id": identity}),
        other.delete(address),
        other.get(f"{address}/$status"),
        other.get(f"{address}/$events"),
        other.get(f"{address}/$get-ws-binding-token"),
        other.get(f"Subscription/$status?id={identity}"),
        furnished.system("ehr-commons").get(address),
    ):
        assert (answer.status_code, answer.content) == (404, absent.content)
    assert other.ids("Subscription") == []
    assert "entry" not in must(other.get("Subscription/$status")).json()
    assert one.ids("Subscription?status=requested&type=rest-hook") == [address]
    assert one.ids("Subscription?status=off") == []


def test_a_patients_app_is_told_of_that_patient_alone(furnished: House, endpoint: Endpoint) -> None:
    clients.register_client(
        furnished.gateway.store, clients.Client("test", "App", scope="patient/*.cruds")
    )
    app, hospital = furnished.login("p.pat-1"), furnished.system("hospital-a")
    identity = subscribe(app, subscription("new-result", endpoint.address))
    subscribe(app, subscription("consent-changed", endpoint.address))
    work(furnished)

    hospital.store(observation("mine", "laboratory"))
    hospital.store(observation("other", "laboratory", patient="pat-2"))
    furnished.share()
    work(furnished)

    told = {name for _, name in endpoint.events}
    assert told == {"Observation/mine", "Consent/sharing-hospital-b"}
    # Nothing renews this token, so nothing is told after it.
    furnished.clock.forward(seconds=3601)
    furnished.system("hospital-a").store(observation("later", "laboratory"))
    work(furnished)
    assert {name for _, name in endpoint.events} == told
    assert (
        must(furnished.login("p.pat-1").get(f"Subscription/{identity}")).json()["status"] == "off"
    )


def test_what_an_endpoint_does_not_take_comes_again_later_and_in_order(
    furnished: House, endpoint: Endpoint
) -> None:
    hospital = register_system(furnished, "hospital-a")
    body = subscription("new-result", endpoint.address, max_count=1)
    identity = subscribe(hospital, body)
    work(furnished)
    endpoint.status = 503
    for number in range(3):
        hospital.store(observation(f"new-{number}", "laboratory"))
        work(furnished)
        furnished.clock.forward(seconds=100)
    # Three attempts, each with the first event alone.
    assert endpoint.events == [(1, "Observation/new-0")] * 3
    ids = [headers["webhook-id"] for headers, _ in endpoint.received[1:]]
    assert len(set(ids)) == 1
    read = must(hospital.get(f"Subscription/{identity}")).json()
    assert (read["status"], read["error"]) == ("error", "The endpoint refused a notification.")

    endpoint.status = 200
    furnished.clock.forward(seconds=3600)
    work(furnished)

    hospital = furnished.system("hospital-a")
    assert endpoint.events[3:] == [(n + 1, f"Observation/new-{n}") for n in range(3)]
    assert must(hospital.get(f"Subscription/{identity}")).json()["status"] == "active"


def test_an_endpoint_is_given_up_at_410_and_after_three_days_and_its_owner_has_the_events(
    furnished: House, endpoint: Endpoint
) -> None:
    hospital = register_system(furnished, "hospital-a")
    gone = subscribe(hospital, subscription("new-result", endpoint.address))
    work(furnished)
    endpoint.status = 410
    hospital.store(observation("new-1", "laboratory"))
    work(furnished)
    assert must(hospital.get(f"Subscription/{gone}")).json()["status"] == "off"
    endpoint.status = 500
    dead = subscribe(hospital, subscription("new-result", endpoint.address))
    for _ in range(2):
        work(furnished)
        furnished.clock.forward(seconds=73 * 3600)
    hospital = furnished.system("hospital-a")
    assert must(hospital.get(f"Subscription/{dead}")).json()["status"] == "off"
    waiting = must(furnished.login("steward").get("$waiting")).json()["parameter"]
    assert {"name": "failing-subscriptions", "valueInteger": 2} in waiting
    count = len(endpoint.received)
    work(furnished)
    assert len(endpoint.received) == count

    assert events_of(must(hospital.get(f"Subscription/{gone}/$events")).json()) == [
        (1, "Observation/new-1")
    ]
    endpoint.status = 200
    must(hospital.put({**subscription("new-result", endpoint.address), "id": gone}))
    work(furnished)
    assert endpoint.types[-2:] == ["handshake", "event-notification"]
    assert endpoint.events[-1] == (1, "Observation/new-1")


def _delete_client(house: House) -> None:
    delete_client(house.gateway, "system-hospital-a")


def _suspend(house: House) -> None:
    held = Suspension("s", "organization", "hospital-a", "x", house.clock.now, None, "s", "S")
    with house.gateway.store.write_transaction() as connection:
        insert_suspension(connection, held)
    house.gateway.revocations.notify_processes()


def _narrow(house: House) -> None:
    register_system(house, "hospital-a", "system/Condition.rs")


@pytest.mark.parametrize("end", [_delete_client, _suspend, _narrow])
def test_whose_permission_ends_is_told_nothing_more(
    furnished: House, endpoint: Endpoint, end: Callable[[House], None]
) -> None:
    hospital = register_system(furnished, "hospital-a")
    subscribe(hospital, subscription("new-result", endpoint.address))
    work(furnished)
    hospital.store(observation("new-1", "laboratory"))

    end(furnished)
    work(furnished)

    assert endpoint.types == ["handshake"]
    with furnished.gateway.store.read_transaction() as connection:
        row = connection.execute("SELECT state, last_number FROM subscription").fetchone()
    assert row["last_number"] == 0
    assert row["state"] == ("active" if end is _narrow else "off")


def test_patients_see_who_was_told_and_nothing_is_on_record_of_what_was_not_sent(
    furnished: House, endpoint: Endpoint
) -> None:
    furnished.share()
    other, hospital = register_system(furnished, "hospital-b"), furnished.system("hospital-a")
    subscribe(other, subscription("new-result", endpoint.address))
    silent = subscription("new-result", "http://127.0.0.1:9/nobody")
    subscribe(other, silent)
    work(furnished)
    hospital.store(observation("new-1", "vital-signs"))
    work(furnished)

    found = must(furnished.login("p.pat-1").get("AuditEvent?agent=system-hospital-b")).json()

    told = [
        one["what"]["reference"]
        for entry in found["entry"]
        for one in entry["resource"]["entity"]
        if "what" in one and "Observation" in str(one["what"].get("reference"))
    ]
    assert told == ["Observation/new-1"]


def test_a_process_that_is_killed_at_any_step_loses_nothing_and_numbers_nothing_twice(
    furnished: House, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital = register_system(furnished, "hospital-a")
    subscribe(hospital, subscription("new-result", endpoint.address, max_count=2))
    work(furnished)

    class Killed(BaseException):
        """As a kill: nothing after it is done."""

    def killed(*_: object, **__: object) -> None:
        raise Killed

    steps = [
        (FeedMatcher, "_insert"),  # in the transaction that matches
        (SubscriptionWorker, "_find_due"),  # matched, nothing sent
        (SubscriptionWorker, "_commit"),  # connected, not numbered
        (SubscriptionWorker, "_settle"),  # taken, and not stored as taken
    ]
    for number, (owner, name) in enumerate(steps):
        hospital.store(observation(f"new-{number}", "laboratory"))
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, killed)
            with pytest.raises(Killed):
                work(furnished)
        # Another process takes over.
        furnished.clock.forward(seconds=60)
        worker = furnished.app.state.subscriptions
        SubscriptionWorker(furnished.gateway, worker.services, 0).run_once()
        furnished.clock.forward(seconds=60)

    numbers = dict(endpoint.events)
    assert numbers == {n + 1: f"Observation/new-{n}" for n in range(4)}
    # Once more is what was taken when the process was killed.
    assert endpoint.events == [
        *((n + 1, f"Observation/new-{n}") for n in range(4)),
        (4, numbers[4]),
    ]


def test_one_process_leads_and_what_a_former_leader_does_counts_for_nothing(
    furnished: House, endpoint: Endpoint
) -> None:
    hospital = register_system(furnished, "hospital-a")
    subscribe(hospital, subscription("new-result", endpoint.address))
    first = furnished.app.state.subscriptions
    second = SubscriptionWorker(furnished.gateway, first.services, 0)
    first.run_once()
    hospital.store(observation("new-1", "laboratory"))
    second.run_once()
    assert endpoint.types == ["handshake"]

    furnished.clock.forward(seconds=11)
    second.run_once()
    first.run_once()

    assert endpoint.events == [(1, "Observation/new-1")]


def test_a_name_that_changes_its_address_after_it_was_checked_is_sent_nothing(
    furnished: House, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital = register_system(furnished, "hospital-a")
    identity = subscribe(hospital, subscription("new-result", "https://hook.example.org/x"))
    asked = []

    async def resolve(_: object, host: str, port: int, **__: object) -> list[Any]:
        asked.append(host)
        found = [(2, 1, 6, "", ("9.9.9.9", port)), (2, 1, 6, "", ("127.0.0.1", port))]
        return found

    monkeypatch.setattr("asyncio.base_events.BaseEventLoop.getaddrinfo", resolve)
    work(furnished)

    assert asked == ["hook.example.org"]
    read = must(hospital.get(f"Subscription/{identity}")).json()
    assert (read["status"], read["error"]) == ("error", "The endpoint gave no answer in time.")


def test_a_heartbeat_comes_when_nothing_was_sent_whatever_is_closed(
    furnished: House, endpoint: Endpoint
) -> None:
    furnished.share()
    other, hospital = register_system(furnished, "hospital-b"), furnished.system("hospital-a")
    subscribe(other, subscription("new-result", endpoint.address, heartbeat_period=60))
    work(furnished)
    for number in range(6):
        furnished.clock.forward(seconds=20)
        hospital.store(observation(f"closed-{number}", "laboratory", patient="pat-2"))
        work(furnished)

    assert endpoint.types == ["handshake", "heartbeat", "heartbeat"]


def test_events_that_are_closed_now_take_no_place_of_those_that_are_open(
    furnished: House, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnished.share()
    hospital, other = furnished.system("hospital-a"), register_system(furnished, "hospital-b")
    identity = subscribe(other, subscription("new-result", endpoint.address))
    for number in range(4):
        hospital.store(observation(f"new-{number}", "laboratory"))
    work(furnished)
    for number in range(3):
        hidden = restriction(f"close-{number}", record=f"Observation/new-{number}")
        furnished.login("p.pat-1").store(hidden)
    monkeypatch.setattr(events, "_MOST_JUDGED", 2)

    told = events_of(must(other.get(f"Subscription/{identity}/$events")).json())

    assert told == [(4, "Observation/new-3")]


def test_closed_events_change_no_byte_of_what_is_told(move_in: MoveIn) -> None:
    told = []
    for name, more in (("without", False), ("with", True)):
        house = move_in("furnished", name)
        house.share()
        with open_endpoint() as endpoint:
            other, hospital = register_system(house, "hospital-b"), house.system("hospital-a")
            body = subscription(
                "new-result", endpoint.address, content="full-resource", heartbeat_period=60
            )
            identity = subscribe(other, body)
            work(house)
            for number in range(3):
                if more:
                    closed = observation(f"c-{number}", "laboratory", patient="pat-2")
                    hospital.store(closed)
                    work(house)
                    hospital.store({**closed, "status": "amended"})
                hospital.store(observation(f"o-{number}", "laboratory"))
                work(house)
                house.clock.forward(seconds=40)
                work(house)
            answers = [
                must(other.get(f"Subscription/{address}")).content.decode()
                for address in (f"{identity}/$events", f"{identity}/$status", "$status", identity)
            ]
            sent = [json.dumps(bundle) for bundle in endpoint.bundles]
            text = "\n".join([*sent, *answers])
            for strange in (identity, endpoint.address):
                text = text.replace(strange, "x")
            told.append(re.sub(r"urn:uuid:[0-9a-f-]{36}", "urn", text))

    assert told[0] == told[1]
    assert told[0].count("event-notification") == 3


def test_an_erasure_takes_events_and_those_who_wait_for_the_patient(
    furnished: House, endpoint: Endpoint
) -> None:
    hospital = register_system(furnished, "hospital-a")
    kept = subscribe(hospital, subscription("new-result", endpoint.address))
    subscribe(hospital, subscription("new-result", endpoint.address, "Observation?patient=pat-1"))
    other = "Observation?patient=Patient/pat-10"
    like = subscribe(hospital, subscription("new-result", endpoint.address, other))
    hospital.store(observation("new-1", "laboratory"))
    furnished.app.state.subscriptions._matcher.match()

    with furnished.gateway.store.write_transaction() as connection:
        erase_subscriptions(connection, ["pat-1"], {("Observation", "new-1")})
    work(furnished)

    assert hospital.ids("Subscription") == sorted(f"Subscription/{one}" for one in (kept, like))
    assert endpoint.events == []


def test_after_a_restore_all_are_off_until_they_are_sent_again(
    furnished: House, endpoint: Endpoint
) -> None:
    hospital = register_system(furnished, "hospital-a")
    identity = subscribe(hospital, subscription("new-result", endpoint.address))
    work(furnished)
    hospital.store(observation("before", "laboratory"))
    with furnished.gateway.store.write_transaction() as connection:
        switch_all_off(connection, "restored", furnished.clock())
    work(furnished)
    assert must(hospital.get(f"Subscription/{identity}")).json()["status"] == "off"

    must(hospital.put({**subscription("new-result", endpoint.address), "id": identity}))
    hospital.store(observation("after", "laboratory"))
    work(furnished)

    assert [focus for _, focus in endpoint.events] == ["Observation/after"]


def test_what_is_told_after_a_restore_is_no_repetition_of_what_was_told_since_the_backup(
    furnished: House, endpoint: Endpoint
) -> None:
    hospital, store = register_system(furnished, "hospital-a"), furnished.gateway.store
    identity = subscribe(hospital, subscription("new-result", endpoint.address))
    for name in ("in-the-backup", "since"):
        hospital.store(observation(name, "laboratory"))
        work(furnished)
    with store.write_transaction() as connection:
        # As the backup has it.
        connection.execute("UPDATE subscription SET last_number = 1, acknowledged = 1")
        furnished.clock.forward(seconds=60)
        switch_all_off(connection, "restored", furnished.clock())

    must(hospital.put({**subscription("new-result", endpoint.address), "id": identity}))
    hospital.store(observation("after", "laboratory"))
    work(furnished)

    messages = [headers["webhook-id"] for headers, _ in endpoint.received]
    numbers = [number for number, _ in endpoint.events]
    assert endpoint.events[-1][1] == "Observation/after"
    assert len(set(messages)) == len(messages)
    assert numbers == sorted(set(numbers))


def test_whoever_has_more_subscriptions_than_one_answer_tells_of_names_those_that_are_meant(
    furnished: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital = register_system(furnished, "hospital-a")
    names = [subscribe(hospital, subscription("new-result", None)) for _ in range(3)]
    monkeypatch.setattr(_subscriptions, "_MOST_ASKED", 2)

    for operation in ("$status", "$get-ws-binding-token"):
        for meant, status in ((), 413), (names, 413), (names[1:], 200):
            parts = [{"name": "id", "valueId": name} for name in meant]
            asked = hospital.post(
                f"Subscription/{operation}", {"resourceType": "Parameters", "parameter": parts}
            )
            assert asked.status_code == status


def test_a_held_result_is_not_told_to_the_patients_app(
    furnished: House, endpoint: Endpoint
) -> None:
    clients.register_client(
        furnished.gateway.store, clients.Client("test", "App", scope="patient/*.cruds")
    )
    app, hospital = furnished.login("p.pat-1"), furnished.system("hospital-a")
    subscribe(app, subscription("new-result", endpoint.address, content="full-resource"))
    hospital.store(observation("held", "laboratory"))
    hospital.store(observation("open", "laboratory"))
    parameters = [
        {"name": "until", "valueDate": "2026-12-10"},
        {"name": "reason", "valueString": "The doctor tells it in person first."},
    ]
    must(
        furnished.login("doctor.a").post(
            "Observation/held/$hold", {"resourceType": "Parameters", "parameter": parameters}
        )
    )

    work(furnished)

    assert endpoint.events == [(1, "Observation/open")]
    assert b"Observation/held" not in b"".join(body for _, body in endpoint.received)


def test_the_end_of_an_apps_permission_is_the_end_of_its_subscription(
    furnished: House, endpoint: Endpoint
) -> None:
    store, now = furnished.gateway.store, furnished.clock()
    clients.register_client(
        store, clients.Client("app", "App", scope="patient/*.cruds offline_access")
    )
    scope = "patient/*.cruds offline_access"
    grant = Grant("app", "p.pat-1", "", "", scope, "family-1", GrantContext(patient="pat-1"))
    assert start_family(store.database, grant, now)
    subject = subject_of_account(PATIENT_ONE, "app")
    token, _ = issue_access_token(
        furnished.gateway.keys, furnished.settings, subject, scope, now, "family-1"
    )
    identity = subscribe(
        Session(furnished.client, token), subscription("new-result", endpoint.address)
    )
    work(furnished)
    furnished.clock.forward(seconds=3 * 86_400)
    furnished.system("hospital-a").store(observation("lasts", "laboratory"))
    work(furnished)
    assert endpoint.events == [(1, "Observation/lasts")]

    revoke_family(furnished.gateway, "family-1")
    with store.read_transaction() as connection:
        stored = find_subscription(connection, identity)
    assert stored is not None
    assert (stored.state, stored.error) == ("off", "revoked")
    furnished.system("hospital-a").store(observation("after", "laboratory"))
    work(furnished)
    assert endpoint.events == [(1, "Observation/lasts")]
