"""Feed lines to entries: the record's own text, its facts, and faults that hold no value."""

from __future__ import annotations

import json

from ehr_etl.change_feed.entries import parse_entry
from tests.lib.feed_lines import feed_line

OBSERVATION = {
    "resourceType": "Observation",
    "id": "o1",
    "status": "final",
    "subject": {"reference": "Patient/p1"},
    "effectiveDateTime": "2026-03-01",
    "encounter": {"reference": "Encounter/e1"},
}


def test_an_entry_carries_what_consent_needs_to_know() -> None:
    entry = parse_entry(feed_line(7, OBSERVATION, version=2).decode())

    assert (entry.position, entry.type, entry.id, entry.version) == (7, "Observation", "o1", 2)
    assert entry.facts.patients == ("p1",)
    assert entry.facts.episodes == "|e1|"
    assert entry.facts.clinical_date == 1772294400000
    assert entry.fault is None


def test_a_decimal_keeps_its_trailing_zero() -> None:
    line = (
        '{"position":1,"type":"Observation","id":"o1","version":1,"lastUpdated":"2026-01-01",'
        '"method":"PUT","author":null,"resource":{"resourceType":"Observation","id":"o1",'
        '"subject":{"reference":"Patient/p1"},"valueQuantity":{"value":1.10}}}'
    )

    assert '"value":1.10' in str(parse_entry(line).resource)


def test_a_resource_that_is_not_last_in_the_line_is_read_too() -> None:
    content = json.loads(feed_line(1, OBSERVATION))
    line = json.dumps({"resource": content.pop("resource"), **content})

    assert json.loads(str(parse_entry(line).resource)) == OBSERVATION


def test_a_deletion_has_no_resource() -> None:
    entry = parse_entry(feed_line(3, OBSERVATION, method="DELETE").decode())

    assert entry.deleted
    assert entry.resource is None


def test_an_unreadable_line_is_kept_whole_with_a_reason() -> None:
    entry = parse_entry("{broken Chan Tai Man")

    assert entry.fault == "feed-line-is-not-json"
    assert entry.resource == "{broken Chan Tai Man"
    assert entry.position is None


def test_each_kind_of_wrong_line_has_its_own_reason() -> None:
    good = json.loads(feed_line(9, OBSERVATION))

    def fault(**changed: object) -> str | None:
        return parse_entry(json.dumps({**good, **changed})).fault

    assert parse_entry("[1]").fault == "feed-line-is-not-an-object"
    assert fault(position="9") == "feed-position-missing"
    assert fault(version=None) == "feed-type-id-or-version-missing"
    assert fault(method="BREW") == "feed-method-unknown"
    assert fault(author=5) == "feed-author-is-not-text"
    assert fault(resource=None) == "feed-resource-missing"
    assert fault(id="o2") == "feed-resource-is-another"
