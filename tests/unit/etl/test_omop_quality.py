"""Mapping rates and the Data Quality Dashboard's checks: faults are found, absence is no pass."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from ehr_etl.lake import Lake
from ehr_etl.omop.athena import load_vocabulary
from ehr_etl.omop.cdm import load_cdm, table_name
from ehr_etl.omop.mapping_report import draw_mapping_rates, read_mapping_report
from ehr_etl.omop.quality_dashboard import (
    CheckResult,
    run_checks,
    summarize_checks,
    to_json,
    write_csv,
)
from ehr_fhir.errors import NotFound
from tests.lib.omop_lake import OmopLake, hospital, write_athena_folder

# The check types of the Dashboard 2.8: tables, columns, concepts.
TYPES = {
    "cdmTable", "measurePersonCompleteness", "measureConditionEraCompleteness",
    "measureObservationPeriodOverlap", "cdmField", "isRequired", "cdmDatatype", "isPrimaryKey",
    "isForeignKey", "fkDomain", "isStandardValidConcept", "measureValueCompleteness",
    "standardConceptRecordCompleteness", "sourceConceptRecordCompleteness",
    "sourceValueCompleteness", "plausibleValueLow", "plausibleValueHigh", "plausibleTemporalAfter",
    "plausibleDuringLife", "withinVisitDates", "plausibleAfterBirth", "plausibleBeforeDeath",
    "plausibleStartBeforeEnd", "plausibleGender", "plausibleGenderUseDescendants",
    "plausibleUnitConceptIds",
}  # fmt: skip
NEEDS_VOCABULARY = {
    "fkDomain", "isStandardValidConcept", "plausibleGender", "plausibleGenderUseDescendants",
    "plausibleUnitConceptIds",
}  # fmt: skip


@pytest.fixture
def bench(tmp_path: Path) -> OmopLake:
    made = OmopLake(Lake(tmp_path / "lake"))
    made.put(*hospital())
    made.rebuild()
    return made


def find(results: list[CheckResult], check: str, table: str, field: str = "") -> CheckResult:
    (found,) = [
        one for one in results if (one.check, one.table, one.field) == (check, table, field)
    ]
    return found


def spoil(bench: OmopLake, table: str, column: str, value: object) -> None:
    """Set a column of every row of a table."""
    name = str(bench.lake.table_path(table_name(table)))
    rows = DeltaTable(name).to_pyarrow_table()
    index = rows.column_names.index(column)
    values = pa.array([value] * rows.num_rows, rows.schema.field(column).type)
    write_deltalake(name, pa.table(rows).set_column(index, column, values), mode="overwrite")


def test_every_check_type_is_counted_and_none_fails_but_for_concepts_without_vocabulary(
    bench: OmopLake,
) -> None:
    results = run_checks(bench.lake)

    assert {result.check for result in results} == TYPES
    failed = {result.check for result in results if result.status == "failed"}
    assert failed <= {"standardConceptRecordCompleteness"}
    executed = {result.check for result in results if result.status != "not applicable"}
    assert executed.isdisjoint(NEEDS_VOCABULARY)
    assert {
        "isRequired", "isPrimaryKey", "isForeignKey", "plausibleStartBeforeEnd",
        "withinVisitDates", "plausibleAfterBirth", "plausibleBeforeDeath",
    } <= executed  # fmt: skip


def test_with_a_vocabulary_concepts_are_checked_too(bench: OmopLake, tmp_path: Path) -> None:
    load_vocabulary(bench.lake, write_athena_folder(tmp_path / "athena"))
    bench.writer().remap()

    results = run_checks(bench.lake)

    assert find(results, "fkDomain", "person", "gender_concept_id").status == "passed"
    standard = find(results, "isStandardValidConcept", "condition_occurrence",
                    "condition_concept_id")  # fmt: skip
    assert standard.status == "passed"
    # The made-up vocabulary has no type concepts.
    assert find(results, "isForeignKey", "visit_occurrence", "visit_type_concept_id").status == (
        "failed"
    )


@pytest.mark.parametrize(
    ("table", "column", "value", "check"),
    [
        ("measurement", "measurement_date", None, "isRequired"),
        ("measurement", "measurement_id", 7, "isPrimaryKey"),
        ("visit_occurrence", "provider_id", 7, "isForeignKey"),
        ("person", "year_of_birth", 1700, "plausibleValueLow"),
        ("person", "year_of_birth", 2999, "plausibleValueHigh"),
        ("drug_exposure", "quantity", -1.0, "plausibleValueLow"),
    ],
)
def test_a_fault_is_found(
    bench: OmopLake, table: str, column: str, value: object, check: str
) -> None:
    spoil(bench, table, column, value)

    result = find(run_checks(bench.lake), check, table, column)

    # One row alone has no duplicate.
    assert result.status == "failed" if result.rows > 1 or check != "isPrimaryKey" else "passed"


@pytest.mark.parametrize(
    ("table", "column", "day", "check"),
    [
        ("condition_occurrence", "condition_start_date", "1900-01-01", "plausibleAfterBirth"),
        ("condition_occurrence", "condition_start_date", "1900-01-01", "plausibleTemporalAfter"),
        ("procedure_occurrence", "procedure_date", "2090-01-01", "plausibleBeforeDeath"),
        ("procedure_occurrence", "procedure_date", "2090-01-01", "plausibleDuringLife"),
        ("procedure_occurrence", "procedure_date", "2020-01-01", "withinVisitDates"),
    ],
)
def test_a_time_that_cannot_be_is_found(
    bench: OmopLake, table: str, column: str, day: str, check: str
) -> None:
    from datetime import date

    spoil(bench, table, column, date.fromisoformat(day))

    assert find(run_checks(bench.lake), check, table, column).status == "failed"


def test_an_end_before_its_start_is_found(bench: OmopLake) -> None:
    from datetime import date

    spoil(bench, "visit_occurrence", "visit_end_date", date(2000, 1, 1))

    result = find(run_checks(bench.lake), "plausibleStartBeforeEnd", "visit_occurrence",
                  "visit_start_date")  # fmt: skip
    assert result.status == "failed"


def test_the_numbers_add_up_and_are_written(bench: OmopLake, tmp_path: Path) -> None:
    results = run_checks(bench.lake)
    summary = summarize_checks(results)
    write_csv(results, tmp_path / "checks.csv")

    everything = summary.pop("all")
    assert everything["executed"] == everything["passed"] + everything["failed"]
    assert everything["executed"] + everything["not applicable"] == len(results)
    assert sum(one["executed"] for one in summary.values()) == everything["executed"]
    with (tmp_path / "checks.csv").open() as lines:
        assert len(list(csv.DictReader(lines))) == len(results)
    assert json.loads(json.dumps(to_json(results)))["summary"]["all"] == everything


def test_rates_and_reasons_are_reported_by_table_and_code_system(
    bench: OmopLake, tmp_path: Path
) -> None:
    report = read_mapping_report(bench.lake)
    draw_mapping_rates(report, tmp_path / "rates.png")

    rates = {rate.table: (rate.rows, rate.mapped) for rate in report.rates}
    assert rates["person"] == (2, 1)
    assert rates["visit_occurrence"] == (1, 1)
    assert rates["measurement"] == (3, 2)
    assert rates["condition_occurrence"] == (2, 0)
    by_system = {(one.table, one.system): (one.rows, one.mapped) for one in report.by_system}
    assert by_system["measurement", "http://loinc.org"] == (3, 2)
    assert by_system["condition_occurrence", "http://hl7.org/fhir/sid/icd-10"] == (1, 0)
    assert {table for table, _ in by_system} <= {rate.table for rate in report.rates}
    reasons = {(one.table, one.system, one.reason): one.rows for one in report.unmapped}
    assert reasons["condition_occurrence", "http://snomed.info/sct", "no-vocabulary-loaded"] == 1
    assert (tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_left_out_is_counted_by_type_and_reason(bench: OmopLake) -> None:
    refused = {**bench.resources["Procedure", "o1"], "id": "never", "status": "not-done"}
    bench.put(refused)
    bench.follow(("Procedure", "never"))

    exclusions = read_mapping_report(bench.lake).exclusions

    assert [(one.resource_type, one.reason, one.records) for one in exclusions] == [
        ("Procedure", "status=not-done", 1)
    ]


def test_which_tables_are_filled_is_disclosed(bench: OmopLake) -> None:
    populated = read_mapping_report(bench.lake).populated

    assert set(populated) == set(load_cdm())
    assert populated["note"] == (0, "none")
    assert populated["person"] == (2, "some")
    assert populated["observation_period"][1] == "all"


def test_a_lake_without_omop_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="ehr lake omop build"):
        read_mapping_report(Lake(tmp_path))
    with pytest.raises(NotFound, match="ehr lake omop build"):
        run_checks(Lake(tmp_path))
