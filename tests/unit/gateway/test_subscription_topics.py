"""Topics, filters and the index of who waits for what."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_fhir.errors import Invalid, Unavailable, Unprocessable
from ehr_gateway.subscriptions.content import parse_subscription
from ehr_gateway.subscriptions.endpoints import EndpointPolicy
from ehr_gateway.subscriptions.index import Listener, SubscriptionIndex
from ehr_gateway.subscriptions.matching import matches, parse_clauses
from ehr_gateway.subscriptions.topics import Change, load_topics
from tests.lib.subscriptions import BACKPORT, TOPICS, subscription

NOW = datetime(2026, 11, 22, tzinfo=UTC)
KNOWN = load_topics()
HOOK = "https://hospital.example.org/hook"
LOINC = "http://loinc.org"


def observation(status: str, patient: str = "a", code: str = "718-7") -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "status": status,
        "code": {"coding": [{"system": LOINC, "code": code}]},
        "subject": {"reference": f"Patient/{patient}"},
    }


def of(kind: str, status: str | None) -> dict[str, Any] | None:
    if status is None:
        return None
    return {**observation(status), "resourceType": kind}


@pytest.mark.parametrize(
    ("topic", "kind", "before", "after", "is_event"),
    [
        ("new-result", "Observation", None, "final", True),
        ("new-result", "Observation", None, "preliminary", False),
        ("new-result", "Observation", "preliminary", "final", True),
        ("new-result", "Observation", "final", "final", False),
        ("new-result", "Observation", "final", "corrected", True),
        ("new-result", "Observation", "final", "entered-in-error", False),
        ("new-result", "Observation", "final", None, False),
        ("new-result", "DiagnosticReport", "registered", "final", True),
        ("new-result", "Condition", None, "final", False),
        ("new-document", "DocumentReference", None, "current", True),
        ("new-document", "DocumentReference", "superseded", "current", True),
        ("new-document", "DocumentReference", "current", "current", False),
        ("encounter-start", "Encounter", "planned", "in-progress", True),
        ("encounter-start", "Encounter", "in-progress", "in-progress", False),
        ("encounter-end", "Encounter", "in-progress", "finished", True),
        ("encounter-end", "Encounter", None, "finished", True),
        ("consent-changed", "Consent", None, "active", True),
        ("consent-changed", "Consent", "active", "inactive", True),
        ("consent-changed", "Consent", "active", None, True),
    ],
)
def test_a_topic_tells_which_changes_are_events(
    topic: str, kind: str, before: str | None, after: str | None, is_event: bool
) -> None:
    change = Change(kind, of(kind, before), of(kind, after))

    assert KNOWN[f"{TOPICS}/{topic}"].is_met(change, NOW) is is_event


@pytest.mark.parametrize(
    ("criteria", "is_met"),
    [
        ("code=718-7", True),
        ("code=http://loinc.org|718-7", True),
        ("code=http://loinc.org|", True),
        ("code=urn:other|718-7", False),
        ("code=1,718-7", True),
        ("code:not=718-7", False),
        ("code:not=1", True),
        ("encounter:missing=true", True),
        ("code:missing=true", False),
        ("status=final&patient=Patient/a", True),
        ("patient=a", True),
        ("patient=b", False),
        ("status=final&patient=b", False),
    ],
)
def test_criteria_are_told_in_memory_as_a_search_would(criteria: str, is_met: bool) -> None:
    change = Change("Observation", None, observation("final"))

    assert matches(parse_clauses("Observation", criteria), change.values) is is_met


@pytest.mark.parametrize("criteria", ["date=gt2026", "value-quantity=7", "_id=a", "code:in=x"])
def test_criteria_that_memory_cannot_tell_are_refused(criteria: str) -> None:
    with pytest.raises(Unprocessable, match="token, reference and uri"):
        parse_clauses("Observation", criteria)


FILTERS = st.lists(
    st.sampled_from(["patient=a", "patient=b,c", "code=718-7", "code=1,2", "code:not=1"]),
    max_size=3,
)


@given(
    st.lists(st.tuples(FILTERS, st.sampled_from([None, "a", "b"]))),
    st.sampled_from("abc"),
    st.sampled_from(["718-7", "1", "2"]),
)
def test_the_index_finds_whom_asking_each_one_would_find(
    listeners: list[tuple[list[str], str | None]], patient: str, code: str
) -> None:
    index, asked = SubscriptionIndex(KNOWN), []
    change = Change("Observation", None, observation("final", patient, code))
    for number, (filters, own) in enumerate(listeners):
        clauses = tuple(clause for one in filters for clause in parse_clauses("Observation", one))
        listener = Listener(
            str(number), f"{TOPICS}/new-result", {"Observation": clauses}, number % 3, own
        )
        index.add(listener)
        if number % 5 == 4:
            index.remove(listener.id)
            continue
        if own in (None, patient) and number % 3 < 2 and matches(clauses, change.values):
            asked.append(listener.id)

    found = index.find(change, [patient], 2, NOW)

    assert sorted(one.id for one in found) == sorted(asked)


def with_channel(**changes: Any) -> dict[str, Any]:
    body = subscription("new-result", HOOK)
    channel = {**body["channel"], **changes}
    return {**body, "channel": {name: one for name, one in channel.items() if one is not None}}


def with_number(name: str, element: str, value: int) -> dict[str, Any]:
    return with_channel(extension=[{"url": f"{BACKPORT}/backport-{name}", element: value}])


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({**subscription("new-result", HOOK), "criteria": "Observation?code=1"}, "criteria"),
        ({**subscription("new-result", HOOK), "status": "error"}, "status"),
        (subscription("new-result", HOOK, "Patient?name=x"), "criteria.extension[0]"),
        (subscription("new-result", HOOK, "Observation"), "criteria.extension[0]"),
        (subscription("new-result", HOOK, "Observation?status=final"), "criteria.extension[0]"),
        (subscription("new-result", HOOK, "Observation?colour=red"), "criteria.extension[0]"),
        (subscription("new-result", HOOK, "Observation?code=a", "Observation?date=1"),
         "criteria.extension[1]"),
        (with_channel(type="email"), "channel.type"),
        (with_channel(endpoint=None), "channel.endpoint"),
        (with_channel(type="websocket"), "channel.endpoint"),
        (with_channel(payload="application/fhir+xml"), "channel.payload"),
        (with_channel(_payload=None), "channel.payload.extension"),
        (with_channel(header=["Host: other"]), "channel.header"),
        (with_channel(header=["X-A: 1\r\nX-B: 2"]), "channel.header"),
        (with_channel(header=["no colon"]), "channel.header"),
        (with_channel(header=["webhook-id: 1"]), "channel.header"),
        (with_number("heartbeat-period", "valueUnsignedInt", 1), "channel.extension"),
        (with_number("timeout", "valueUnsignedInt", 3600), "channel.extension"),
        (with_number("max-count", "valuePositiveInt", 1000), "channel.extension"),
        (with_number("unknown", "valueInteger", 1), "channel.extension"),
        *(
            (subscription("new-result", address), "channel.endpoint")
            for address in (
                "http://hospital.example.org/hook", "ftp://example.org", "https://user@example.org",
                "https://example.org/#a", "https://10.0.0.1/", "https://127.0.0.1/",
                "https://[::1]/", "https://[::ffff:10.0.0.1]/", "https://169.254.169.254/latest",
                "https://[64:ff9b::7f00:1]/", "https://[2002:7f00:1::]/", "https://0.0.0.0/",
                "https://224.0.0.1/", "https://100.64.0.1/", "https://example.org:x/", "https:///a",
            )
        ),
    ],
)  # fmt: skip
def test_what_is_not_served_is_refused_with_the_path(body: dict[str, Any], path: str) -> None:
    with pytest.raises(Unprocessable) as refused:
        parse_subscription(body, KNOWN, EndpointPolicy())

    assert refused.value.issues[0].expression == f"Subscription.{path}"
    assert "10.0.0.1" not in str(refused.value)


def test_a_host_that_the_operator_names_may_be_private_and_plain() -> None:
    policy = EndpointPolicy(frozenset({"10.0.0.1", "engine.internal:8443"}))

    for address in ("http://10.0.0.1/hook", "https://engine.internal:8443/hook"):
        assert parse_subscription(subscription("new-result", address), KNOWN, policy).endpoint
    with pytest.raises(Unprocessable):
        parse_subscription(subscription("new-result", "http://engine.internal/"), KNOWN, policy)


def test_a_folder_adds_topics_and_a_faulty_file_is_named(tmp_path: Path) -> None:
    trigger = {"resource": "Immunization", "supportedInteraction": ["create"]}
    topic = {
        "resourceType": "SubscriptionTopic", "url": "https://example.org/vaccinated",
        "title": "Vaccinated", "status": "active", "resourceTrigger": [trigger],
        "canFilterBy": [{"filterParameter": "patient"}],
    }  # fmt: skip
    (tmp_path / "vaccinated.json").write_text(json.dumps(topic))
    added = load_topics(tmp_path)["https://example.org/vaccinated"]
    assert added.filters == {"Immunization": {"patient"}}

    wrongs: list[dict[str, Any]] = [
        {"resourceTrigger": [{**trigger, "resource": "Nothing"}]},
        {"resourceTrigger": [{**trigger, "fhirPathCriteria": "("}]},
        {"resourceTrigger": [{**trigger, "queryCriteria": {"current": "date=gt2020"}}]},
        {"resourceTrigger": [{**trigger, "queryCriteria": {"later": "status=x"}}]},
        {"canFilterBy": [{"filterParameter": "colour"}]},
        {"eventTrigger": [{}]},
        {"title": None, "url": 1, "resourceTrigger": None},
    ]
    for wrong in wrongs:
        (tmp_path / "vaccinated.json").write_text(json.dumps({**topic, **wrong}))
        with pytest.raises(Unavailable, match=r"vaccinated\.json"):
            load_topics(tmp_path)


def _extended(body: dict[str, Any], *path: str) -> dict[str, Any]:
    """Return the body with an extension in place of the value at a path."""
    copy = json.loads(json.dumps(body))
    element = copy
    for name in path[:-1]:
        element = element[name]
    value = element.pop(path[-1], None)
    absent = {"extension": [{"url": "http://example.org/x", "valueString": "y"}]}
    if isinstance(value, list):
        element[path[-1]] = [None]
        absent = [absent]  # type: ignore[assignment]
    element[f"_{path[-1]}"] = absent
    return dict(copy)


@pytest.mark.parametrize(
    "path",
    [
        ("status",), ("criteria",), ("end",), ("reason",), ("channel", "type"),
        ("channel", "endpoint"), ("channel", "payload"), ("channel", "header"),
    ],
)  # fmt: skip
def test_an_element_without_a_value_is_refused_or_left_alone(path: tuple[str, ...]) -> None:
    body = subscription("new-result", HOOK, headers=["X-A: 1"]) | {"end": "2030-01-01T00:00:00Z"}

    try:
        parse_subscription(_extended(body, *path), KNOWN, EndpointPolicy())
    except Invalid as error:
        assert error.issues[0].expression
