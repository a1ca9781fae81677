"""The official SQL on FHIR v2 suite, run through the compiler and Spark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ehr_etl.gold.view_engines import create_spark_engine
from ehr_etl.sql_on_fhir.official_suite import Case, read_cases

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

SUITE = Path(__file__).resolve().parents[3] / "shared" / "data" / "sql-on-fhir-v2" / "tests"


def _cases() -> list[Any]:
    if not SUITE.is_dir():
        return []
    return [pytest.param(case, id=f"{case.file}: {case.title}") for case in read_cases(SUITE)]


@pytest.mark.parametrize("case", _cases())
def test_official_suite(spark: SparkSession, case: Case) -> None:
    assert case.passes(create_spark_engine(spark))
