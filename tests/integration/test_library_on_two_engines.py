"""Every view of the lake and of the library gives the same rows on Spark and on DuckDB."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ehr_etl.gold.library import (
    list_library_names,
    list_view_names,
    load_library_view,
    load_view,
)
from ehr_etl.gold.view_engines import create_spark_engine, run_records_on_duckdb

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

# A few of each type; `slow` takes all 38,569 records.
FEW = 400
VIEWS = {name: load_view(name) for name in list_view_names()} | {
    name: load_library_view(name) for name in list_library_names()
}


def _records(folder: Path, resource: str, most: int | None) -> list[tuple[str, str]]:
    with gzip.open(folder / f"{resource}.ndjson.gz", "rt", encoding="utf-8") as lines:
        return [(resource, line) for line in itertools.islice(lines, most)]


@pytest.mark.parametrize(
    "most", [pytest.param(FEW, id="few"), pytest.param(None, id="all", marks=pytest.mark.slow)]
)
def test_both_engines_give_the_same_rows(
    spark: SparkSession, shared_data: Path, most: int | None
) -> None:
    for name, view in VIEWS.items():
        folder = shared_data / "synthea-r4-bulk-47"
        records = [row for kind in view.resources for row in _records(folder, kind, most)]

        on_spark = create_spark_engine(spark)(view, records)
        on_duckdb = run_records_on_duckdb(view, records)

        assert sorted(map(str, on_spark[1])) == sorted(map(str, on_duckdb[1])), name
        assert list(on_spark[0]) == list(on_duckdb[0]), name
