"""Deid: the records that research may use, scrubbed by the allow-list of `ehr_privacy`.

The table is written whole each run, so that an opt-out, a restriction or a deletion is gone from
it at the next refresh. Files of older versions of the table stay on disk: nothing vacuums them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ehr_etl.lake import TABLES, Lake, create_table, read_table
from ehr_etl.spark.sql_text import bind_parameters
from ehr_etl.tables.consent_tables import register_consent_views
from ehr_privacy.consent import (
    RECORD_COLUMNS,
    HeldFact,
    Record,
    apply_held_facts,
    record_facts,
    research_predicate,
)
from ehr_privacy.consent.label_rules import LabelRules, load_labels
from ehr_privacy.consent.model import read_columns
from ehr_privacy.deid import Deidentifier, load_rules, pseudonym

_DEID_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("type", "id", "patient", "resource")],
)
_LABEL_SCHEMA = pa.schema([("pk", pa.int64()), ("label", pa.string())])

# Columns of the record table that silver has not, and the labels of held facts.
_NOTHING_ADDED = (
    "CAST(NULL AS STRING) AS added_episodes",
    "CAST(NULL AS STRING) AS added_people",
    "CAST(NULL AS LONG) AS added_from",
    "CAST(NULL AS LONG) AS added_to",
    # No Consent of any kind is for research.
    "0 AS clinical_consent",
    "CAST(array() AS ARRAY<STRING>) AS held_labels",
)

Batches = Iterable[pa.RecordBatch]


def refresh_deid(
    spark: SparkSession,
    lake: Lake,
    consent: Mapping[str, pa.Table],
    held_facts: pa.Table,
    key: bytes,
    now_ms: int,
) -> None:
    """Rewrite the table deid: what research may use at `now_ms`, pseudonyms under `key`."""
    create_table(spark, lake, "deid")
    register_consent_views(spark, consent)
    permitted = select_permitted(read_table(spark, lake, "silver"), held_facts, now_ms)
    rows = deidentify(permitted, key)
    rows.write.format("delta").mode("overwrite").save(str(lake.table_path("deid")))


def select_permitted(silver: DataFrame, held_facts: pa.Table, now_ms: int) -> DataFrame:
    """Keep the records that research may use: type, id, patients, resource.

    Needs the consent tables as temporary views. Deleted records have no resource and are left out.
    """
    spark = silver.sparkSession
    stated = silver.where("NOT deleted").selectExpr("*", "position AS pk", *_NOTHING_ADDED)
    present = add_held_facts(stated, held_facts)
    present.createOrReplaceTempView("record")
    present.selectExpr("pk", "explode(patients) AS patient").createOrReplaceTempView(
        "record_patient"
    )
    labels = label_records(present, load_labels()).unionByName(
        present.selectExpr("pk", "explode(held_labels) AS label")
    )
    labels.createOrReplaceTempView("record_label")
    predicate = research_predicate(now_ms, dialect="spark", alias="r")
    condition = bind_parameters(predicate.sql, predicate.params)
    return spark.sql(
        f"SELECT type, id, patients, resource FROM record r WHERE {condition}"  # noqa: S608
    )


def add_held_facts(stated: DataFrame, held_facts: pa.Table) -> DataFrame:
    """Put the facts in force in the place of those that versions state, where any are held."""
    if held_facts.num_rows == 0:
        return stated
    held = (
        stated.sparkSession.createDataFrame(held_facts)
        .groupBy("type", "id")
        .agg(F.expr("collect_list(struct(kind, value, source)) AS held"))
    )
    concerned = stated.join(held, ["type", "id"]).select(*stated.columns, "held")
    in_force = concerned.mapInArrow(_apply_held_facts, stated.schema)
    return stated.join(held, ["type", "id"], "left_anti").select(*stated.columns).union(in_force)


def label_records(present: DataFrame, rules: LabelRules) -> DataFrame:
    """Label records by rules, those of patients who close anything by its label: pk, label.

    Other patients' labels decide nothing. Labels are not stored: a stored one could be older than
    the rules.
    """
    labelled_patients = present.sparkSession.sql(
        "SELECT p.pk FROM record_patient p JOIN consent_restriction x ON x.patient = p.patient"
        " WHERE x.label IS NOT NULL"
    )
    records = present.join(labelled_patients, "pk", "left_semi").select("pk", "author", "resource")
    return records.mapInArrow(_make_labeller(rules), "pk LONG, label STRING")


def deidentify(records: DataFrame, key: bytes) -> DataFrame:
    """Scrub each resource by the allow-list; return the columns of deid."""
    scrubbed = records.mapInArrow(_make_scrubber(key), TABLES["deid"].columns)
    # One file per type and run.
    return scrubbed.repartition(2, "type")


def _make_labeller(rules: LabelRules) -> Callable[[Batches], Batches]:
    def label_batches(batches: Batches) -> Batches:
        for batch in batches:
            rows = [
                {"pk": row["pk"], "label": label}
                for row in batch.to_pylist()
                for label in record_facts(
                    orjson.loads(row["resource"]), row["author"], rules
                ).labels
            ]
            yield pa.RecordBatch.from_pylist(rows, schema=_LABEL_SCHEMA)

    return label_batches


def _apply_held_facts(batches: Batches) -> Batches:
    for batch in batches:
        rows = [_row_in_force(row) for row in batch.to_pylist()]
        schema = batch.schema.remove(batch.schema.get_field_index("held"))
        yield pa.RecordBatch.from_pylist(rows, schema=schema)


def _row_in_force(row: dict[str, Any]) -> dict[str, Any]:
    held = [HeldFact(fact["kind"], fact["value"], fact["source"]) for fact in row.pop("held")]
    stated = Record(row["type"], row["id"], frozenset(row["patients"] or ()), **read_columns(row))
    record = apply_held_facts(stated, held)
    columns = zip((column.name for column in RECORD_COLUMNS), record.column_values, strict=True)
    return {
        **row,
        **dict(columns),
        "patients": sorted(record.patients),
        # Those that a version states are found by the rules of the run.
        "held_labels": sorted(record.labels),
    }


def _make_scrubber(key: bytes) -> Callable[[Batches], Batches]:
    def scrub_batches(batches: Batches) -> Batches:
        deidentifier = Deidentifier(load_rules(), key)
        for batch in batches:
            rows = [_scrub_row(deidentifier, key, row) for row in batch.to_pylist()]
            yield pa.RecordBatch.from_pylist([row for row in rows if row], schema=_DEID_SCHEMA)

    return scrub_batches


def _scrub_row(
    deidentifier: Deidentifier, key: bytes, row: Mapping[str, object]
) -> dict[str, str | None] | None:
    resource = deidentifier.scrub(orjson.loads(str(row["resource"])))
    if resource is None:
        return None
    patients = row["patients"]
    # A record of several patients belongs to no single row of a study.
    patient = patients[0] if isinstance(patients, list) and len(patients) == 1 else None
    return {
        "type": str(row["type"]),
        "id": str(resource["id"]),
        "patient": None if patient is None else pseudonym(key, f"Patient/{patient}"),
        "resource": orjson.dumps(resource).decode(),
    }
