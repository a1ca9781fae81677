"""Planted faults: each is caught by the rule that is named for it, and a good record by none."""

from __future__ import annotations

from typing import Any

import pytest

from ehr_etl.data_quality.linked_rules import LinkedRecord, find_linked_faults
from ehr_etl.data_quality.rules import load_quality_rules
from ehr_fhir.compartments import patient_ids_of
from ehr_fhir.definitions import elements, resource_types
from ehr_fhir.errors import Fault
from tests.lib.quality_faults import (
    PLANTED,
    RECEIVED,
    encounter_of,
    observation,
    person,
    quantity,
)
from tests.lib.quality_faults_blind import BLIND

RULES = load_quality_rules()


def faults_of(records: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Return key -> names of broken rules, of some records of one person and of no others."""
    found: dict[str, set[str]] = {}
    for record in records:
        key = f"{record['resourceType']}/{record['id']}"
        found[key] = {fault.rule for fault in RULES.check_version(record, RECEIVED)}
    whose = min({name for record in records for name in patient_ids_of(record)})
    linked = [LinkedRecord(f"{one['resourceType']}/{one['id']}", one) for one in records]
    for key, faults in find_linked_faults(whose, linked, RULES).items():
        found[key] |= {fault.rule for fault in faults}
    return found


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_caught(name: str) -> None:
    fault = PLANTED[name]
    if fault.rule == "no-duplicate-person":
        pytest.skip("Between people: tests/unit/etl/test_identities.py")

    found = faults_of(fault.records)

    assert fault.rule in found[fault.key]


@pytest.mark.parametrize("name", PLANTED)
def test_the_elements_at_fault_are_named(name: str) -> None:
    fault = PLANTED[name]
    for record in fault.records:
        for broken in RULES.check_version(record, RECEIVED):
            assert broken.elements
            assert "97" not in "".join(broken.elements)


def test_good_records_break_no_rule() -> None:
    records = [
        person(),
        encounter_of(),
        observation("o1", "8867-4", quantity(72, "/min")),
        observation("o2", "8310-5", quantity(98.6, "[degF]")),
        observation("o3", "718-7", quantity(140, "g/L")),
    ]

    assert set().union(*faults_of(records).values()) == set()


@pytest.mark.parametrize(
    "record",
    [
        {"resourceType": "Observation", "status": "final", "code": {"text": "room temperature"},
         "valueString": "warm"},
        {"resourceType": "Procedure", "status": "completed",
         "subject": {"reference": "Patient/p1"}},
        {"resourceType": "Encounter", "status": "finished", "class": {"code": "IMP"},
         "subject": {"reference": "Patient/p1"},
         "period": {"start": "2020-01-01T10:00:00+08:00", "end": "2020-01-01"}},
        {"resourceType": "Condition", "subject": {"identifier": {"value": "A1"}}},
        {"resourceType": "Consent", "status": "active",
         "patient": {"reference": "Patient/p1/_history/1"}},
        {"resourceType": "Patient", "birthDate": "2026-11-22"},
        {"resourceType": "Observation", "status": "entered-in-error", "code": {"coding": [
            {"system": "http://loinc.org", "code": "8867-4"}]}, "valueQuantity": {
            "value": 1800, "code": "/min", "system": "http://unitsofmeasure.org"}},
    ],
    ids=["no-subject", "no-code", "partial-date", "logical-reference", "consent", "newborn",
         "voided"],
)  # fmt: skip
def test_what_is_valid_is_taken(record: dict[str, Any]) -> None:
    # Half past one in the night of Hong Kong, on the day before in UTC.
    received = "2026-11-21T17:30:00Z"

    faults = RULES.check_version({"id": "r1", **record}, received)

    assert [fault.rule for fault in faults if RULES.is_error(fault.rule)] == []


def test_what_consent_is_judged_by_is_never_held() -> None:
    for resource_type in ("Consent", "Organization", "PractitionerRole", "SearchParameter"):
        assert RULES.check_version({"resourceType": resource_type, "id": "x"}, RECEIVED) == []


def test_every_element_that_r4_requires_is_required_of_every_type() -> None:
    for resource_type in sorted(resource_types() - RULES.never_held):
        least = {name for name, (_, low, _) in elements()[resource_type].items() if low}
        (fault, *_) = [
            *RULES.check_version({"resourceType": resource_type, "id": "x"}, RECEIVED),
            None,
        ]
        missing = set() if fault is None else {path for path in fault.elements}
        assert len(missing) == len(least), resource_type


def test_a_rule_says_its_severity_scope_and_source() -> None:
    for rule in RULES.rules:
        assert rule.severity in ("error", "warning", "information")
        assert rule.scope <= resource_types()
        assert rule.source


def test_a_rule_of_no_kind_is_refused() -> None:
    text = (
        'never_held = []\nvoided = {}\n[[rule]]\nname = "a"\nkind = "guess"\n'
        'severity = "error"\nscope = []\nsource = "s"\n'
    )
    with pytest.raises(Fault, match="no kind"):
        load_quality_rules(text)


@pytest.mark.parametrize("name", BLIND)
def test_a_fault_of_real_data_is_caught(name: str) -> None:
    key, records = BLIND[name]

    assert faults_of(records)[key]


def test_what_is_written_about_a_death_is_not_late() -> None:
    dead = person(deceasedDateTime="2026-03-04T10:00:00+08:00")
    cause = observation("cause", "69453-9", quantity(1, "1"), effectiveDateTime="2026-03-12")
    pulse = observation("pulse", "8867-4", quantity(72, "/min"), effectiveDateTime="2026-03-12")
    snomed = {"system": "http://snomed.info/sct", "code": "308646001"}
    period = {"start": "2026-05-12", "end": "2026-05-12"}
    certificate = encounter_of("e1", type=[{"coding": [snomed]}], period=period)

    found = faults_of([dead, cause, pulse, certificate])

    late = {"shortly-after-death", "not-after-death"}
    assert not found.get("Observation/cause", set()) & late
    assert not found.get("Encounter/e1", set()) & late
    assert found["Observation/pulse"] & late
