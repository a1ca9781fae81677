"""A frame from whole tables, in SQL on DuckDB: for training, and for scoring many people."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import partial
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from ehr_analytics.cohorts.compiler import compile_cohort
from ehr_analytics.cohorts.dialects import DUCKDB
from ehr_analytics.cohorts.duckdb_engine import create_steps
from ehr_analytics.cohorts.sources import Source, ValueType
from ehr_etl.duckdb_session import QueryLimits, fetch, open_duckdb
from ehr_fhir.errors import Unavailable
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_models.frames.codes import (
    CodeGroup,
    Codes,
    list_code_features,
    measure_recency,
    roll_up_sql,
)
from ehr_models.frames.declaration import IN_PROGRESS, DeclaredFeature, FrameDeclaration
from ehr_models.frames.measurements import Measurement, explain_left_out, find_scale
from ehr_models.task import (
    BEGUN_AGAIN,
    ENCOUNTER,
    INCOMPLETE,
    PATIENT,
    PREDICTED_AT,
    Frame,
    Views,
    to_arrow,
)

__all__ = ["LIMITS", "build_frame"]

# Chosen: a million people take less (tests/perf/bench_model_features.py).
LIMITS = QueryLimits(memory_mb=8192, threads=2)

_ARROW: Mapping[ValueType, pa.DataType] = {
    ValueType.BOOLEAN: pa.bool_(),
    ValueType.CONCEPT: pa.int64(),
    ValueType.DATE: pa.date32(),
    ValueType.INTEGER: pa.int64(),
    ValueType.NUMBER: pa.float64(),
}
_KNOWN = "e.known <= i.index_date AND coalesce(e.until > i.index_date, true)"
_HAS_ZONE = "(Z|[+-][0-9]{2}:[0-9]{2})$"


def build_frame(
    declaration: FrameDeclaration,
    views: Views,
    codes: Codes | None = None,
    since: date | None = None,
) -> Frame:
    """Return the frame of tables: a row for each index date of those who are in the cohort.

    Without `codes` the features of codes are of those that many people of the tables have. Rows of
    index dates before `since` are left out, and take no time; `Frame.earlier` tells whose they are.

    Dates are read to the day in the jurisdiction's calendar, as de-identification leaves them, so
    that a row is the same from the research copy and from the records.
    """
    cohort, sources = declaration.cohort, declaration.sources
    compiled = compile_cohort(cohort, sources, DUCKDB)
    with open_duckdb(LIMITS) as connection:
        create_steps(
            connection,
            compiled,
            partial(_open_table, declaration, views),
            LIMITS,
            _LocalDates(declaration),
        )
        chosen = f"left_at IN (0, {declaration.unlabelled_step})"
        connection.execute(
            f"CREATE TABLE all_rows AS SELECT * FROM ({compiled.sql}) WHERE {chosen}"  # noqa: S608
        )
        connection.execute(
            "CREATE TABLE frame AS SELECT *,"
            " row_number() OVER (ORDER BY person, index_date) - 1 AS place"
            " FROM all_rows WHERE index_date >= $since",
            {"since": since or date.min},
        )
        _add_encounters(connection, declaration, views)
        earlier = set() if since is None else _list_earlier_people(connection, since)
        _add_next_events(connection, declaration)
        rows = fetch(
            connection,
            "SELECT frame.*, encounter, instant, begun_again FROM frame"
            " LEFT JOIN index_encounters USING (person, index_date)"
            " LEFT JOIN next_events USING (person, index_date) ORDER BY place",
            LIMITS,
        ).to_pandas()
        measured = [_measure(connection, one) for one in declaration.measurements]
        for group in declaration.codes:
            _count_codes(connection, group)
        if codes is None:
            codes = {group.name: _choose_codes(connection, group) for group in declaration.codes}
        made = list_code_features(declaration.codes, codes)
        # One matrix for all: of a hundred thousand people it has gigabytes.
        coded, first = np.zeros((len(rows), len(made))), 0
        for group in declaration.codes:
            wanted = codes.get(group.name, ())
            _fill_codes(connection, group, wanted, coded[:, first : first + 2 * len(wanted)])
            first += 2 * len(wanted)
        uncoded = {group.title: _count_uncoded(connection, group) for group in declaration.codes}
    shaped = _shape_rows(declaration, rows, measured, uncoded)
    if made:
        columns = pd.DataFrame(coded, columns=[feature.name for feature in made], copy=False)
        shaped = pd.concat([shaped, columns], axis=1, copy=False)
    features = (*declaration.own_features, *made)
    return Frame(shaped, features, declaration.target, codes, frozenset(earlier))


def _open_table(declaration: FrameDeclaration, views: Views, name: str) -> pa.Table:
    return _select_columns(views[name], declaration.sources[name], declaration.columns[name])


def _select_columns(table: Any, source: Source, columns: tuple[str, ...]) -> pa.Table:
    """Return columns of a table with the types that the language knows them by."""
    table = to_arrow(table)
    missing = sorted({*columns} - {*table.column_names})
    if missing:
        raise Unavailable(
            f"The table {source.name} has no column {', '.join(missing)} yet: run `ehr lake run`."
        )
    kinds = [(name, _ARROW.get(source.columns[name], pa.string())) for name in columns]
    return table.select(list(columns)).cast(pa.schema(kinds))


class _LocalDates:
    """Dates in the jurisdiction's calendar (`duckdb_engine.ShowDates`)."""

    def __init__(self, declaration: FrameDeclaration) -> None:
        self._sources = declaration.sources
        self._single_dates = declaration.single_dates

    def prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Need nothing."""

    def render_table(self, table: str, rows: str, kinds: Mapping[str, str]) -> str:
        """Return the SQL of a table whose instants are days."""
        types = self._sources[table].columns
        selected = ", ".join(
            f'{_local_day(name, (table, name) in self._single_dates)} AS "{name}"'
            if types.get(name) is ValueType.DATE_TEXT
            else f'"{name}"'
            for name in kinds
        )
        return f"SELECT {selected} FROM {rows}"  # noqa: S608 - names of the lake's schemas


def _local_day(column: str, is_single: bool) -> str:
    """Return the SQL of a FHIR date's day; what has no zone of its own lies in the local one.

    Of a date of its own that is known to the year or month the day is that year's last: nothing is
    known before it happened, and de-identification leaves no more than the year.
    """
    text = f'"{column}"'
    moved = f"strftime(timezone('{_zone()}', TRY_CAST({text} AS TIMESTAMPTZ)), '%Y-%m-%d')"
    tests = f"WHEN regexp_matches({text}, '{_HAS_ZONE}') THEN {moved}"
    if is_single:
        tests += f" WHEN length({text}) < 10 THEN substr({text}, 1, 4) || '-12-31'"
    return f"CASE {tests} ELSE {text} END"


def _instant(column: str) -> str:
    """Return the SQL of the instant at which a FHIR date begins, in UTC."""
    text = f'"{column}"'
    local = f"timezone('{_zone()}', TRY_CAST({text} AS TIMESTAMP))"
    return (
        f"CASE WHEN regexp_matches({text}, '{_HAS_ZONE}') THEN TRY_CAST({text} AS TIMESTAMPTZ)"
        f" ELSE {local} END"
    )


def _zone() -> str:
    return str(JURISDICTION.zone)


def _add_encounters(
    connection: duckdb.DuckDBPyConnection, declaration: FrameDeclaration, views: Views
) -> None:
    """Find the encounter that ended last on each index date, and the instant of its end."""
    events = declaration.cohort.base_events(declaration.cohort.index.events)
    column = events.end if declaration.cohort.index.at == "end" else events.date
    day = "finish" if declaration.cohort.index.at == "end" else "start"
    source = declaration.sources[events.table or ""]
    connection.register("index_source", _open_table(declaration, views, source.name))
    # The steps have made `rows_NAME` of the same rows: those that the declaration keeps.
    connection.execute(
        "CREATE TABLE index_encounters AS SELECT r.person, index_date,"  # noqa: S608
        " arg_max(r.c_id, struct_pack(a := instant, b := r.c_id)) AS encounter,"
        " max(instant) AS instant"
        f" FROM index_day i JOIN rows_{events.name} r ON r.person = i.person"
        f" AND r.{day} = i.index_date"
        f" JOIN (SELECT id, {_instant(column or '')} AS instant FROM index_source) s"
        " ON s.id = r.c_id GROUP BY r.person, index_date"
    )
    connection.unregister("index_source")


def _list_earlier_people(connection: duckdb.DuckDBPyConnection, since: date) -> set[str]:
    """Return whose rows are of index dates before a day, at an instant that is known."""
    found = connection.execute(
        "SELECT DISTINCT person FROM all_rows JOIN index_encounters USING (person, index_date)"
        " WHERE index_date < $since AND instant IS NOT NULL",
        {"since": since},
    ).fetchall()
    return {str(person) for (person,) in found}


def _add_next_events(connection: duckdb.DuckDBPyConnection, declaration: FrameDeclaration) -> None:
    """Find the day on which the next event like the index event began, ended or not."""
    base = declaration.cohort.base_events(declaration.cohort.index.events)
    begun = f"SELECT person, start, false AS is_open FROM rows_{base.name}"  # noqa: S608
    if base.end is not None:
        begun += f" UNION ALL SELECT person, start, true FROM events_{IN_PROGRESS}"  # noqa: S608
    connection.execute(
        "CREATE TABLE next_events AS SELECT i.person, index_date, min(start) AS begun_again"  # noqa: S608
        f" FROM index_day i JOIN ({begun}) b ON b.person = i.person"
        " AND (start > index_date OR (is_open AND start >= began)) GROUP BY ALL"
    )


def _count_codes(connection: duckdb.DuckDBPyConnection, group: CodeGroup) -> None:
    """Create the table of what was known of each code on each index date."""
    system = None if group.system is None else f"e.c_{group.system}"
    code = roll_up_sql(f"e.c_{group.column}", system)
    days = "i.index_date - e.start"
    connection.execute(
        f"CREATE TABLE coded_{group.name} AS SELECT i.place, {code} AS code,"  # noqa: S608
        f" count(DISTINCT e.start) FILTER ({days} <= {group.days}) AS days, min({days}) AS since"
        f" FROM frame i JOIN events_{group.events} e ON e.person = i.person"
        f" AND {_KNOWN}"
        f" WHERE e.c_{group.column} IS NOT NULL GROUP BY ALL"
    )


def _choose_codes(connection: duckdb.DuckDBPyConnection, group: CodeGroup) -> tuple[str, ...]:
    """Return the codes that most people have, the most frequent first."""
    found = connection.execute(
        "SELECT CAST(code AS VARCHAR), count(DISTINCT person) AS people"  # noqa: S608
        f" FROM coded_{group.name} JOIN frame USING (place) GROUP BY code"
        f" HAVING people >= {group.at_least} ORDER BY people DESC, code LIMIT {group.most}"
    ).fetchall()
    return tuple(code for code, _ in found)


def _fill_codes(
    connection: duckdb.DuckDBPyConnection,
    group: CodeGroup,
    codes: tuple[str, ...],
    filled: np.ndarray[Any, Any],
) -> None:
    """Fill in the features of a group's codes: rows by twice the codes."""
    connection.register("wanted_codes", pa.table({"code": pa.array(codes, pa.string())}))
    found = fetch(
        connection,
        "SELECT place, w.number, days, since FROM"  # noqa: S608
        " (SELECT code, row_number() OVER () - 1 AS number FROM wanted_codes) w"
        f" JOIN coded_{group.name} c ON CAST(c.code AS VARCHAR) = w.code",
        LIMITS,
    )
    connection.unregister("wanted_codes")
    place, number, days, since = (found.column(name).to_numpy() for name in found.column_names)
    filled[place, 2 * number] = days
    filled[place, 2 * number + 1] = measure_recency(since.astype(float))


