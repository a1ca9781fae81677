"""Cohorts of a project: over its approved columns, persons under its own pseudonyms."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import TableNotFoundError

from ehr_analytics.cohorts.compiler import CompiledCohort, compile_cohort
from ehr_analytics.cohorts.definition import Cohort
from ehr_analytics.cohorts.dialects import DUCKDB
from ehr_analytics.cohorts.duckdb_engine import COHORT_LIMITS, run_on_duckdb
from ehr_analytics.cohorts.result import CohortResult, build_result
from ehr_analytics.cohorts.sources import (
    OMOP_PREFIX,
    PERSON_SOURCES,
    Source,
    list_omop_sources,
    source_of_view,
)
from ehr_analytics.cohorts.table_dates import OmopDates, ViewDates
from ehr_analytics.cohorts.usage import required_columns
from ehr_analytics.project import Project, read_project_key, require_open_for
from ehr_analytics.project_dates import list_patients, open_project_dates
from ehr_analytics.register import Register
from ehr_etl.duckdb_session import QueryLimits
from ehr_etl.gold.tables import find_gold_view
from ehr_etl.lake import Lake, gold_table_name
from ehr_etl.omop.cdm import table_name
from ehr_etl.omop.identifiers import person_key
from ehr_fhir.errors import Unavailable, Unprocessable

__all__ = [
    "PreparedCohort",
    "find_sources",
    "list_data_items",
    "prepare_project_cohort",
    "run_project_cohort",
]


@dataclass(frozen=True)
class PreparedCohort:
    """A cohort that a project may run, over one version of each table."""

    cohort: Cohort
    compiled: CompiledCohort
    tables: Mapping[str, DeltaTable]
    columns: Mapping[str, tuple[str, ...]]
    # The column of each table that names the person.
    persons: Mapping[str, str]
    # Of the project: the result's persons are under it.
    key: str
    dates: ViewDates | OmopDates

    @property
    def versions(self) -> Mapping[str, int]:
        """Return the Delta version of each table."""
        return {name: int(table.version()) for name, table in self.tables.items()}

    def run(
        self, limits: QueryLimits = COHORT_LIMITS, *, withheld: Collection[str]
    ) -> CohortResult:
        """Run it on DuckDB, without the people who are withheld, found before it was prepared."""
        others = _leave_out(self.cohort.model, withheld)

        def open_rows(name: str) -> Any:  # Any: an Arrow stream
            read = dict.fromkeys((*self.columns[name], *self.dates.list_columns(name)))
            return _read_columns(self.tables[name], tuple(read), others.format(self.persons[name]))

        rows = run_on_duckdb(self.compiled, open_rows, self.key, limits, self.dates)
        return build_result(self.cohort, rows)


def prepare_project_cohort(
    register: Register,
    project: Project,
    cohort: Cohort,
    login: str,
    *,
    other_names: Collection[str] = (),
) -> PreparedCohort:
    """Check all of a cohort that needs no rows, for one of a project's people.

    Forbidden and Conflict are as for every run; Unprocessable names what the project may not read.
    """
    require_open_for(register, project, login, other_names=other_names)
    lake = Lake(register.data / "lake")
    sources = find_sources(lake, cohort)
    compiled = compile_cohort(cohort, sources, DUCKDB)
    missing = sorted({*list_data_items(cohort, sources)} - {*project.items})
    if missing:
        raise Unprocessable(f"The project may not read {', '.join(missing)}.")
    columns = required_columns(cohort, sources)
    key = read_project_key(register.data, project.id)
    dates = open_project_dates(register.data, project.dates, key)
    return PreparedCohort(
        cohort,
        compiled,
        # One version of each table, however many sets of events read it.
        {name: _open_table(lake, cohort.model, name) for name in columns},
        columns,
        {name: sources[name].person for name in columns},
        key,
        OmopDates(dates, sources, list_patients(lake))
        if cohort.model == "omop"
        else ViewDates(dates, sources),
    )


def run_project_cohort(
    register: Register,
    project: Project,
    cohort: Cohort,
    login: str,
    *,
    withheld: Collection[str],
    other_names: Collection[str] = (),
) -> tuple[CohortResult, Mapping[str, int]]:
    """Run a cohort for one of a project's people; return it with the Delta version of each table.

    `withheld` are the lake's pseudonyms of the people whom it leaves out. The errors are those of
    `prepare_project_cohort`.
    """
    prepared = prepare_project_cohort(register, project, cohort, login, other_names=other_names)
    return prepared.run(withheld=withheld), prepared.versions


def find_sources(lake: Lake, cohort: Cohort) -> Mapping[str, Source]:
    """Return the tables that a cohort reads, as the lake's schemas describe them."""
    if cohort.model == "omop":
        return list_omop_sources()
    if cohort.model not in PERSON_SOURCES:
        raise Unprocessable("A cohort's model is views or omop.")
    names = {PERSON_SOURCES[cohort.model].table}
    names |= {events.table for events in cohort.events if events.table is not None}
    sources = {}
    for name in sorted(names):
        view = find_gold_view(lake, name) if name.replace("_", "").isalnum() else None
        if view is None:
            raise Unprocessable(f"There is no view {name!r}.")
        sources[name] = source_of_view(view)
    return sources


def list_data_items(cohort: Cohort, sources: Mapping[str, Source]) -> tuple[str, ...]:
    """Return the data items that a project has to apply for to run a cohort."""
    prefix = OMOP_PREFIX if cohort.model == "omop" else ""
    return tuple(
        f"{prefix}{table}.{column}"
        for table, columns in required_columns(cohort, sources).items()
        for column in columns
    )


def _open_table(lake: Lake, model: str, name: str) -> DeltaTable:
    path = table_name(name) if model == "omop" else gold_table_name(name)
    try:
        return DeltaTable(lake.table_url(path), storage_options=dict(lake.storage_options))
    except TableNotFoundError as error:
        raise Unavailable(f"The lake has no table {name} yet: run `ehr lake run`.") from error


def _leave_out(model: str, withheld: Collection[str]) -> str:
    """Return SQL that holds of rows of others; `{}` is the column that names the person."""
    if not withheld:
        return "true"
    if model == "omop":
        keys = [str(person_key(person)) for person in sorted(withheld)]
    else:
        keys = [f"'{person}'" for person in sorted(withheld)]
    return f'"{{}}" NOT IN ({", ".join(keys)})'


def _read_columns(
    table: DeltaTable, columns: tuple[str, ...], where: str
) -> Any:  # Any: an Arrow stream
    missing = sorted({*columns} - {field.name for field in table.schema().fields})
    if missing:
        raise Unavailable(f"A table of the lake has no column {', '.join(missing)} yet.")
    names = ", ".join(f'"{column}"' for column in columns)
    rows: Any = QueryBuilder().register("source", table)  # Any: delta-rs ships no types
    # Names of the lake's schemas, and pseudonyms of its own.
    return rows.execute(f"SELECT {names} FROM source WHERE {where}")  # noqa: S608
