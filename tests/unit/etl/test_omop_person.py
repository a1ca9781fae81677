"""The rows of a person: what took place, when, in which table, and a reason for all that is not."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_etl.lake import Lake
from ehr_etl.omop.cdm import PERSON_TABLES, build_table, load_cdm
from ehr_etl.omop.identifiers import integer_key
from ehr_etl.omop.mappings import load_mappings
from ehr_etl.omop.person import PersonBuilder, SourceRecord
from ehr_etl.omop.vocabulary import Vocabulary
from tests.conftest import ROOT
from tests.lib.omop_lake import LOINC, SNOMED, OmopLake, coding, hospital

Row = dict[str, Any]
BUILDER = PersonBuilder(Vocabulary(), ZoneInfo("Asia/Hong_Kong"))
PATIENT = {"resourceType": "Patient", "id": "p", "gender": "male", "birthDate": "1956"}
STATUSES = (
    ("Encounter", "status", "cancelled"), ("Encounter", "status", "planned"),
    ("Condition", "verificationStatus", "refuted"),
    ("Condition", "verificationStatus", "entered-in-error"),
    ("AllergyIntolerance", "verificationStatus", "refuted"),
    ("MedicationRequest", "status", "stopped"), ("MedicationRequest", "status", "cancelled"),
    ("MedicationRequest", "status", "draft"), ("MedicationRequest", "intent", "proposal"),
    ("MedicationRequest", "intent", "plan"), ("MedicationRequest", "doNotPerform", True),
    ("MedicationAdministration", "status", "not-done"),
    ("MedicationDispense", "status", "cancelled"), ("MedicationStatement", "status", "not-taken"),
    ("Immunization", "status", "not-done"), ("Procedure", "status", "not-done"),
    ("Procedure", "status", "preparation"), ("ImagingStudy", "status", "cancelled"),
    ("Observation", "status", "cancelled"), ("Observation", "status", "registered"),
    ("SupplyDelivery", "status", "abandoned"),
)  # fmt: skip
DATES: dict[str, Row] = {
    "Encounter": {"period": {"start": "2026-03-01"}},
    "Condition": {"onsetDateTime": "2026-03-01"},
    "AllergyIntolerance": {"recordedDate": "2026-03-01"},
    "MedicationRequest": {"authoredOn": "2026-03-01", "status": "completed", "intent": "order"},
    "MedicationAdministration": {"effectiveDateTime": "2026-03-01", "status": "completed"},
    "MedicationDispense": {"whenHandedOver": "2026-03-01", "status": "completed"},
    "MedicationStatement": {"effectiveDateTime": "2026-03-01", "status": "completed"},
    "Immunization": {"occurrenceDateTime": "2026-03-01", "status": "completed"},
    "Procedure": {"performedDateTime": "2026-03-01", "status": "completed"},
    "ImagingStudy": {"started": "2026-03-01", "status": "available"},
    "Observation": {"effectiveDateTime": "2026-03-01", "status": "final", "valueInteger": 1},
    "SupplyDelivery": {"occurrenceDateTime": "2026-03-01", "status": "completed"},
    "Device": {"recordedDate": "2026-03-01"},
}


def build(*resources: Row, shared: dict[str, str] | None = None) -> dict[str, list[Row]]:
    """Return the rows of the person whose records are given, as de-identified ones."""
    given_records = [PATIENT, *resources]
    records = [SourceRecord(one["resourceType"], one["id"], one) for one in given_records]
    return dict(BUILDER.build("p", 0, records, shared or {}))


def event(kind: str, **changed: Any) -> Row:
    content = {"status": "finished"} if kind == "Encounter" else {}
    return {"resourceType": kind, "id": "x", **content, **DATES[kind], **changed}


def clinical(made: dict[str, list[Row]]) -> dict[str, int]:
    own = ("person", "observation_period")
    return {name: len(made[name]) for name in PERSON_TABLES if name in made and name not in own}


def reasons(made: dict[str, list[Row]]) -> list[str]:
    return [row["reason"] for row in made["source_records"] if row.get("reason")]


@pytest.mark.parametrize("kind", sorted(DATES))
def test_every_type_of_event_that_took_place_gives_a_row(kind: str) -> None:
    made = build(event(kind))

    assert sum(clinical(made).values()) == 1
    assert len(made["observation_period"]) == 1


@pytest.mark.parametrize(("kind", "element", "value"), STATUSES)
def test_what_did_not_take_place_gives_no_row_and_a_reason(
    kind: str, element: str, value: Any
) -> None:
    is_coded = element == "verificationStatus"
    told = coding("http://terminology.hl7.org/CodeSystem/x", value) if is_coded else value

    made = build(event(kind, **{element: told}))

    assert clinical(made) == {}
    assert reasons(made) == [f"{element}={str(value).lower()}"]


@pytest.mark.parametrize("kind", sorted(DATES))
def test_a_date_that_is_not_whole_is_not_made_up(kind: str) -> None:
    cut = json.loads(json.dumps(event(kind)).replace("2026-03-01", "2026-03"))

    made = build(cut)

    assert clinical(made) == {}
    assert reasons(made) == ["partial-date"]
    assert "observation_period" not in made


def test_a_modifier_that_does_not_turn_the_meaning_is_put_on_record() -> None:
    made = build(event("Immunization", isSubpotent=True))

    assert clinical(made) == {"drug_exposure": 1}
    assert reasons(made) == ["kept, although isSubpotent=true"]


def test_nobody_without_a_year_of_birth_is_in_the_cdm() -> None:
    record = SourceRecord("Patient", "p", {"resourceType": "Patient", "id": "p"})
    visit = SourceRecord("Encounter", "x", event("Encounter"))

    made = BUILDER.build("p", 0, [record, visit], {})

    assert set(made) == {"source_records"}
    assert {row["reason"] for row in made["source_records"]} == {"no-year-of-birth"}


def test_times_are_those_of_the_jurisdictions_zone() -> None:
    late = event("Procedure", performedDateTime="2026-03-01T20:30:00Z")
    plain = {**event("Procedure", performedDateTime="2026-03-01"), "id": "y"}

    rows = {row["procedure_occurrence_id"]: row
            for row in build(late, plain)["procedure_occurrence"]}  # fmt: skip

    first = rows[integer_key("procedure_occurrence", "Procedure/x")]
    second = rows[integer_key("procedure_occurrence", "Procedure/y")]
    assert first["procedure_date"] == date(2026, 3, 2)
    assert first["procedure_datetime"] == datetime(2026, 3, 2, 4, 30)
    assert (second["procedure_date"], second["procedure_datetime"]) == (date(2026, 3, 1), None)


def test_the_type_concept_comes_from_the_category_and_else_is_the_general_one() -> None:
    category = "http://terminology.hl7.org/CodeSystem/condition-category"
    problem = event("Condition", category=[coding(category, "problem-list-item")])

    assert build(problem)["condition_occurrence"][0]["condition_type_concept_id"] == 32840
    assert (
        build(event("Condition"))["condition_occurrence"][0]["condition_type_concept_id"] == 32817
    )


def test_every_type_concept_of_the_rules_is_one_of_the_domain() -> None:
    # Type Concepts of OHDSI are numbered 32809 to 32886 (and a few later ones).
    for rule in load_mappings().events.values():
        for concept in (rule.type, rule.type_of_derived_end, *(one.result for one in rule.types)):
            assert concept == 0 or 32809 <= concept <= 32886
        assert rule.type or rule.target in ("Person", "CareSite", "Provider")


def test_a_visit_without_end_says_that_its_end_is_derived() -> None:
    row = build(event("Encounter"))["visit_occurrence"][0]

    assert row["visit_end_date"] == row["visit_start_date"]
    assert row["visit_type_concept_id"] == 32882


def test_a_part_of_a_stay_is_a_detail_of_its_visit() -> None:
    whole = {**event("Encounter"), "id": "whole"}
    part = {**event("Encounter", partOf={"reference": "Encounter/whole"}), "id": "part"}
    deep = {**event("Encounter", partOf={"reference": "Encounter/part"}), "id": "deep"}
    done = event("Procedure", encounter={"reference": "Encounter/deep"})

    made = build(whole, part, deep, done)

    visit = made["visit_occurrence"][0]["visit_occurrence_id"]
    details = {row["visit_detail_id"]: row for row in made["visit_detail"]}
    below = integer_key("visit_detail", "Encounter/deep")
    assert {row["visit_occurrence_id"] for row in details.values()} == {visit}
    assert details[below]["parent_visit_detail_id"] == integer_key("visit_detail", "Encounter/part")
    procedure = made["procedure_occurrence"][0]
    assert (procedure["visit_occurrence_id"], procedure["visit_detail_id"]) == (visit, below)


def test_stays_that_are_parts_of_each_other_end_somewhere() -> None:
    first = {**event("Encounter", partOf={"reference": "Encounter/b"}), "id": "a"}
    second = {**event("Encounter", partOf={"reference": "Encounter/a"}), "id": "b"}

    made = build(first, second)

    assert (len(made["visit_occurrence"]), len(made["visit_detail"])) == (1, 1)


def test_each_component_is_a_measurement_and_the_panel_is_none() -> None:
    category = "http://terminology.hl7.org/CodeSystem/observation-category"
    pressure = {
        "resourceType": "Observation", "id": "x", "status": "final",
        "effectiveDateTime": "2026-03-01", "category": [coding(category, "vital-signs")],
        "code": coding(LOINC, "85354-9"),
        "component": [{"code": coding(LOINC, "8480-6"), "valueQuantity": {
            "value": 120.5, "code": "mm[Hg]", "system": "http://unitsofmeasure.org"}},
            {"code": coding(LOINC, "8462-4"), "dataAbsentReason": {}}],
    }  # fmt: skip

    made = build(pressure)

    (row,) = made["measurement"]
    assert (row["measurement_concept_id"], row["measurement_source_value"]) == (3004249, "8480-6")
    assert (row["value_as_number"], row["unit_concept_id"]) == (120.5, 8876)
    assert row["measurement_type_concept_id"] == 32836


@pytest.mark.parametrize(("category", "table"), [("laboratory", "measurement"),
                                                 ("survey", "observation")])  # fmt: skip
def test_a_comparator_is_never_lost(category: str, table: str) -> None:
    system = "http://terminology.hl7.org/CodeSystem/observation-category"
    seen = event("Observation", category=[coding(system, category)])
    del seen["valueInteger"]
    seen["valueQuantity"] = {"value": 5.4, "comparator": "<"}

    (row,) = build(seen)[table]

    assert (row["value_as_number"], row["value_source_value"]) == (5.4, "<5.4")
    assert row.get("operator_concept_id") == (4171756 if table == "measurement" else None)
    del seen["valueQuantity"]["value"]
    assert build(seen)[table][0]["value_source_value"] is None


def test_a_code_without_concept_is_0_with_its_source_value_and_a_reason() -> None:
    made = build(event("Condition", code=coding(SNOMED, "900001007")))

    (row,) = made["condition_occurrence"]
    assert row["condition_concept_id"] == row["condition_source_concept_id"] == 0
    assert row["condition_source_value"] == "900001007"
    (why,) = [one for one in made["unmapped_codes"] if one["field"] == "condition_concept_id"]
    assert why["reason"] == "no-vocabulary-loaded"
    assert why["row_id"] == row["condition_occurrence_id"]
    assert why["domain_unverified"] is True


def test_a_code_of_a_system_that_no_vocabulary_is_of_says_so() -> None:
    made = build(event("Condition", code=coding("https://local.example/codes", "A1")))

    (why,) = [one for one in made["unmapped_codes"] if one["field"] == "condition_concept_id"]
    assert (why["reason"], why["code"]) == ("unknown-code-system", "A1")


def test_supply_of_ten_days_ends_on_the_tenth() -> None:
    days = {"value": 10, "code": "d", "system": "http://unitsofmeasure.org"}
    asked = event("MedicationRequest", dispenseRequest={"expectedSupplyDuration": days})

    (row,) = build(asked)["drug_exposure"]

    assert (row["drug_exposure_end_date"], row["days_supply"]) == (date(2026, 3, 10), 10)
    assert row["verbatim_end_date"] is None


def test_a_medication_that_is_referred_to_gives_its_code() -> None:
    asked = event("MedicationRequest", medicationReference={"reference": "Medication/0a"})
    known = {"Medication/0a": '[["http://x.example", "tablet", false]]'}

    assert build(asked, shared=known)["drug_exposure"][0]["drug_source_value"] == "tablet"
    assert build(asked)["drug_exposure"][0]["drug_source_value"] is None
    assert build(asked)["shared_references"][0]["target"] == "Medication/0a"


def test_a_doctor_who_is_not_there_is_not_referred_to() -> None:
    seen = event("Encounter", participant=[{"individual": {"reference": "Practitioner/0a"}}])

    assert build(seen)["visit_occurrence"][0]["provider_id"] is None
    there = build(seen, shared={"Practitioner/0a": "[]"})["visit_occurrence"][0]["provider_id"]
    assert there == integer_key("provider", "Practitioner/0a")


@pytest.fixture(scope="module")
def people() -> list[tuple[str, list[SourceRecord]]]:
    """Return the records of some made-up people of Synthea, de-identified."""
    from ehr_privacy.deid import Deidentifier, load_rules

    folder = ROOT.parent / "shared/data/synthea-r4-bulk-47"
    if not folder.is_dir():
        pytest.skip("the shared data is not here")
    deidentifier = Deidentifier(load_rules(), b"k" * 32)
    records: dict[str, list[SourceRecord]] = {}
    for kind in ("Patient", *sorted(DATES)):
        file = folder / f"{kind}.ndjson.gz"
        for line in _lines(file) if file.exists() else ():
            resource = json.loads(line)
            whose = resource.get("subject", resource.get("patient", {})).get("reference", "")
            owner = resource["id"] if kind == "Patient" else whose.removeprefix("Patient/")
            if kind == "Patient" and len(records) < 6:
                records[owner] = []
            kept = deidentifier.scrub(resource) if owner in records else None
            if kept is not None:
                records[owner].append(SourceRecord(kind, kept["id"], kept))
    return list(records.items())


def _lines(file: Any) -> Iterator[str]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        yield from lines


def test_every_record_is_accounted_for_and_no_required_column_is_null(
    people: list[tuple[str, list[SourceRecord]]],
) -> None:
    for name, records in people:
        made = BUILDER.build(name, 0, records, {})

        told = {(row["resource_type"], row["record"]) for row in made["source_records"]}
        assert told == {(record.type, record.id) for record in records}
        for table, rows in made.items():
            built = build_table(table, rows)
            for column in load_cdm().get(table, ()):
                if column.required:
                    assert built.column(column.name).null_count == 0, (table, column.name)
                if column.is_primary_key:
                    keys = built.column(column.name).to_pylist()
                    assert len(keys) == len(set(keys)), table


def test_every_concept_of_0_is_accounted_for(
    people: list[tuple[str, list[SourceRecord]]],
) -> None:
    for name, records in people:
        made = BUILDER.build(name, 0, records, {})

        told = {(row["table_name"], row["row_id"], row["field"]) for row in made["unmapped_codes"]}
        zeros = {
            (table, row[key.name], field.name)
            for table in PERSON_TABLES
            for key in load_cdm()[table]
            if key.is_primary_key
            for field in load_cdm()[table]
            if field.foreign_table == "concept" and "source" not in field.name
            for row in made.get(table, ())
            if row.get(field.name) == 0
        }
        assert zeros
        assert zeros <= told


@settings(max_examples=30)
@given(order=st.randoms())
def test_the_order_of_the_records_does_not_matter(order: Any) -> None:
    events = [{**event(kind), "id": f"x{number}"} for number, kind in enumerate(DATES)]
    records = [SourceRecord(one["resourceType"], one["id"], one) for one in (PATIENT, *events)]
    expected = BUILDER.build("p", 0, records, {})
    order.shuffle(records)

    assert BUILDER.build("p", 0, records, {}) == expected


def test_all_tables_of_people_are_made(tmp_path: Any) -> None:
    bench = OmopLake(Lake(tmp_path / "lake"))
    bench.put(*hospital())
    bench.rebuild()

    filled = {name for name in PERSON_TABLES if bench.rows(name)}

    # Eras come with a vocabulary, whose concepts they are of.
    assert set(PERSON_TABLES) - filled == {"condition_era", "drug_era"}
    assert bench.rows("provider")
    assert bench.rows("care_site")
    assert bench.rows("location")
    (source,) = bench.rows("cdm_source")
    assert (source["cdm_version"], source["vocabulary_version"]) == ("v5.4", "none")
