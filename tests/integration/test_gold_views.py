"""Each view of the lake, on the example beside it: resources in, rows out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ehr_etl.gold.library import list_view_names, load_view
from ehr_etl.sql_on_fhir import compile_view
from tests.conftest import ROOT

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

EXAMPLES = ROOT / "tests" / "data" / "gold_views"


@pytest.mark.parametrize("name", list_view_names())
def test_a_view_turns_its_example_into_rows(spark: SparkSession, name: str) -> None:
    example = json.loads((EXAMPLES / f"{name}.json").read_text("utf-8"))
    records = [(r["resourceType"], json.dumps(r)) for r in example["resources"]]
    source = spark.createDataFrame(records, "type STRING, resource STRING")
    source.createOrReplaceTempView("example_resources")

    rows = spark.sql(compile_view(load_view(name)).sql("example_resources")).collect()

    assert [row.asDict() for row in rows] == example["rows"]
