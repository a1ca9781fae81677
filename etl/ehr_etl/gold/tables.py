"""Gold tables: views run over deid for research, or over silver inside the trusted zone.

A row of a view depends on one resource, so a gold table is kept by resource: the rows of those that
changed are taken out and made anew. The definition of a user's own view is kept beside its table;
without it nobody could take out whoever leaves.
"""

from __future__ import annotations

import atexit
import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import duckdb
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ehr_etl.data_quality.expectations import load_suite
from ehr_etl.duckdb_session import QueryLimits, open_duckdb
from ehr_etl.gold.library import list_view_names, load_view
from ehr_etl.gold.promotion import gate_rows
from ehr_etl.lake import (
    GOLD_BUCKET,
    GOLD_CARRIED,
    GOLD_KEY,
    TABLES,
    Lake,
    gold_table_name,
    read_table,
)
from ehr_etl.sql_on_fhir import ViewDefinition, compile_parts, parse_view
from ehr_etl.sql_on_fhir.duckdb_run import run_view_on
from ehr_etl.tables.bucketed import Buckets, create_table, delete_keys_and_add
from ehr_fhir.errors import EhrError, Invalid

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

__all__ = [
    "SOURCES",
    "create_gold_table",
    "drop_table_on_failure",
    "find_gold_view",
    "gold_rows",
    "gold_schema",
    "list_gold_views",
    "run_view",
    "update_gold_table",
    "view_digest",
]

SOURCES = ("deid", "silver")
# One thread: a rebuild runs on several processes.
_LIMITS = QueryLimits(memory_mb=4096, threads=1)


def run_view(
    spark: SparkSession, lake: Lake, view: ViewDefinition, source: str = "deid"
) -> DataFrame:
    """Return the table of a view over deid, or over silver with identities.

    Lazy: no row is read before the frame is.
    """
    if source not in SOURCES:
        raise Invalid(f"A view reads {' or '.join(SOURCES)}, not {source!r}.")
    from ehr_etl.spark.java_errors import translate_java_errors

    parts = compile_parts(view)
    with translate_java_errors(f"reading {source}"):
        records = read_table(spark, lake, source)
        if source == "silver":
            records = records.where("NOT deleted")
        # One temporary view per source: frames of two sources live side by side, and Spark
        # resolves the name when a query is analysed.
        name = f"view_source_{source}"
        records.createOrReplaceTempView(name)
        return spark.sql(" UNION ALL ".join(part.sql(name) for part in parts))


def list_gold_views(lake: Lake) -> dict[str, ViewDefinition]:
    """Return the views that have a gold table: the lake's own, and those of users."""
    views = {name: load_view(name) for name in list_view_names()}
    if lake.views_folder.is_dir():
        for file in sorted(lake.views_folder.glob("*.json")):
            view = parse_view(orjson.loads(file.read_bytes()))
            views.setdefault(view.name, view)
    return views


def find_gold_view(lake: Lake, name: str) -> ViewDefinition | None:
    """Return the definition by which a gold table is made; None for a table of no view."""
    if name in list_view_names():
        return load_view(name)
    file = lake.views_folder / f"{name}.json"
    return parse_view(orjson.loads(file.read_bytes())) if file.is_file() else None


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
        lake.delete_table(gold_table_name(view.name))
        dropped.add(gold_table_name(view.name))


def view_digest(view: ViewDefinition, deid: str) -> str:
    """Return a digest of how the rows of a view are made from silver, and which are held back."""
    suite = load_suite(view.name) if view.name in list_view_names() else {}
    return hashlib.sha256(f"{deid}\n{view!r}\n{suite!r}".encode()).hexdigest()[:32]


def gold_rows(view: ViewDefinition, records: pa.Table) -> pa.Table:
    """Return the rows of a gold table that are made of some rows of deid."""
    types = pa.array(view.resources, pa.string())
    of_type = records.filter(pc.is_in(records.column("type"), types))
    if not of_type.num_rows:
        return gold_schema(view).empty_table()
    rows = run_view_on(_open_engine(), view, lambda: of_type, _LIMITS, GOLD_CARRIED)
    return rows.cast(gold_schema(view))


@cache
def _open_engine() -> duckdb.DuckDBPyConnection:
    """Open the engine of this process, once: that takes longer than a view over one record."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(open_duckdb(_LIMITS))


def gold_schema(view: ViewDefinition) -> pa.Schema:
    """Return the columns of a gold table: those of the view, and by which the lake finds a row."""
    return _find_schema(_Definition(view, repr(view)))


@dataclass(frozen=True)
class _Definition:
    """A view and its text, by which it is told from others."""

    view: ViewDefinition = field(compare=False)
    text: str


# Chosen: more views than a lake has.
@lru_cache(256)
def _find_schema(definition: _Definition) -> pa.Schema:
    nothing = TABLES["deid"].schema.empty_table()
    view = definition.view
    return run_view_on(_open_engine(), view, lambda: nothing, _LIMITS, GOLD_CARRIED).schema


def create_gold_table(lake: Lake, view: ViewDefinition) -> None:
    """Create the gold table of a view, empty, unless it is there."""
    name = gold_table_name(view.name)
    if not lake.has_table(name):
        create_table(lake, name, gold_schema(view), GOLD_BUCKET)


def update_gold_table(
    lake: Lake, view: ViewDefinition, removed: Buckets, records: pa.Table
) -> bool:
    """Replace the rows of some records of deid; return whether anything was written.

    `records` are the rows of deid as they are now. Rows that fail are held (`promotion`).
    """
    name = gold_table_name(view.name)
    rows = gate_rows(
        lake,
        view,
        gold_rows(view, records),
        buckets=removed,
        replaced={key for keys in removed.values() for key in keys},
    )
    return delete_keys_and_add(
        lake,
        name,
        removed,
        rows,
        lambda found: found.column(GOLD_KEY),
        column=GOLD_BUCKET,
    )
