"""A folder of OMOP CDM 5.4 tables (Parquet, CSV) as the views that tasks read.

So the tasks' own files, features and evaluation run on it unchanged. Dates are read to the day. A
condition is the code of its concept where the folder has the table `concept`, else the number of
its concept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pandas as pd

from ehr_analytics.cohorts.sources import source_of_view
from ehr_etl.gold.library import list_view_names, load_library_view, load_view
from ehr_fhir.errors import NotFound, Unprocessable
from ehr_models.imports.source_table import check_unpacked_size

# Columns of the CDM that are read, by table; the first is the table's key.
_REQUIRED: Mapping[str, Sequence[str]] = {
    "person": ("person_id", "gender_concept_id", "year_of_birth"),
    "visit_occurrence": (
        *("visit_occurrence_id", "person_id", "visit_concept_id"),
        *("visit_start_date", "visit_end_date", "care_site_id"),
    ),
    "condition_occurrence": (
        *("condition_occurrence_id", "person_id", "condition_concept_id"),
        *("condition_start_date", "condition_end_date"),
    ),
}
# Tables that need not be there: they are empty then.
_OPTIONAL: Mapping[str, Sequence[str]] = {
    "drug_exposure": (
        *("drug_exposure_id", "person_id"),
        *("drug_concept_id", "drug_exposure_start_date"),
    ),
    "procedure_occurrence": (
        *("procedure_occurrence_id", "person_id"),
        *("procedure_concept_id", "procedure_date"),
    ),
    "measurement": (
        *("measurement_id", "person_id", "measurement_concept_id", "measurement_date"),
        *("value_as_number", "unit_concept_id", "unit_source_value"),
    ),
    "death": ("person_id",),
    "concept": ("concept_id", "concept_code", "vocabulary_id"),
}
_TABLES = {**_REQUIRED, **_OPTIONAL}
_MAY_BE_EMPTY = frozenset(
    {
        *("condition_end_date", "care_site_id"),
        *("value_as_number", "unit_concept_id", "unit_source_value"),
    }
)
_READERS = (
    (".parquet", "read_parquet('{}')"),
    (".csv", "read_csv('{}', all_varchar = true, header = true)"),
    (".csv.gz", "read_csv('{}', all_varchar = true, header = true)"),
    ("/*.parquet", "read_parquet('{}')"),
)
# Systems of FHIR by the vocabularies of OMOP whose codes are rolled up.
_SYSTEMS = """
    CASE vocabulary_id WHEN 'ICD10' THEN 'http://hl7.org/fhir/sid/icd-10'
      WHEN 'ICD10CM' THEN 'http://hl7.org/fhir/sid/icd-10-cm'
      WHEN 'ATC' THEN 'http://www.whocc.no/atc' ELSE coalesce(vocabulary_id, 'OMOP') END"""


def _select_codes(
    table: str, concept: str, day: str, *, code: str, system: str, at: str, further: str = ""
) -> str:
    """Return the SQL of a view of coded events: the names of its code, system and date."""
    return f"""
        SELECT {_TABLES[table][0]} AS id, person_id AS patient_id,
          coalesce(concept_code, {concept}) AS {code}, {_SYSTEMS} AS {system}, {day} AS {at}
          {further}
        FROM {table} LEFT JOIN concept ON concept_id = {concept}
        WHERE {concept} <> '0' ORDER BY id"""  # noqa: S608 - names of the CDM


# Concepts of the CDM's own vocabularies Gender and Visit. An emergency visit that became an
# inpatient one (262) began as an emergency.
_VIEWS: Mapping[str, str] = {
    "patient_demographics": """
        SELECT person_id AS id,
          CASE gender_concept_id WHEN '8507' THEN 'male' WHEN '8532' THEN 'female' END AS gender,
          CAST(year_of_birth AS BIGINT) AS birth_year,
          person_id IN (SELECT person_id FROM death) AS deceased
        FROM person ORDER BY id""",
    "encounter_flat": """
        SELECT visit_occurrence_id AS id, person_id AS patient_id, 'finished' AS status,
          CASE visit_concept_id WHEN '9201' THEN 'IMP' WHEN '9203' THEN 'EMER'
            WHEN '262' THEN 'EMER' WHEN '9202' THEN 'AMB' END AS class,
          visit_start_date AS start, visit_end_date AS "end",
          care_site_id AS organization_id
        FROM visit_occurrence ORDER BY id""",
    "condition_flat": _select_codes(
        "condition_occurrence",
        "condition_concept_id",
        "condition_start_date",
        code="code",
        system="code_system",
        at="onset",
        further=", condition_end_date AS abatement",
    ),
    "medication_request": _select_codes(
        "drug_exposure",
        "drug_concept_id",
        "drug_exposure_start_date",
        code="medication_code",
        system="medication_system",
        at="authored_on",
    ),
    "procedure": _select_codes(
        "procedure_occurrence",
        "procedure_concept_id",
        "procedure_date",
        code="code_code",
        system="code_system",
        at="performed_start",
    ),
    "laboratory": _select_codes(
        "measurement",
        "measurement_concept_id",
        "measurement_date",
        code="code_code",
        system="code_system",
        at="effective",
        further=""", CAST(value_as_number AS DOUBLE) AS value_number,
          coalesce((SELECT u.concept_code FROM concept u WHERE u.concept_id = unit_concept_id),
            unit_source_value) AS value_unit""",
    ),
}


@dataclass(frozen=True)
class OmopViews:
    """Views by name, and what of the tables had no place in them, in words and rows."""

    views: Mapping[str, pd.DataFrame]
    not_read: Mapping[str, int]


def read_omop_folder(folder: Path) -> OmopViews:
    """Return the views of a folder of tables; Unprocessable names table and column of a fault."""
    if not folder.is_dir():
        raise NotFound(f"There is no folder {folder}.")
    with duckdb.connect() as connection:
        for table in _TABLES:
            _create_table(connection, folder, table)
            if table != "death":
                _check_rows(connection, table)
        views = {
            name: _add_absent_columns(name, connection.execute(sql).fetch_df())
            for name, sql in _VIEWS.items()
        }
        unknown = (
            "SELECT count(*) FROM visit_occurrence WHERE visit_concept_id NOT IN"
            " ('9201', '9203', '262', '9202')"
        )
        without_code = "SELECT count(*) FROM condition_occurrence WHERE condition_concept_id = '0'"
        return OmopViews(
            views,
            {
                "visits whose kind the tasks do not know": _count(connection, unknown),
                "conditions without a standard concept": _count(connection, without_code),
            },
        )


def _add_absent_columns(name: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with all columns of the view; what OMOP does not tell is empty."""
    view = load_view(name) if name in list_view_names() else load_library_view(name)
    columns = source_of_view(view).columns
    return rows.assign(**{column: None for column in columns if column not in rows})


