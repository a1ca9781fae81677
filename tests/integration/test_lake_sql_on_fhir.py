"""The official SQL on FHIR v2 suite, run through the compiler and Spark."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ehr_etl.sql_on_fhir import compile_view, parse_view
from ehr_fhir.errors import EhrError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

SUITE = Path(__file__).resolve().parents[3] / "shared" / "data" / "sql-on-fhir-v2" / "tests"
# Each with the reason; the test fails when one of them passes, so that the list stays true.
_BOUNDARIES = "lowBoundary() and highBoundary() (experimental) need the digits as written"
NOT_YET: dict[tuple[str, str], str] = {
    ("fn_boundary", f"{kind} {function}"): _BOUNDARIES
    for kind in ("decimal", "datetime", "date", "time")
    for function in ("lowBoundary", "highBoundary")
}


def _cases() -> list[Any]:
    found = []
    for file in sorted(SUITE.glob("*.json")):
        content = json.loads(file.read_text(), parse_float=Decimal)
        for test in content["tests"]:
            case = (file.stem, content["resources"], test)
            found.append(pytest.param(*case, id=f"{file.stem}: {test['title']}"))
    return found


def _run(spark: SparkSession, resources: list[dict], test: dict) -> tuple[list[str], list[dict]]:
    compiled = compile_view(parse_view(test["view"]))
    rows = [(r["resourceType"], json.dumps(r, default=float)) for r in resources]
    source = spark.createDataFrame(rows, "type STRING, resource STRING")
    source.createOrReplaceTempView("suite_resources")
    frame = spark.sql(compiled.sql("suite_resources"))
    return frame.columns, [row.asDict(recursive=True) for row in frame.collect()]


def _sorted(rows: list[dict]) -> list[str]:
    def plain(value: Any) -> Any:
        number = isinstance(value, int | Decimal) and not isinstance(value, bool)
        return float(value) if number else value

    return sorted(json.dumps({k: plain(v) for k, v in row.items()}, sort_keys=True) for row in rows)


def _passes(spark: SparkSession, resources: list[dict], test: dict) -> bool:
    from pyspark.errors import PySparkException

    try:
        columns, rows = _run(spark, resources, test)
    except (EhrError, PySparkException):
        return bool(test.get("expectError"))
    if test.get("expectError"):
        return False
    if "expectColumns" in test and columns != test["expectColumns"]:
        return False
    return _sorted(rows) == _sorted(test["expect"])


@pytest.mark.parametrize(("file", "resources", "test"), _cases())
def test_official_suite(spark: SparkSession, file: str, resources: list[dict], test: dict) -> None:
    reason = NOT_YET.get((file, test["title"]))

    passed = _passes(spark, resources, test)

    assert passed == (reason is None), reason or "the suite's rows differ"


def test_the_list_of_open_tests_names_only_tests_of_the_suite(shared_data: Path) -> None:
    known = {(case.values[0], case.values[2]["title"]) for case in _cases()}

    assert NOT_YET.keys() <= known
