"""K-anonymous extracts on Spark are those of one process, and meet the same terms."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from ehr_cli.main import app
from ehr_fhir.errors import Unprocessable
from ehr_privacy.risk import AnonymityTerms, anonymize, measure_diversity, measure_risk
from tests.unit.privacy.test_risk import QUASI, people

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.spark


def read_frame(spark: SparkSession, folder: Path, table: pa.Table) -> DataFrame:
    pq.write_table(table, folder / "people.parquet")
    return spark.read.parquet(str(folder / "people.parquet"))


def rows(table: pa.Table) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(row.values()) for row in table.select([*QUASI, "code"]).to_pylist())


def test_the_extract_is_that_of_one_process_and_meets_the_terms(
    spark: SparkSession, tmp_path: Path
) -> None:
    """Row for row, where the first cuts are made from counts."""
    from ehr_analytics.spark_extract import anonymize_on_spark

    table, terms = people(1500, seed=3), AnonymityTerms(10, "code", 2, 0.4)
    frame = read_frame(spark, tmp_path, table)

    released = anonymize_on_spark(frame, QUASI, terms, part_cells=60).toArrow()

    assert rows(released) == rows(anonymize(table, QUASI, terms))
    assert measure_risk(released, QUASI).k >= 10
    report = measure_diversity(released, QUASI, "code")
    assert report.distinct >= 2
    assert report.closeness <= 0.4
    assert measure_risk(released, QUASI).classes > 20


@pytest.mark.usefixtures("spark")
def test_the_command_writes_the_same_on_spark(tmp_path: Path) -> None:
    table = people(600, seed=4)
    file, out = tmp_path / "people.parquet", tmp_path / "out.parquet"
    pq.write_table(table, file)
    options = ["--quasi", ",".join(QUASI), "--sensitive", "code", "--l", "2", "--spark"]

    done = CliRunner().invoke(app, ["privacy", "extract", str(file), "--out", str(out), *options])

    assert done.exit_code == 0, done.output
    expected = anonymize(table, QUASI, AnonymityTerms(10, "code", 2))
    assert rows(pq.read_table(out)) == rows(expected)


def test_what_cannot_be_met_is_refused_on_spark_too(spark: SparkSession, tmp_path: Path) -> None:
    from ehr_analytics.spark_extract import anonymize_on_spark

    with pytest.raises(Unprocessable, match="do not meet the terms"):
        anonymize_on_spark(read_frame(spark, tmp_path, people(5)), QUASI, AnonymityTerms(10))
