"""Gold tables: views run over deid for research, or over silver inside the trusted zone.

A row of a view depends on one resource, so a gold table is kept by resource: the rows of those that
changed are taken out and made anew. The definition of a user's own view is kept beside its table;
without it nobody could take out whoever leaves.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import orjson
import pyarrow as pa
from deltalake import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import to_arrow_schema

from ehr_etl.gold.library import list_view_names, load_view
from ehr_etl.lake import GOLD_BUCKET, GOLD_CARRIED, GOLD_KEY, Lake, gold_table_name, read_table
from ehr_etl.spark.java_errors import translate_java_errors
from ehr_etl.sql_on_fhir import ViewDefinition, compile_view, parse_view
from ehr_etl.tables.bucketed import Buckets, delete_keys_and_add, table_properties
from ehr_etl.tables.deid import DEID_COLUMNS
from ehr_fhir.errors import EhrError, Invalid

__all__ = [
    "SOURCES",
    "build_gold_table",
    "create_gold_table",
    "drop_table_on_failure",
    "list_gold_views",
    "run_identified_views",
    "run_view",
    "update_gold_table",
    "view_digest",
]

SOURCES = ("deid", "silver")


def run_view(
    spark: SparkSession, lake: Lake, view: ViewDefinition, source: str = "deid"
) -> DataFrame:
    """Return the table of a view over deid, or over silver with identities.

    Lazy: no row is read before the frame is.
    """
    if source not in SOURCES:
        raise Invalid(f"A view reads {' or '.join(SOURCES)}, not {source!r}.")
    compiled = compile_view(view)
    with translate_java_errors(f"reading {source}"):
        records = read_table(spark, lake, source)
        if source == "silver":
            records = records.where("NOT deleted")
        # One temporary view per source: frames of two sources live side by side, and Spark
        # resolves the name when a query is analysed.
        name = f"view_source_{source}"
        records.createOrReplaceTempView(name)
        return spark.sql(compiled.sql(name))


def run_identified_views(spark: SparkSession, lake: Lake) -> Mapping[str, DataFrame]:
    """Return the lake's own views over silver, for operations inside the trusted zone (scoring)."""
    return {name: run_view(spark, lake, load_view(name), "silver") for name in list_view_names()}


def list_gold_views(lake: Lake) -> dict[str, ViewDefinition]:
    """Return the views that have a gold table: the lake's own, and those of users."""
    views = {name: load_view(name) for name in list_view_names()}
    if lake.views_folder.is_dir():
        for file in sorted(lake.views_folder.glob("*.json")):
            view = parse_view(orjson.loads(file.read_bytes()))
            views.setdefault(view.name, view)
    return views


@contextmanager
def drop_table_on_failure(lake: Lake, view: ViewDefinition, dropped: set[str]) -> Iterator[None]:
    """Delete a user's view, table and definition, that does not bear the data.

    It must not hold up who leaves the lake. Its table's name is added to `dropped`. A view of the
    lake's own raises its error.
    """
    try:
        yield
    except EhrError:
        if view.name in list_view_names():
            raise
        (lake.views_folder / f"{view.name}.json").unlink(missing_ok=True)
        shutil.rmtree(lake.table_path(gold_table_name(view.name)), ignore_errors=True)
        dropped.add(gold_table_name(view.name))


def view_digest(view: ViewDefinition, deid: str) -> str:
    """Return a digest of how the rows of a view are made from silver."""
    return hashlib.sha256(f"{deid}\n{view!r}".encode()).hexdigest()[:32]


def build_gold_table(spark: SparkSession, lake: Lake, view: ViewDefinition) -> None:
    """Write a view over deid to its gold table in one commit; readers see the old or the new."""
    name = gold_table_name(view.name)
    path = str(lake.table_path(name))
    compiled = compile_view(view)
    with translate_java_errors(f"building {name}"):
        read_table(spark, lake, "deid").createOrReplaceTempView("view_source_keyed")
        rows = spark.sql(compiled.sql("view_source_keyed", GOLD_CARRIED))
        _create_table(lake, name, rows)
        rows.repartition(2, GOLD_BUCKET).write.format("delta").mode("overwrite").option(
            "overwriteSchema", "true"
        ).partitionBy(GOLD_BUCKET).save(path)


def create_gold_table(spark: SparkSession, lake: Lake, view: ViewDefinition) -> None:
    """Create the gold table of a view, empty, unless it is there."""
    name = gold_table_name(view.name)
    with translate_java_errors(f"creating {name}"):
        spark.createDataFrame([], DEID_COLUMNS).createOrReplaceTempView("view_source_empty")
        _create_table(
            lake, name, spark.sql(compile_view(view).sql("view_source_empty", GOLD_CARRIED))
        )


def _create_table(lake: Lake, name: str, rows: DataFrame) -> None:
    if not lake.has_table(name):
        DeltaTable.create(
            str(lake.table_path(name)),
            to_arrow_schema(rows.schema),
            partition_by=GOLD_BUCKET,
            configuration=table_properties(name),
        )


def update_gold_table(
    spark: SparkSession | None,
    lake: Lake,
    view: ViewDefinition,
    removed: Buckets,
    records: pa.Table,
) -> bool:
    """Replace the rows of some records of deid; return whether anything was written.

    `records` are the rows of deid as they are now, of the view's type; without any no Spark is
    needed.
    """
    name = gold_table_name(view.name)
    if spark is None or records.num_rows == 0:
        table = DeltaTable(str(lake.table_path(name)))
        rows = pa.table(table.to_pyarrow_dataset().schema.empty_table())
    else:
        with translate_java_errors(f"updating {name}"):
            spark.createDataFrame(records).createOrReplaceTempView("view_source_changed")
            rows = spark.sql(compile_view(view).sql("view_source_changed", GOLD_CARRIED)).toArrow()
    return delete_keys_and_add(
        lake, name, removed, rows, lambda found: found.column(GOLD_KEY), column=GOLD_BUCKET
    )
