"""Dates of a cohort's tables, as its project reads them: of gold views, and of OMOP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from ehr_analytics.cohorts.sources import Source, ValueType
from ehr_analytics.project_dates import ProjectDates
from ehr_etl.lake import GOLD_EPISODE
from ehr_etl.omop.cdm import load_cdm
from ehr_etl.omop.identifiers import person_key

__all__ = ["OmopDates", "ViewDates"]

_VISIT = "visit_occurrence_id"
_PATIENTS = "_patients"


@dataclass(frozen=True)
class ViewDates:
    """Dates of gold views; a row's patient is who its view names."""

    dates: ProjectDates
    sources: Mapping[str, Source]

    def list_columns(self, table: str) -> tuple[str, ...]:
        """Return the columns of a table that its dates are worked out from."""
        person = self.sources[table].person
        return (person, GOLD_EPISODE) if self.dates.form == "episode" else (person,)

    def prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Put the keys of dates into a connection."""
        self.dates.set_keys(connection)

    def render_table(self, table: str, rows: str, kinds: Mapping[str, str]) -> str:
        """Return the SQL of a view's rows with their dates in the form."""
        source = self.sources[table]
        selected = ", ".join(
            _render_column(self.dates, source, name, kind, f'"{source.person}"', GOLD_EPISODE)
            for name, kind in kinds.items()
        )
        return f"SELECT {selected} FROM {rows}"  # noqa: S608 - names of the lake's schemas


@dataclass(frozen=True)
class OmopDates:
    """Dates of OMOP tables; `patients` are all pseudonyms of the lake, of which persons are made.

    The CDM's eras and observation periods span episodes: by episode they have no dates.
    """

    dates: ProjectDates
    sources: Mapping[str, Source]
    patients: Sequence[str]

    def list_columns(self, table: str) -> tuple[str, ...]:
        """Return the columns of a table that its dates are worked out from."""
        if self.dates.form != "episode":
            return ("person_id",)
        return ("person_id", *(_list_episode_columns(table)))

    def prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Put the keys of dates, and whose number is whose, into a connection."""
        self.dates.set_keys(connection)
        numbers = [person_key(patient) for patient in self.patients]
        persons = pa.table(
            {
                "number": pa.array(numbers, pa.int64()),
                "patient": pa.array(self.patients, pa.string()),
            }
        )
        connection.register("_persons", persons)
        connection.execute(f"CREATE TEMP TABLE {_PATIENTS} AS FROM _persons")
        connection.unregister("_persons")

    def render_table(self, table: str, rows: str, kinds: Mapping[str, str]) -> str:
        """Return the SQL of a table's rows with their dates in the form."""
        episodes = _list_episode_columns(table)
        texts = ", ".join(f"CAST({name} AS VARCHAR)" for name in episodes)
        episode = f"coalesce({texts})" if episodes else "NULL"
        selected = ", ".join(
            _render_column(self.dates, self.sources[table], name, kind, "patient", episode)
            for name, kind in kinds.items()
        )
        return (
            f"SELECT {selected} FROM {rows}"  # noqa: S608 - names of the CDM
            f" LEFT JOIN {_PATIENTS} ON number = person_id"
        )


def _list_episode_columns(table: str) -> tuple[str, ...]:
    """Return what names the episode of a row: its visit, or else the row itself."""
    if table.endswith("_era") or table == "observation_period":
        return ()
    fields = load_cdm()[table]
    return (
        tuple(field.name for field in fields if field.name == _VISIT or field.is_primary_key)[::-1]
        if table != "visit_occurrence"
        else (_VISIT,)
    )


def _render_column(
    dates: ProjectDates, source: Source, name: str, kind: str, patient: str, episode: str
) -> str:
    value_type = source.columns.get(name, ValueType.KEY)
    column = f'"{name}"'
    if value_type is ValueType.KEY:
        return column
    shown = dates.render_value(column, kind, value_type.is_date, patient=patient, episode=episode)
    return f"{shown} AS {column}"
