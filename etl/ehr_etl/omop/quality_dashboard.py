"""Checks of OHDSI's Data Quality Dashboard over the OMOP tables, under the Dashboard's own names.

What a check counts and when it fails follow the Dashboard 2.8: rows that violate it, as a part of
the rows it looks at, against a threshold. A check that needs the vocabulary is not applicable
without one, one of an empty table or column too: not applicable is never a pass. The Dashboard's
472 checks of single concepts (plausible sex and unit of each) are counted so.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa

from ehr_etl.lake import Lake
from ehr_etl.omop.cdm import load_cdm, table_name
from ehr_etl.omop.quality_checks import Check, list_checks
from ehr_etl.omop.state import load_state
from ehr_etl.work_folder import open_work_folder
from ehr_fhir.errors import NotFound

__all__ = ["CheckResult", "run_checks", "summarize_checks", "write_csv"]

Status = Literal["passed", "failed", "not applicable"]

# Violations in per cent of the rows, from which on a check fails; where none is named, any. As the
# Dashboard's lists have them: inst/csv/OMOP_CDMv5.4_Table_Level.csv and _Field_Level.csv of
# OHDSI/DataQualityDashboard (Apache-2.0).
_THRESHOLDS: Mapping[str, float] = {
    "measurePersonCompleteness": 95,
    "measureConditionEraCompleteness": 0,
    "measureValueCompleteness": 100,
    "standardConceptRecordCompleteness": 5,
    "sourceConceptRecordCompleteness": 100,
    "sourceValueCompleteness": 100,
    "plausibleAfterBirth": 1,
    "plausibleBeforeDeath": 1,
    "plausibleDuringLife": 1,
    "plausibleTemporalAfter": 1,
    "plausibleStartBeforeEnd": 1,
    "plausibleValueLow": 1,
    "plausibleValueHigh": 1,
    "withinVisitDates": 5,
}
# Tables that many people have no row in: none fails for it. Everybody has a period.
_PERSON_THRESHOLDS: Mapping[str, float] = {
    "observation_period": 0,
    "visit_detail": 100,
    "device_exposure": 100,
    "death": 100,
}
# Columns whose concept may well be 0, or must not be; of the others up to 5 per cent may.
_CONCEPT_THRESHOLDS: Mapping[str, float] = {
    "race_concept_id": 100,
    "ethnicity_concept_id": 100,
    "place_of_service_concept_id": 100,
    "country_concept_id": 100,
    "relationship_concept_id": 100,
    "domain_concept_id_1": 100,
    "domain_concept_id_2": 100,
}
# How many checks of single concepts the Dashboard 2.8.4 resolves to.
_CONCEPT_CHECKS = {
    "plausibleGender": 287,
    "plausibleGenderUseDescendants": 4,
    "plausibleUnitConceptIds": 181,
}


@dataclass(frozen=True)
class CheckResult:
    """The outcome of a check."""

    check: str
    level: str
    table: str
    field: str
    status: Status
    violations: int = 0
    rows: int = 0
    threshold: float = 0
    reason: str = ""


def run_checks(lake: Lake) -> list[CheckResult]:
    """Run all checks over the OMOP tables of a lake."""
    state = load_state(lake)
    if state is None or not lake.has_table(table_name("person")):
        raise NotFound("The lake has no OMOP tables: run `ehr lake omop build` first.")
    results = []
    # A copy on disk, gone afterwards: a thousand checks read it, and tables may exceed the memory.
    # It lies in the lake's folder, where an erasure finds what a crash left.
    with (
        open_work_folder(lake) as folder,
        duckdb.connect(str(folder / "cdm.duckdb")) as connection,
    ):
        schemas: dict[str, pa.Schema] = {}
        for name in load_cdm():
            path = table_name(name)
            if lake.has_table(path):
                data = lake.open_table(path).to_pyarrow_dataset()
                connection.register("source", data)
                connection.execute(f"CREATE TABLE {name} AS SELECT * FROM source")  # noqa: S608
                connection.unregister("source")
                schemas[name] = data.schema
        has_vocabulary = bool(state.vocabulary)
        for check in list_checks(schemas, has_vocabulary):
            results.append(_run(connection, check))
    for name, number in _CONCEPT_CHECKS.items():
        why = "the Dashboard's list of concepts is not shipped"
        result = CheckResult(name, "CONCEPT", "", "", "not applicable", reason=why)
        results += [result] * number
    return results


def summarize_checks(results: list[CheckResult]) -> dict[str, dict[str, int]]:
    """Return by check, and for all, how many were executed, passed, failed, not applicable."""
    summary: dict[str, dict[str, int]] = {}
    for name in [*sorted({result.check for result in results}), "all"]:
        counts = Counter(result.status for result in results if name in (result.check, "all"))
        summary[name] = {
            "executed": counts["passed"] + counts["failed"],
            "passed": counts["passed"],
            "failed": counts["failed"],
            "not applicable": counts["not applicable"],
        }
    return summary


def write_csv(results: list[CheckResult], file: Path) -> None:
    """Write one line for each check."""
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, list(asdict(results[0])))
        writer.writeheader()
        writer.writerows(asdict(result) for result in results)


def _run(connection: duckdb.DuckDBPyConnection, check: Check) -> CheckResult:
    place = (check.name, check.level, check.table, check.field)
    if check.not_applicable:
        return CheckResult(*place, "not applicable", reason=check.not_applicable)
    rows = _count(connection, check.rows)
    if not rows:
        return CheckResult(*place, "not applicable", reason="there are no rows to look at")
    violations = _count(connection, check.violations)
    threshold = _THRESHOLDS.get(check.name, 0)
    if check.name == "measurePersonCompleteness":
        threshold = _PERSON_THRESHOLDS.get(check.table, threshold)
    elif check.name == "standardConceptRecordCompleteness":
        is_exact = check.table.endswith("_era") or check.field.endswith("_type_concept_id")
        threshold = 0 if is_exact else _CONCEPT_THRESHOLDS.get(check.field, threshold)
    is_failed = 100 * violations / rows > threshold
    return CheckResult(*place, "failed" if is_failed else "passed", violations, rows, threshold)


def _count(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    row = connection.execute(sql).fetchone()
    return int(row[0] or 0) if row else 0


def to_json(results: list[CheckResult]) -> dict[str, Any]:
    """Return summary and results as JSON."""
    return {
        "summary": summarize_checks(results),
        "results": [asdict(result) for result in results if result.level != "CONCEPT"],
    }
