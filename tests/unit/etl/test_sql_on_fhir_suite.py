"""The official SQL on FHIR v2 suite on DuckDB, and its report."""

from __future__ import annotations

from pathlib import Path

import pytest

from ehr_etl.gold.view_engines import run_records_on_duckdb
from ehr_etl.sql_on_fhir.official_suite import build_report, count_passed, read_cases
from ehr_fhir.errors import NotFound


def test_every_official_test_passes(shared_data: Path) -> None:
    cases = list(read_cases(shared_data / "sql-on-fhir-v2" / "tests"))

    report = build_report(cases, run_records_on_duckdb)

    failed = [
        (file, test["name"])
        for file, tests in report.items()
        for test in tests["tests"]
        if not test["result"]["passed"]
    ]
    assert failed == []
    assert count_passed(report) == (134, 134)


def test_a_folder_without_tests_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no tests"):
        list(read_cases(tmp_path))
