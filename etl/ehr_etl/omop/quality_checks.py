"""Checks of the Data Quality Dashboard, resolved for each table and column of the CDM, as SQL."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from ehr_etl.omop.cdm import VOCABULARY_TABLES, CdmField, load_cdm, table_schema

__all__ = ["Check", "list_checks"]

# Tables of people that the completeness of persons is asked of.
_PERSON_TABLES = (
    *("observation_period", "visit_occurrence", "condition_occurrence", "drug_exposure"),
    *("procedure_occurrence", "measurement", "observation", "device_exposure", "visit_detail"),
    *("death", "condition_era", "drug_era"),
)
# Tables of the results schema, which hold no data of a source.
_NOT_CHECKED = ("cohort", "cohort_definition", *VOCABULARY_TABLES, "source_to_concept_map")
_EVENT_DATES: Mapping[str, str] = {
    "visit_occurrence": "visit_start_date",
    "visit_detail": "visit_detail_start_date",
    "condition_occurrence": "condition_start_date",
    "drug_exposure": "drug_exposure_start_date",
    "procedure_occurrence": "procedure_date",
    "device_exposure": "device_exposure_start_date",
    "measurement": "measurement_date",
    "observation": "observation_date",
}
_NOT_NEGATIVE = ("quantity", "days_supply", "refills", "drug_exposure_count", "gap_days")


@dataclass(frozen=True)
class Check:
    """A check that is to be run: SQL of violations and of rows, or why it does not apply."""

    name: str
    level: Literal["TABLE", "FIELD", "CONCEPT"]
    table: str
    field: str = ""
    violations: str = ""
    rows: str = ""
    not_applicable: str = ""


def list_checks(schemas: Mapping[str, pa.Schema], has_vocabulary: bool) -> Iterator[Check]:
    """Yield all checks of the tables that are there, by their schemas."""
    for table, fields in load_cdm().items():
        if table in _NOT_CHECKED:
            continue
        present = table in schemas
        yield Check("cdmTable", "TABLE", table, violations=f"SELECT {int(not present)}",
                    rows="SELECT 1")  # fmt: skip
        if not present:
            continue
        yield from _table_checks(table, has_vocabulary)
        for field in fields:
            yield from _structure_checks(field, schemas[table], schemas, has_vocabulary)
            yield from _completeness_checks(field)
            yield from _plausibility_checks(field)
        yield from _order_checks(table)


def _table_checks(table: str, has_vocabulary: bool) -> Iterator[Check]:
    if table.endswith("_era") and not has_vocabulary:
        why = "eras are of concepts, and no vocabulary is loaded"
        if table in _PERSON_TABLES:
            yield Check("measurePersonCompleteness", "TABLE", table, not_applicable=why)
    elif table in _PERSON_TABLES:
        yield Check(
            "measurePersonCompleteness", "TABLE", table,
            violations="SELECT count(*) FROM person p WHERE NOT EXISTS"  # noqa: S608
            f" (SELECT 1 FROM {table} t WHERE t.person_id = p.person_id)",
            rows="SELECT count(*) FROM person",
        )  # fmt: skip
    if table == "condition_era":
        yield Check(
            "measureConditionEraCompleteness", "TABLE", table,
            violations="SELECT count(DISTINCT person_id) FROM condition_occurrence"
            " WHERE condition_concept_id <> 0"
            " AND person_id NOT IN (SELECT person_id FROM condition_era)",
            rows="SELECT count(DISTINCT person_id) FROM condition_occurrence"
            " WHERE condition_concept_id <> 0",
        )  # fmt: skip
    if table == "observation_period":
        yield Check(
            "measureObservationPeriodOverlap", "TABLE", table,
            violations="SELECT count(DISTINCT a.person_id) FROM observation_period a"
            " JOIN observation_period b ON a.person_id = b.person_id"
            " AND a.observation_period_id <> b.observation_period_id"
            " AND a.observation_period_start_date <= b.observation_period_end_date"
            " AND a.observation_period_end_date >= b.observation_period_start_date",
            rows="SELECT count(DISTINCT person_id) FROM observation_period",
        )  # fmt: skip


def _structure_checks(
    field: CdmField, found: pa.Schema, schemas: Mapping[str, pa.Schema], has_vocabulary: bool
) -> Iterator[Check]:
    table, name = field.table, field.name
    is_there = name in found.names
    yield _of_field("cdmField", field, f"SELECT {int(not is_there)}", "SELECT 1")
    if field.datatype == "integer":
        wanted = table_schema(table).field(name).type
        is_right = is_there and found.field(name).type == wanted
        yield _of_field("cdmDatatype", field, f"SELECT {int(not is_right)}", "SELECT 1")
    if field.required:
        yield _of_field("isRequired", field, f"SELECT count(*) FROM {table} WHERE {name} IS NULL",  # noqa: S608
                        f"SELECT count(*) FROM {table}")  # noqa: S608  # fmt: skip
    if field.is_primary_key:
        yield _of_field(
            "isPrimaryKey", field,
            f"SELECT coalesce(sum(n), 0) FROM (SELECT count(*) AS n FROM {table}"  # noqa: S608
            f" GROUP BY {name} HAVING count(*) > 1)",
            f"SELECT count(*) FROM {table}",  # noqa: S608
        )  # fmt: skip
    if field.foreign_table:
        yield from _reference_checks(field, schemas, has_vocabulary)


def _reference_checks(
    field: CdmField, schemas: Mapping[str, pa.Schema], has_vocabulary: bool
) -> Iterator[Check]:
    table, name, other = field.table, field.name, field.foreign_table
    needs_vocabulary = other in VOCABULARY_TABLES
    filled = f"SELECT count(*) FROM {table} WHERE {name} IS NOT NULL"  # noqa: S608
    if needs_vocabulary and not has_vocabulary:
        why = "no vocabulary is loaded"
        yield Check("isForeignKey", "FIELD", table, name, not_applicable=why)
        if other == "concept":
            yield Check("isStandardValidConcept", "FIELD", table, name, not_applicable=why)
        if field.domain:
            yield Check("fkDomain", "FIELD", table, name, not_applicable=why)
        return
    key = f"{other}_id"
    # 0 is the concept of nothing; the vocabulary need not list it.
    zero = f" AND t.{name} <> 0" if other == "concept" else ""
    # NOT EXISTS, since NOT IN finds nothing where one key of the other table is null.
    yield _of_field(
        "isForeignKey", field,
        f"SELECT count(*) FROM {table} t WHERE t.{name} IS NOT NULL{zero}"  # noqa: S608
        f" AND NOT EXISTS (SELECT 1 FROM {other} o WHERE o.{key} = t.{name})",
        filled,
    )  # fmt: skip
    if other != "concept":
        return
    if "source" not in name:
        yield _of_field(
            "isStandardValidConcept", field,
            f"SELECT count(*) FROM {table} t JOIN concept c ON c.concept_id = t.{name}"  # noqa: S608
            f" WHERE t.{name} <> 0 AND (c.standard_concept IS DISTINCT FROM 'S'"
            " OR coalesce(trim(c.invalid_reason), '') <> '')",
            f"SELECT count(*) FROM {table} WHERE {name} <> 0",  # noqa: S608
        )  # fmt: skip
    if field.domain:
        domain = field.domain.replace("'", "''")
        yield _of_field(
            "fkDomain", field,
            f"SELECT count(*) FROM {table} t JOIN concept c ON c.concept_id = t.{name}"  # noqa: S608
            f" WHERE t.{name} <> 0 AND c.domain_id <> '{domain}'",
            f"SELECT count(*) FROM {table} WHERE {name} <> 0",  # noqa: S608
        )  # fmt: skip


def _completeness_checks(field: CdmField) -> Iterator[Check]:
    table, name = field.table, field.name
    everything = f"SELECT count(*) FROM {table}"  # noqa: S608
    yield _of_field("measureValueCompleteness", field,
                    f"SELECT count(*) FROM {table} WHERE {name} IS NULL", everything)  # noqa: S608  # fmt: skip
    if field.foreign_table == "concept":
        is_source = name.endswith("_source_concept_id")
        kind = (
            "sourceConceptRecordCompleteness" if is_source else "standardConceptRecordCompleteness"
        )
        if is_source or field.required:
            yield _of_field(kind, field, f"SELECT count(*) FROM {table} WHERE {name} = 0",  # noqa: S608
                            everything)  # fmt: skip
    if name.endswith("_source_value"):
        concept = f"{name.removesuffix('_source_value')}_concept_id"
        if any(other.name == concept for other in load_cdm()[table]):
            yield _of_field(
                "sourceValueCompleteness", field,
                f"SELECT count(DISTINCT {name}) FROM {table} WHERE {concept} = 0",  # noqa: S608
                f"SELECT count(DISTINCT {name}) FROM {table}",  # noqa: S608
            )  # fmt: skip


def _plausibility_checks(field: CdmField) -> Iterator[Check]:
    table, name = field.table, field.name
    columns = {other.name for other in load_cdm()[table]}
    if name == "year_of_birth":
        for check, condition in (
            ("plausibleValueLow", "year_of_birth < 1850"),
            ("plausibleValueHigh", "year_of_birth > year(current_date)"),
        ):
            yield _of_field(check, field, f"SELECT count(*) FROM {table} WHERE {condition}",  # noqa: S608
                            f"SELECT count(*) FROM {table} WHERE {name} IS NOT NULL")  # noqa: S608  # fmt: skip
    if name in _NOT_NEGATIVE:
        yield _of_field("plausibleValueLow", field,
                        f"SELECT count(*) FROM {table} WHERE {name} < 0",  # noqa: S608
                        f"SELECT count(*) FROM {table} WHERE {name} IS NOT NULL")  # noqa: S608  # fmt: skip
    if field.datatype not in ("date", "datetime") or "person_id" not in columns:
        return
    if table in ("person", "payer_plan_period"):
        return
    filled = f"SELECT count(*) FROM {table} WHERE {name} IS NOT NULL"  # noqa: S608
    births = f"SELECT count(*) FROM {table} t JOIN person p USING (person_id)"  # noqa: S608
    early = f"{births} WHERE year(t.{name}) < p.year_of_birth"
    yield _of_field("plausibleAfterBirth", field, early, filled)
    if table == "death":
        return
    deaths = f"SELECT count(*) FROM {table} t JOIN death d USING (person_id)"  # noqa: S608
    late = f"CAST(t.{name} AS DATE) > d.death_date + INTERVAL 60 DAY"
    with_death = f"{deaths} WHERE t.{name} IS NOT NULL"
    yield _of_field("plausibleBeforeDeath", field, f"{deaths} WHERE {late}", with_death)
    yield _of_field("plausibleDuringLife", field, f"{deaths} WHERE {late}", with_death)
    if name == _EVENT_DATES.get(table):
        yield _of_field(
            "plausibleTemporalAfter", field,
            f"{births} WHERE t.{name} < make_date(p.year_of_birth, 1, 1)", filled,
        )  # fmt: skip
        if "visit_occurrence_id" in columns and table not in ("visit_occurrence", "visit_detail"):
            visits = (f"SELECT count(*) FROM {table} t JOIN visit_occurrence v"  # noqa: S608
                      " USING (visit_occurrence_id)")  # fmt: skip
            yield _of_field(
                "withinVisitDates", field,
                f"{visits} WHERE t.{name} < v.visit_start_date - INTERVAL 7 DAY"
                f" OR t.{name} > v.visit_end_date + INTERVAL 7 DAY",
                visits,
            )  # fmt: skip


def _order_checks(table: str) -> Iterator[Check]:
    """Yield a check for each pair of start and end."""
    fields = {field.name: field for field in load_cdm()[table]}
    for name, field in fields.items():
        match = re.fullmatch(r"(.*?)_?start_(date|datetime)", name)
        if match is None and name in ("procedure_date", "procedure_datetime"):
            match = re.fullmatch(r"(procedure)_(date|datetime)", name)
        if match is None:
            continue
        end = f"{match[1]}_end_{match[2]}"
        if end in fields:
            yield _of_field(
                "plausibleStartBeforeEnd", field,
                f"SELECT count(*) FROM {table} WHERE {end} < {name}",  # noqa: S608
                f"SELECT count(*) FROM {table} WHERE {end} IS NOT NULL AND {name} IS NOT NULL",  # noqa: S608
            )  # fmt: skip


def _of_field(name: str, field: CdmField, violations: str, rows: str) -> Check:
    return Check(name, "FIELD", field.table, field.name, violations, rows)
