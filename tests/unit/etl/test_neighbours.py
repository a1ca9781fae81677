"""A change rechecks its neighbours alone, and finds what a check of the whole person finds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_etl.data_quality import linked_rules
from ehr_etl.data_quality.linked_rules import LinkedRecord
from ehr_etl.data_quality.rules import load_quality_rules
from ehr_etl.tables.linking import find_row_faults
from tests.lib.quality_faults import PLANTED, condition, encounter_of, observation, person, quantity
from tests.lib.quality_faults_blind import BLIND

RULES = load_quality_rules()
INSTANTS = ("2026-03-02T09:00:00+08:00", "2026-03-02T10:00:00+08:00", "2025-01-02T09:00:00+08:00")
CODES = (("29463-7", "kg"), ("8302-2", "cm"), ("39156-5", "kg/m2"), ("8480-6", "mm[Hg]"),
         ("8462-4", "mm[Hg]"))  # fmt: skip
Records = dict[str, dict[str, Any]]


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a record that is likely to be linked with another one of few ids and few times."""
    number, instant = draw(st.integers(1, 5)), draw(st.sampled_from(INSTANTS))
    kind = draw(st.sampled_from(["Observation", "Observation", "Encounter", "Condition"]))
    if kind == "Encounter":
        return encounter_of(
            f"e{number}",
            serviceProvider={"reference": f"Organization/{draw(st.sampled_from('ab'))}"},
            period={"start": instant, "end": draw(st.sampled_from(INSTANTS))},
        )
    visit = {"encounter": {"reference": f"Encounter/e{draw(st.integers(1, 5))}"}}
    visit = visit if draw(st.booleans()) else {}
    if kind == "Condition":
        return condition(
            f"c{number}", "http://snomed.info/sct", "44054006", recordedDate=instant[:10], **visit
        )
    code, unit = draw(st.sampled_from(CODES))
    status = draw(st.sampled_from(["final", "final", "entered-in-error"]))
    value = quantity(draw(st.sampled_from([60.0, 70.0, 170.0])), unit)
    changed = {"effectiveDateTime": instant, "status": status, **visit}
    return observation(f"o{number}", code, value, **changed)


def key_of(record: Mapping[str, Any]) -> str:
    return f"{record['resourceType']}/{record['id']}"


def rows_of(there: Records, faults: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    return [
        {
            "type": record["resourceType"], "id": record["id"], "version": 1, "deleted": False,
            "last_updated": "2026-11-22T08:00:00.000Z", "facts": '{"patients":["p1"]}',
            "resource": orjson.dumps(record).decode(), "faults": faults.get(key, []),
        }
        for key, record in there.items()
    ]  # fmt: skip


def check_all(there: Records) -> dict[str, list[str]]:
    found = find_row_faults(rows_of(there, {}), RULES, decided={}, people={})
    return {key: [fault.rule for fault in faults] for key, faults in found.items()}


def check_change(
    before: Records, after: Records, known: dict[str, list[str]]
) -> dict[str, list[str]]:
    """Return the faults after a change: those that were known, and those looked at again."""
    keys = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    changed = [
        LinkedRecord(key, side[key]) for key in keys for side in (before, after) if key in side
    ]
    found = find_row_faults(
        rows_of(after, known), RULES, decided={}, people={}, patients={"p1"},
        changed={"p1": changed}, fresh=keys,
    )  # fmt: skip
    new = {key: [fault.rule for fault in faults] for key, faults in found.items()}
    return {key: new.get(key, known.get(key, [])) for key in after}


def assert_same(before: Records, after: Records) -> None:
    assert check_change(before, after, check_all(before)) == check_all(after)


@settings(max_examples=150)
@given(st.lists(records(), max_size=12), st.lists(records(), max_size=2), st.data())
def test_a_change_finds_what_a_check_of_all_finds(
    first: list[dict[str, Any]], then: list[dict[str, Any]], data: st.DataObject
) -> None:
    before = {"Patient/p1": person()} | {key_of(record): record for record in first}
    after = before | {key_of(record): record for record in then}
    for key in data.draw(st.sets(st.sampled_from(sorted(after)), max_size=1)):
        del after[key]

    assert_same(before, after)


WHOLE = {name: fault.records for name, fault in PLANTED.items()} | {
    name: listed for name, (_, listed) in BLIND.items()
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_planted_fault_is_found_whichever_record_comes_last(name: str) -> None:
    whole = {key_of(record): record for record in WHOLE[name]}
    for last in whole:
        rest = {key: record for key, record in whole.items() if key != last}
        assert_same(rest, whole)
        assert_same(whole, rest)


def stay(name: str, provider: str, first: int, last: int) -> dict[str, Any]:
    period = {"start": f"2026-03-{first:02}T09:00:00Z", "end": f"2026-03-{last:02}T09:00:00Z"}
    hospital = {"reference": f"Organization/{provider}"}
    return encounter_of(name, serviceProvider=hospital, period=period)


def diabetes(name: str, day: str) -> dict[str, Any]:
    found = condition(name, "http://snomed.info/sct", "44054006", recordedDate=day)
    return {key: value for key, value in found.items() if not key.startswith("onset")}


LINKED_WITHOUT_A_TIME = {
    "stays": [stay("e1", "a", 1, 9), stay("e2", "b", 3, 12)],
    "recorded on two days": [diabetes("c1", "2026-03-02"), diabetes("c2", "2026-03-05")],
    "at two hours of a day": [
        observation("o1", "29463-7", quantity(60.0, "kg"), effectiveDateTime=INSTANTS[0]),
        observation("o2", "8302-2", quantity(170.0, "cm"), effectiveDateTime=INSTANTS[1]),
        observation("o3", "39156-5", quantity(60.0, "kg/m2"), effectiveDateTime=INSTANTS[1]),
    ],
}


@pytest.mark.parametrize("name", LINKED_WITHOUT_A_TIME)
def test_records_of_two_times_are_linked(name: str) -> None:
    listed = [person(), *LINKED_WITHOUT_A_TIME[name]]
    whole = {key_of(record): record for record in listed}
    assert any(check_all(whole).values())
    for last in whole:
        rest = {key: record for key, record in whole.items() if key != last}
        assert_same(rest, whole)
        assert_same(whole, rest)


def test_the_cost_of_a_change_follows_its_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 3,000 records few are looked at."""
    before = {"Patient/p1": person()}
    for number in range(3000):
        day = f"{2000 + number % 26}-0{1 + number % 9}-{10 + number % 18}T09:00:00Z"
        weight = quantity(60 + number % 9, "kg")
        record = observation(f"o{number}", "29463-7", weight, effectiveDateTime=day)
        before[key_of(record)] = record
    known = check_all(before)
    after = before | {"Observation/o7": {**before["Observation/o7"], "status": "amended"}}
    looked_at: list[int] = []
    inner = linked_rules._index

    def count(person: Any, checked: list[Any], linked: Any) -> None:
        looked_at.append(len(checked))
        inner(person, checked, linked)

    monkeypatch.setattr(linked_rules, "_index", count)
    check_change(before, after, known)

    assert looked_at[0] < 100