def _create_table(connection: duckdb.DuckDBPyConnection, folder: Path, table: str) -> None:
    """Read a table's columns as texts; an optional table that is not there is empty."""
    columns = _TABLES[table]
    names = ", ".join(f"CAST({column} AS VARCHAR) AS {column}" for column in columns)
    source = _find_source(folder, table)
    if source is None:
        if table in _REQUIRED:
            raise Unprocessable(
                f"{folder.name} has no table {table}: give {table}.parquet or {table}.csv."
            )
        empty = ", ".join(f"{column} VARCHAR" for column in columns)
        connection.execute(f"CREATE TABLE {table} ({empty})")
        return
    try:
        described = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()  # noqa: S608
        if absent := sorted(set(columns) - {str(row[0]).lower() for row in described}):
            raise Unprocessable(f"The table {table} has no column {', '.join(absent)}.")
        connection.execute(f"CREATE TABLE {table} AS SELECT {names} FROM {source}")  # noqa: S608
    except duckdb.Error as error:
        # DuckDB's text would quote the line.
        raise Unprocessable(f"The table {table} cannot be read.") from error


def _find_source(folder: Path, table: str) -> str | None:
    for ending, reader in _READERS:
        pattern = f"{table}{ending}"
        if any(folder.glob(pattern)):
            if pattern.endswith(".gz"):
                check_unpacked_size(folder / pattern)
            return reader.format(str(folder / pattern).replace("'", "''"))
    return None


def _check_rows(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    key, columns = _TABLES[table][0], _TABLES[table]

    def refuse(condition: str, fault: str) -> None:
        if rows := _count(connection, f"SELECT count(*) FROM {table} WHERE {condition}"):  # noqa: S608
            raise Unprocessable(f"The table {table}: {fault} ({rows:,} rows).")

    for column in columns:
        if column not in _MAY_BE_EMPTY:
            refuse(f"{column} IS NULL", f"{column} is empty")
        if column.endswith("_date"):
            # The day of a date or of an instant.
            connection.execute(f"UPDATE {table} SET {column} = left({column}, 10)")  # noqa: S608
            refuse(
                f"{column} IS NOT NULL AND TRY_CAST({column} AS DATE) IS NULL",
                f"{column} is not a date such as 2024-05-31",
            )
    repeated = f"SELECT count(*) - count(DISTINCT {key}) FROM {table}"  # noqa: S608
    if rows := _count(connection, repeated):
        raise Unprocessable(f"The table {table}: the same {key} twice ({rows:,} rows).")
    if table == "person":
        year = "TRY_CAST(year_of_birth AS INTEGER)"
        refuse(f"{year} IS NULL OR {year} NOT BETWEEN 1850 AND 2200", "year_of_birth is no year")
    elif "person_id" in columns:
        refuse(
            "person_id NOT IN (SELECT person_id FROM person)", "person_id is in no row of person"
        )
    if table == "measurement":
        refuse(
            "value_as_number IS NOT NULL AND TRY_CAST(value_as_number AS DOUBLE) IS NULL",
            "value_as_number is not a number",
        )
    if table == "visit_occurrence":
        refuse("visit_end_date < visit_start_date", "visit_end_date is before visit_start_date")


def _count(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    row = connection.execute(sql).fetchone()
    return int(row[0]) if row else 0