def _count_uncoded(connection: duckdb.DuckDBPyConnection, group: CodeGroup) -> np.ndarray[Any, Any]:
    """Return of each row how many events of a group had no code in its days."""
    found = fetch(
        connection,
        "SELECT i.place, count(e.person) AS events FROM frame i"  # noqa: S608
        f" LEFT JOIN events_{group.events} e ON e.person = i.person AND {_KNOWN}"
        f" AND i.index_date - e.start <= {group.days} AND e.c_{group.column} IS NULL"
        " GROUP BY i.place ORDER BY i.place",
        LIMITS,
    )
    counts: np.ndarray[Any, Any] = found.column("events").to_numpy()
    return counts


def _measure(
    connection: duckdb.DuckDBPyConnection, measurement: Measurement
) -> tuple[np.ndarray[Any, Any], pd.Series[str]]:
    """Return each row's latest value that can be true, and why a newer one was left out."""
    code, value, unit = (
        f"e.c_{name}"
        for name in (measurement.code_column, measurement.value_column, measurement.unit_column)
    )
    target, events = measurement.feature.unit, f"events_{measurement.events}"
    wanted = ", ".join(f"'{one}'" for one in measurement.codes)
    pairs = connection.execute(
        f"SELECT DISTINCT {code}, {unit} FROM {events} e WHERE {code} IN ({wanted})"  # noqa: S608
    ).fetchall()
    mass = measurement.molar_mass
    scales = [(*pair, scale) for pair in pairs if (scale := find_scale(*pair, target, mass))]
    table = {
        "code": pa.array([row[0] for row in scales], pa.string()),
        "unit": pa.array([row[1] for row in scales], pa.string()),
        **{
            name: pa.array([getattr(row[2], name) for row in scales], pa.float64())
            for name in ("factor", "offset", "low", "high")
        },
    }
    connection.register("scales", pa.table(table))
    found = fetch(
        connection,
        "WITH near AS (SELECT i.place, e.start,"  # noqa: S608
        f' {value} * s.factor + s."offset" AS value, low, high, s.code IS NULL AS is_unitless'
        f" FROM frame i JOIN {events} e ON e.person = i.person AND {_KNOWN}"
        f" AND i.index_date - e.start <= {measurement.days} AND {code} IN ({wanted})"
        f" LEFT JOIN scales s ON s.code = {code} AND s.unit = {unit} WHERE {value} IS NOT NULL),"
        " judged AS (SELECT *, value BETWEEN low AND high AS is_taken FROM near)"
        " SELECT frame.place,"
        " (max(struct_pack(a := start, b := value)) FILTER (is_taken)).b AS value,"
        " max(start) FILTER (is_taken) AS taken, max(start) FILTER (NOT is_taken) AS wrong,"
        " max(start) FILTER (is_unitless) AS unitless"
        " FROM frame LEFT JOIN judged USING (place) GROUP BY frame.place ORDER BY frame.place",
        LIMITS,
    ).to_pandas()
    connection.unregister("scales")
    reasons = pd.Series("", index=found.index)
    taken = pd.to_datetime(found["taken"]).fillna(pd.Timestamp(0))
    for column in ("wrong", "unitless"):
        newer = pd.to_datetime(found[column]) > taken
        (text,) = explain_left_out(
            measurement, is_implausible=column == "wrong", is_without_unit=column == "unitless"
        )
        reasons = reasons.where(~newer, reasons + text + ". ")
    return _to_float(found["value"]), reasons


