"""The consent rules as tables of the lake, recomputed from silver in each run.

They are small (a few rows per patient), so they are built in the driver and written without Spark.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import orjson
import pyarrow as pa
from pyspark.sql import SparkSession

from ehr_etl.lake import Lake, read_table, write_small_table
from ehr_privacy.consent import (
    SOURCE_TABLES,
    TABLES,
    RuleRow,
    extend_to_merged_accounts,
    stored_rule_rows,
)

RULE_TYPES = tuple(SOURCE_TABLES)

# Which of them ended for good, only the gateway knows. The lake answers no clinician's question, so
# it takes over none: what they would open stays closed.
_OPENING_TABLES = ("consent_grant", "consent_emergency")
_ARROW_TYPES = {"TEXT": pa.string(), "INTEGER": pa.int64()}


def refresh_consent_tables(
    spark: SparkSession, lake: Lake, memberships: Iterable[RuleRow] = ()
) -> Mapping[str, pa.Table]:
    """Recompute the consent tables from silver, write them, and return them by name.

    `memberships` are the rows that accounts make, which are no resources.
    """
    resources = (
        read_table(spark, lake, "silver")
        .where(f"type IN {RULE_TYPES} AND NOT deleted")
        .select("resource")
        .collect()
    )
    tables = build_consent_tables([orjson.loads(row["resource"]) for row in resources], memberships)
    for name, rows in tables.items():
        write_small_table(lake, f"consent/{name}", rows)
    return tables


def write_held_facts(lake: Lake, rows: pa.Table) -> pa.Table:
    """Write the table of held facts whole and return it."""
    write_small_table(lake, "consent/held_fact", rows)
    return rows


def build_consent_tables(
    resources: list[Mapping[str, object]], memberships: Iterable[RuleRow] = ()
) -> Mapping[str, pa.Table]:
    """Return every consent table, empty ones too, rows in a fixed order."""
    rows: dict[str, list[dict[str, object]]] = {name: [] for name in TABLES}
    for row in extend_to_merged_accounts(
        row for resource in resources for row in stored_rule_rows(resource)
    ):
        if row.table not in _OPENING_TABLES:
            rows[row.table].append(dict(row.values))
    for row in memberships:
        rows[row.table].append(dict(row.values))
    return {name: _to_arrow_table(name, rows[name]) for name in TABLES}


def register_consent_views(spark: SparkSession, tables: Mapping[str, pa.Table]) -> None:
    """Register the tables as temporary views of Spark SQL under their own names."""
    for name, rows in tables.items():
        spark.createDataFrame(rows).createOrReplaceTempView(name)


def _to_arrow_table(name: str, rows: list[dict[str, object]]) -> pa.Table:
    columns = TABLES[name]
    schema = pa.schema([(column.name, _ARROW_TYPES[column.type]) for column in columns])
    ordered = sorted(rows, key=lambda row: [str(row.get(column.name)) for column in columns])
    return pa.Table.from_pylist(ordered, schema=schema)
