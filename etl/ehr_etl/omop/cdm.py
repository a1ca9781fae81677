"""Tables and columns of the OMOP Common Data Model 5.4, from its published field list.

`cdm_fields.csv` has, for each column, what OHDSI's CommonDataModel release 5.4 says: datatype,
whether it may be null, and the table and domain that a foreign key points to (Apache-2.0).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, TypeVar

import pyarrow as pa

from ehr_etl.lake import GOLD_BUCKET, GOLD_KEY

__all__ = [
    "CDM_VERSION",
    "CONCEPT_COLUMNS",
    "ETL_TABLES",
    "PERSON_TABLES",
    "VOCABULARY_TABLES",
    "CdmField",
    "build_table",
    "concatenate_lists",
    "load_cdm",
    "table_name",
    "table_schema",
]

Row = dict[str, Any]
_Item = TypeVar("_Item")

CDM_VERSION = "5.4"
# Tables whose rows are made of one person's records, in the order in which they are written.
PERSON_TABLES = (
    *("person", "observation_period", "visit_occurrence", "visit_detail"),
    *("condition_occurrence", "drug_exposure", "procedure_occurrence", "device_exposure"),
    *("measurement", "observation", "death", "condition_era", "drug_era"),
)
VOCABULARY_TABLES = (
    *("concept", "vocabulary", "domain", "concept_class", "concept_relationship"),
    *("relationship", "concept_synonym", "concept_ancestor", "drug_strength"),
)
# The column whose concept says what a row is.
CONCEPT_COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "person": "gender_concept_id",
        "visit_occurrence": "visit_concept_id",
        "visit_detail": "visit_detail_concept_id",
        "condition_occurrence": "condition_concept_id",
        "drug_exposure": "drug_concept_id",
        "procedure_occurrence": "procedure_concept_id",
        "device_exposure": "device_concept_id",
        "measurement": "measurement_concept_id",
        "observation": "observation_concept_id",
        "provider": "specialty_concept_id",
        "care_site": "place_of_service_concept_id",
    }
)
# Outside of the CDM, in a folder of its own: what links rows to records, why a concept is 0.
ETL_TABLES: Mapping[str, tuple[tuple[str, pa.DataType], ...]] = MappingProxyType(
    {
        # One row for each row that a record gave; for one that gave none, the reason.
        "source_records": (
            ("resource_type", pa.string()),
            ("record", pa.string()),
            ("table_name", pa.string()),
            ("row_id", pa.int64()),
            # Code system of the code that says what the row is.
            ("system", pa.string()),
            ("reason", pa.string()),
        ),
        "unmapped_codes": (
            ("table_name", pa.string()),
            ("row_id", pa.int64()),
            ("field", pa.string()),
            ("system", pa.string()),
            ("code", pa.string()),
            ("reason", pa.string()),
            # The table was chosen by the type of the record, not by the concept's domain.
            ("domain_unverified", pa.bool_()),
        ),
        # Which records of no patient (medications, doctors, places) a person's rows were made with.
        "shared_references": (("target", pa.string()),),
        # What of them counts; as the persons' rows were last made with it.
        "shared_records": (("value", pa.string()),),
        # In which buckets of deid the records of a person are, where those are several.
        "split_persons": (("place", pa.int32()),),
    }
)
# Event times are wall-clock times of the jurisdiction's zone, as the CDM's have no zone.
_ARROW_TYPES: Mapping[str, pa.DataType] = {
    "integer": pa.int64(),
    "float": pa.float64(),
    "date": pa.date32(),
    "datetime": pa.timestamp("us"),
}


@dataclass(frozen=True)
class CdmField:
    """One column of the CDM."""

    table: str
    name: str
    required: bool
    datatype: str
    is_primary_key: bool
    foreign_table: str
    domain: str

    @property
    def arrow_type(self) -> pa.DataType:
        """Return the column's type in the lake; ids are integers of 64 bits."""
        return _ARROW_TYPES.get(self.datatype, pa.string())


@cache
def load_cdm() -> Mapping[str, tuple[CdmField, ...]]:
    """Return the columns of each table of the CDM.

    >>> [field.name for field in load_cdm()["death"]][:2]
    ['person_id', 'death_date']
    """
    tables: dict[str, tuple[CdmField, ...]] = {}
    with (files(__package__) / "cdm_fields.csv").open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            field = CdmField(
                row["table"],
                row["field"],
                row["required"] == "yes",
                row["datatype"],
                row["primary_key"] == "yes",
                row["foreign_table"],
                row["domain"],
            )
            tables[field.table] = (*tables.get(field.table, ()), field)
    return MappingProxyType(tables)


def table_name(name: str) -> str:
    """Return the name in the lake of a table of the CDM, or of one beside it.

    >>> table_name("person"), table_name("unmapped_codes")
    ('omop/person', 'omop_etl/unmapped_codes')
    """
    return f"omop_etl/{name}" if name in ETL_TABLES else f"omop/{name}"


@cache
def table_schema(name: str) -> pa.Schema:
    """Return the columns of a table: those by which the lake finds rows again, then its own."""
    own = ETL_TABLES.get(name) or [(field.name, field.arrow_type) for field in load_cdm()[name]]
    return pa.schema([(GOLD_BUCKET, pa.int32()), (GOLD_KEY, pa.string()), *own])


def concatenate_lists(parts: Iterable[Mapping[str, list[_Item]]]) -> dict[str, list[_Item]]:
    """Concatenate lists of rows or files that several parts have by table.

    >>> concatenate_lists([{"death": [1]}, {"death": [2], "person": [3]}])
    {'death': [1, 2], 'person': [3]}
    """
    whole: dict[str, list[_Item]] = {}
    for part in parts:
        for name, items in part.items():
            whole.setdefault(name, []).extend(items)
    return whole


def build_table(name: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return rows as an Arrow table; a column that a row does not have is null.

    Dates and times may be ISO text, as they are where rows came through JSON.
    """
    schema = table_schema(name)
    temporal = {
        field.name: date.fromisoformat if pa.types.is_date(field.type) else datetime.fromisoformat
        for field in schema
        if pa.types.is_temporal(field.type)
    }
    typed = []
    for row in rows:
        unknown = row.keys() - set(schema.names)
        if unknown:
            raise ValueError(f"{name} has no column {', '.join(sorted(unknown))}")
        copy = dict(row)
        for column, parse in temporal.items():
            if isinstance(copy.get(column), str):
                copy[column] = parse(copy[column])
        typed.append(copy)
    return pa.Table.from_pylist(typed, schema=schema)