def _shape_rows(
    declaration: FrameDeclaration,
    rows: pd.DataFrame,
    measured: list[tuple[np.ndarray[Any, Any], pd.Series[str]]],
    uncoded: Mapping[str, np.ndarray[Any, Any]],
) -> pd.DataFrame:
    """Return the frame's columns in their order, features and target as floats."""
    columns: dict[str, Any] = {
        PATIENT: rows["person"].astype(object),
        ENCOUNTER: rows["encounter"].astype(object),
        PREDICTED_AT: pd.to_datetime(rows["instant"], utc=True).astype("datetime64[ns, UTC]"),
        BEGUN_AGAIN: pd.to_datetime(rows["begun_again"]).astype("datetime64[s]"),
    }
    for declared in declaration.features:
        columns[declared.feature.name] = _first_known(declared, rows)
    reasons = pd.Series("", index=rows.index)
    for declared in declaration.features:
        if declared.is_required:
            is_unknown = np.isnan(columns[declared.feature.name])
            reasons += np.where(is_unknown, f"{declared.feature.title} is not known. ", "")
    for measurement, (values, left_out) in zip(declaration.measurements, measured, strict=True):
        columns[measurement.feature.name] = values
        reasons += left_out
    for title, counts in uncoded.items():
        texts = np.char.add(f"{title}: records without a code: ", counts.astype(str))
        reasons += np.where(counts > 0, np.char.add(texts, ". "), "")
    columns[INCOMPLETE] = reasons.str.strip().astype(object)
    for group in declaration.groups:
        columns[group] = rows[group].astype(object)
    target = _to_float(rows[declaration.target])
    is_known = rows["left_at"].to_numpy() == 0
    columns[declaration.target] = np.where(is_known, target, np.nan)
    return pd.DataFrame(columns)


def _first_known(declared: DeclaredFeature, rows: pd.DataFrame) -> np.ndarray[Any, Any]:
    first, *others = (_to_float(rows[name]) for name in declared.columns)
    for other in others:
        first = np.where(np.isnan(first), other, first)
    clipped: np.ndarray[Any, Any] = np.clip(first, declared.least, declared.most)
    return clipped


def _to_float(column: pd.Series[Any]) -> np.ndarray[Any, Any]:
    """Return numbers as floats; of a condition 1 where it holds and 0 elsewhere."""
    if column.dtype == object or pd.api.types.is_string_dtype(column):
        return (column == "yes").to_numpy(dtype=float)
    numbers: np.ndarray[Any, Any] = column.to_numpy(dtype=float, na_value=np.nan)
    return numbers
