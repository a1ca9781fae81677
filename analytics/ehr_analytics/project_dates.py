"""Dates as a project reads them: the lake's shift undone, the form of its application in place.

The lake moves each patient's dates by one shift, which all projects would share. Here, in the
trusted zone, a date is led back and given the project's own form: a shift under the project's key
(of the patient, or of each episode), or the true month or quarter, told by its first day. Nothing
of it is stored. A date of nobody's, or known to the year alone, has no form and is left out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
from deltalake import QueryBuilder

from ehr_etl.lake import GOLD_EPISODE, GOLD_PATIENT, Lake, gold_table_name
from ehr_fhir.errors import Unavailable
from ehr_privacy.deid import SHIFT_WEEKS, DateForm, count_shift_weeks, derive_date_key, load_rules
from ehr_privacy.deid.rules import Node

__all__ = [
    "DATE_IN_TEXT",
    "WHOLE_DATE",
    "ProjectDates",
    "forget_keys",
    "list_patients",
    "open_project_dates",
]

# Read alike by RE2 and Java.
WHOLE_DATE = r"\d{4}-\d{2}-\d{2}(T.*)?"
# Not the digits of an NDC: 0002-1433-80.
DATE_IN_TEXT = r"(^|[^\d-])(19|20)\d{2}-(0[1-9]|1[0-2])($|[^\d])"
_JSON_DATE = re.compile(r'"(\d{4}-\d\d-\d\d)"')
_DATE_METHODS = frozenset({"dateshift", "deceased"})
# DuckDB's variables of the keys, while tables are loaded: no query of a person runs then.
_LAKE_KEY, _PROJECT_KEY = "_lake_date_key", "_project_date_key"


@dataclass(frozen=True)
class ProjectDates:
    """A form of dates and its keys: that of the lake's shifts, and the project's own."""

    form: DateForm
    lake_key: str = field(repr=False)
    project_key: str = field(repr=False)

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns of a gold table that the form is worked out from."""
        return (GOLD_PATIENT, GOLD_EPISODE) if self.form == "episode" else (GOLD_PATIENT,)

    def show(self, day: date, patient: str, episode: str) -> date:
        """Return a day of the lake as the project reads it: what the SQL does, for one day."""
        true = day + timedelta(weeks=count_shift_weeks(self.lake_key, patient))
        if self.form == "month":
            return true.replace(day=1)
        if self.form == "quarter":
            return true.replace(day=1, month=3 * ((true.month - 1) // 3) + 1)
        name = patient if self.form == "shift" else f"{patient}{episode}"
        return true - timedelta(weeks=count_shift_weeks(self.project_key, name))

    def show_record(self, resource: str, patient: str | None, episode: str) -> str:
        """Return a record of deid, as JSON text, with its dates in the form."""

        def write(match: re.Match[str]) -> str:
            if patient is None:
                return "null"
            try:
                return f'"{self.show(date.fromisoformat(match[1]), patient, episode)}"'
            except (ValueError, OverflowError):
                return "null"

        return _find_years().sub(r"\1null", _JSON_DATE.sub(write, resource))

    def set_keys(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let expressions of a connection use the keys, until `forget_keys`."""
        connection.execute(f"SET VARIABLE {_LAKE_KEY} = $key", {"key": self.lake_key})
        connection.execute(f"SET VARIABLE {_PROJECT_KEY} = $key", {"key": self.project_key})

    def render_value(
        self,
        value: str,
        item_type: str,
        is_date: bool,
        *,
        patient: str = GOLD_PATIENT,
        episode: str = GOLD_EPISODE,
    ) -> str:
        """Return the DuckDB expression of a value, or item of a list, that may be or hold a date.

        `is_date`: the value is a date by its column's declaration, whatever it looks like.
        `patient` and `episode` are expressions of the pseudonyms of the row's patient and episode.
        """
        if item_type == "DATE":
            return self._render_day(value, patient, episode)
        if item_type.startswith("TIMESTAMP"):
            day = self._render_day(f"CAST({value} AS DATE)", patient, episode)
            return f"CAST({day} AS {item_type})"
        if item_type != "VARCHAR":
            return value
        day = self._render_day(f"TRY_CAST(left({value}, 10) AS DATE)", patient, episode)
        shown = f"strftime({day}, '%Y-%m-%d')"
        if self.form in ("shift", "episode"):
            shown += f" || substr({value}, 11)"
        other = "NULL" if is_date else (
            f"CASE WHEN regexp_matches({value}, '{DATE_IN_TEXT}') THEN NULL ELSE {value} END"
        )  # fmt: skip
        return f"CASE WHEN regexp_full_match({value}, '{WHOLE_DATE}') THEN {shown} ELSE {other} END"

    def render_note_day(self, text: str, patient: str) -> str:
        """Return the DuckDB expression of a day in a note; NULL by episode, which no note tells."""
        if self.form == "episode":
            return "NULL"
        day = self._render_day(f"TRY_CAST({text} AS DATE)", patient, "NULL")
        if self.form == "quarter":
            return f"strftime({day}, '%Y') || '-Q' || quarter({day})"
        return f"strftime({day}, '{'%Y-%m' if self.form == 'month' else '%Y-%m-%d'}')"

    def _render_day(self, day: str, patient: str, episode: str) -> str:
        weeks = _count_weeks(_LAKE_KEY, patient)
        if self.form in ("month", "quarter"):
            return f"CAST(date_trunc('{self.form}', {day} + CAST(7 * {weeks} AS INTEGER)) AS DATE)"
        name = patient if self.form == "shift" else f"({patient} || {episode})"
        return f"({day} + CAST(7 * ({weeks} - {_count_weeks(_PROJECT_KEY, name)}) AS INTEGER))"


def open_project_dates(data: Path, form: DateForm, project_key: str) -> ProjectDates:
    """Return how a project reads dates, by its key and the lake's."""
    try:
        lake_key = (data / "keys" / "deid.key").read_bytes()
    except FileNotFoundError as error:
        raise Unavailable("The lake has no key yet: run `ehr lake run`.") from error
    own_key = hashlib.sha256(f"{project_key}:dates".encode()).hexdigest()
    return ProjectDates(form, derive_date_key(lake_key), own_key)


def list_patients(lake: Lake) -> list[str]:
    """Return the lake's pseudonyms of all patients."""
    for name, column in ((gold_table_name("patient_demographics"), "id"), ("deid", "patient")):
        if lake.has_table(name):
            rows: Any = QueryBuilder().register("t", lake.open_table(name))
            batches = rows.execute(f"SELECT DISTINCT {column} AS person FROM t").read_all()  # noqa: S608
            return [str(person) for person in batches.column("person").to_pylist() if person]
    return []


def forget_keys(connection: duckdb.DuckDBPyConnection) -> None:
    """Take the keys of dates from a connection, before a query of a person's runs on it."""
    connection.execute(f"RESET VARIABLE {_LAKE_KEY}")
    connection.execute(f"RESET VARIABLE {_PROJECT_KEY}")


def _count_weeks(variable: str, name: str) -> str:
    # `ehr_privacy.deid.count_shift_weeks`; of nobody NULL, and so is the date.
    digits = f"left(sha256(getvariable('{variable}') || {name}), 8)"
    return f"(CAST('0x' || {digits} AS BIGINT) % {SHIFT_WEEKS} + 1)"


@cache
def _find_years() -> re.Pattern[str]:
    """Return the pattern of a date of deid that is known to the year alone, with its element."""
    rules = load_rules()
    names = {name for node in rules.types.values() for name in _list_date_elements("", node)}
    return re.compile(rf'("(?:{"|".join(sorted(names))})":)"\d{{4}}"')


def _list_date_elements(name: str, node: Node) -> Iterator[str]:
    if node.method in _DATE_METHODS:
        yield name
    for inner, child in (node.elements or {}).items():
        yield from _list_date_elements(inner, child)
