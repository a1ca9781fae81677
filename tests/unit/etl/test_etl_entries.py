"""Feed lines to entries: the record's own text, its facts, and faults that hold no value."""

from __future__ import annotations

import json

import pytest

from ehr_etl.change_feed.entries import EVERYBODY, parse_line
from ehr_privacy.consent import record_from_json
from tests.lib.feed_lines import consent, decision_lines, feed_line

ROW = {"table": "consent_joining", "consent": "c", "patient": "p1", "since": 0, "until": None}
OBSERVATION = {
    "resourceType": "Observation",
    "id": "o1",
    "status": "final",
    "subject": {"reference": "Patient/p1"},
    "effectiveDateTime": "2026-03-01",
    "encounter": {"reference": "Encounter/e1"},
}


def test_an_entry_carries_what_consent_needs_to_know() -> None:
    entry = parse_line(feed_line(7, OBSERVATION, version=2).decode())

    assert (entry.position, entry.type, entry.id, entry.version) == (7, "Observation", "o1", 2)
    record = record_from_json(json.loads(str(entry.facts)), "Observation", "o1", entry.author)
    assert record.patients == {"p1"}
    assert record.episodes == {"e1"}
    assert record.clinical_ms == 1772294400000
    assert entry.fault is None


def test_a_decimal_keeps_its_trailing_zero() -> None:
    line = (
        '{"position":1,"type":"Observation","id":"o1","version":1,"lastUpdated":"2026-01-01",'
        '"method":"PUT","author":null,"resource":{"resourceType":"Observation","id":"o1",'
        '"subject":{"reference":"Patient/p1"},"valueQuantity":{"value":1.10}}}'
    )

    assert '"value":1.10' in str(parse_line(line).resource)


def test_a_resource_that_is_not_last_in_the_line_is_read_too() -> None:
    content = json.loads(feed_line(1, OBSERVATION))
    line = json.dumps({"resource": content.pop("resource"), **content})

    assert json.loads(str(parse_line(line).resource)) == OBSERVATION


def test_a_deletion_has_no_resource() -> None:
    entry = parse_line(feed_line(3, OBSERVATION, method="DELETE").decode())

    assert entry.deleted
    assert entry.resource is None


def test_an_unreadable_line_is_kept_whole_with_a_reason() -> None:
    entry = parse_line("{broken Chan Tai Man")

    assert entry.fault == "feed-line-is-not-json"
    assert entry.resource == "{broken Chan Tai Man"
    assert entry.position is None


def test_each_kind_of_wrong_line_has_its_own_reason() -> None:
    good = json.loads(feed_line(9, OBSERVATION))

    def fault(**changed: object) -> str | None:
        return parse_line(json.dumps({**good, **changed})).fault

    assert parse_line("[1]").fault == "feed-line-is-not-an-object"
    assert fault(position="9") == "feed-position-missing"
    assert fault(version=None) == "feed-type-id-or-version-missing"
    assert fault(method="BREW") == "feed-method-unknown"
    assert fault(author=5) == "feed-author-is-not-text"
    assert fault(resource=None) == "feed-resource-missing"
    assert fault(id="o2") == "feed-resource-is-another"


def test_rules_of_a_patient_are_kept_as_the_gateway_told_them() -> None:
    (text,) = decision_lines([consent("p1", "joining")])
    line = parse_line(text.decode())

    assert (line.kind, line.id) == ("rules", "p1")
    assert [row["table"] for row in json.loads(str(line.rules))] == ["consent_joining"]


@pytest.mark.parametrize(
    "rules",
    [
        [{"table": "consent_new", "patient": "p1"}],
        [{"table": "consent_joining", "patient": "p1"}],
        [{**ROW, "since": "soon"}],
        [{**ROW, "unless": "x"}],
        {"table": "consent_joining"},
        None,
    ],
    ids=["table", "columns", "type", "more-columns", "no-list", "null"],
)
def test_rules_that_are_not_understood_are_null(rules: object) -> None:
    text = json.dumps({"decision": 1, "type": "Patient", "id": "p1", "rules": rules})
    line = parse_line(text)

    assert (line.kind, line.id, line.rules) == ("rules", "p1", None)


@pytest.mark.parametrize(
    "text",
    ['{"decision": broken', '{"decision": 1}', '{"decision": 1, "type": "Group", "id": "g"}'],
)
def test_a_decision_about_nobody_who_is_known_is_about_everybody(text: str) -> None:
    line = parse_line(text)

    assert (line.kind, line.id, line.rules) == ("rules", EVERYBODY, None)


@pytest.mark.parametrize("facts", [None, {}, {"patients": 7}, [], "x"])
def test_facts_that_are_not_understood_are_null(facts: object) -> None:
    content = {**json.loads(feed_line(1, OBSERVATION)), "facts": facts}

    assert parse_line(json.dumps(content)).facts is None
