"""One row per round of vital signs on the ward: what was known then, and what followed.

A round is the signs that became known with no more than thirty minutes between them; the prediction
is made at its last one. Rounds with fewer than MINIMUM_SIGNS of the seven signs are told as
incomplete and not scored. Nothing of a feature became known after that instant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files

import duckdb
import numpy as np
import pandas as pd
import pyarrow.compute as pc

from ehr_etl.duckdb_session import QueryLimits, open_duckdb
from ehr_fhir import news2
from ehr_models.scores.rows import score_news2_rows
from ehr_models.task import Feature
from ehr_models.ward.tables import WardTables, list_results

HORIZON = timedelta(hours=24)
TARGET = "deteriorated"
# Fewer of the seven signs are no round to judge by. Chosen: NEWS2 itself asks for all seven.
MINIMUM_SIGNS = 5
# Trends look back a day; a laboratory value of more than three days ago says little of now. Chosen.
TREND_WINDOW, RESULT_WINDOW = timedelta(hours=24), timedelta(hours=72)

_NUMBERS = (
    news2.RESPIRATION,
    news2.SATURATION,
    news2.SYSTOLIC,
    news2.PULSE,
    news2.TEMPERATURE,
)
_UNITS = {
    news2.RESPIRATION: "/min",
    news2.SATURATION: "%",
    news2.SYSTOLIC: "mm[Hg]",
    news2.PULSE: "/min",
    news2.TEMPERATURE: "Cel",
}
_TRENDS = {
    "change": "change since the signs before",
    "slope": "slope over a day",
    "lowest": "lowest of a day",
    "highest": "highest of a day",
}
# People worked out at a time: what it takes of memory is bounded. Chosen: some 2 GB.
_BATCH = 10_000
_LIMITS = QueryLimits(memory_mb=8192, threads=2)


@dataclass(frozen=True)
class RoundFrame:
    """Rows to learn from or to score, and the rounds that are too incomplete for either.

    Each row has `patient_id`, `encounter_id`, `ended` (the instant), the features, TARGET (1, 0, or
    NaN while nobody knows), `event` (the instant of the next one), NEWS2 as `news2` (NaN of an
    incomplete round) and `news2_at_least`, groups, and `incomplete`: in words what is missing.
    """

    rows: pd.DataFrame
    left_out: pd.DataFrame


def list_features() -> tuple[Feature, ...]:
    """Return the features in the order in which a model takes them, with unit and source."""
    now, day, three_days = "the round", "24 hours before", "72 hours before"
    features = [
        Feature("age", "Age", "a", "Patient.birthDate"),
        Feature("female", "Female", "1", "Patient.gender"),
        Feature("hours_since_admission", "Hours since admission", "h", "Encounter.period"),
        Feature("scale_2", "Scale 2 of the saturation", "1", "a clinician's decision"),
        Feature(news2.OXYGEN, "Extra oxygen", "1", now),
        Feature("not_alert", "Not alert", "1", now),
    ]
    for name in _NUMBERS:
        unit, title = _UNITS[name], name.capitalize()
        features.append(Feature(name, title, unit, now))
        for trend, words in _TRENDS.items():
            per_hour = unit + "/h" if trend == "slope" else unit
            features.append(Feature(f"{name}_{trend}", f"{title}, {words}", per_hour, day))
    features.append(Feature("hours_since_signs", "Hours since the signs before", "h", day))
    for name, row in list_results().items():
        title = name.replace("_", " ").capitalize()
        features.append(Feature(name, title, row["unit"], three_days))
        features.append(Feature(f"{name}_change", f"{title}, change", row["unit"], three_days))
        features.append(Feature(f"{name}_hours", f"{title}, hours since", "h", three_days))
    return tuple(features)


def build_rounds(tables: WardTables) -> RoundFrame:
    """Return the rounds of people of sixteen and more, in the order of person and time."""
    end_of_data = _find_end_of_data(tables)
    found = pd.concat(
        [_run(batch, end_of_data) for batch in _split_by_people(tables)], ignore_index=True
    )
    found["ended"] = pd.to_datetime(found.pop("instant"), unit="ms", utc=True)
    found["event"] = pd.to_datetime(found["event"], unit="ms", utc=True)
    found["not_alert"] = (found[news2.CONSCIOUSNESS] > 0).astype(float)
    found.loc[found[news2.CONSCIOUSNESS].isna(), "not_alert"] = np.nan
    for feature in list_features():
        found[feature.name] = found[feature.name].astype(float)
    scored = score_news2_rows(_select_signs(found))
    found["news2"], found["news2_at_least"] = scored["total"], scored["lower_bound"]
    found["group_age_band"] = pd.cut(
        found["age"], [0, 45, 65, 80, 200], labels=["16-44", "45-64", "65-79", "80+"], right=False
    ).astype(object)
    is_adult = found["age"] >= news2.MIN_AGE
    is_enough = found["signs"] >= MINIMUM_SIGNS
    columns = [
        "patient_id", "encounter_id", "ended", *(f.name for f in list_features()), TARGET, "event",
        "news2", "news2_at_least", "incomplete", "group_sex", "group_age_band", "group_provider",
    ]  # fmt: skip
    # Without a birth date nobody knows whether the score is for this person.
    return RoundFrame(
        found.loc[is_adult & is_enough, columns].reset_index(drop=True),
        found.loc[is_adult & ~is_enough, columns].reset_index(drop=True),
    )


def _split_by_people(tables: WardTables) -> Iterator[WardTables]:
    """Yield the tables of some people at a time, in the order of their names, at least once."""
    people = pc.unique(tables.stays["patient_id"]).sort()
    for start in range(0, max(len(people), 1), _BATCH):
        chosen = people.slice(start, _BATCH)
        yield WardTables(
            *(
                table.filter(pc.is_in(table["patient_id"], chosen))
                for table in (tables.people, tables.stays, tables.measurements, tables.scales)
            )
        )


def _find_end_of_data(tables: WardTables) -> int:
    """Return the last instant of which the tables tell something."""
    columns = (
        tables.measurements["known_ms"],
        *map(tables.stays.column, ("started_ms", "ended_ms")),
    )
    return max((pc.max(column).as_py() or 0 for column in columns), default=0)


def _run(tables: WardTables, end_of_data: int) -> pd.DataFrame:
    """Return the rows of the SQL, of some people."""
    with open_duckdb(_LIMITS) as connection:
        for name in ("people", "stays", "measurements", "scales"):
            connection.register(name, getattr(tables, name))
        _execute(connection, end_of_data)
        found: pd.DataFrame = connection.sql("SELECT * FROM frame").df()
    return found


def _execute(connection: duckdb.DuckDBPyConnection, end_of_data: int) -> None:
    parameters = {
        "end_of_data": end_of_data,
        "signs": list(news2.PARAMETERS),
        "round_ms": _to_ms(news2.ROUND_WINDOW),
        "hour_ms": _to_ms(timedelta(hours=1)),
        "trend_ms": _to_ms(TREND_WINDOW),
        "result_ms": _to_ms(RESULT_WINDOW),
        "horizon_ms": _to_ms(HORIZON),
    }
    text = (files(__package__) / "rounds.sql").read_text("utf-8")
    text = text.format(
        current=_pivot(news2.PARAMETERS) + ", " + _pivot(news2.PARAMETERS, "reason"),
        signs=", ".join(f"c.{name}" for name in news2.PARAMETERS),
        missing=", ".join(_explain_missing(name) for name in news2.PARAMETERS),
        sign_values=_pivot(_NUMBERS),
        result_values=_pivot(list_results()),
        trends=", ".join([*(_trend_columns(n) for n in _NUMBERS), _SINCE_SIGNS]),
        results=", ".join(_result_columns(n) for n in list_results()),
    )
    for statement in text.split(";\n"):
        used = {name: value for name, value in parameters.items() if f"${name}" in statement}
        connection.execute(statement, used or None)


_SINCE_SIGNS = """
  (any_value(r.instant) - max(m.at_ms) FILTER (m.at_ms < r.instant - $round_ms)) / 3600000.0
    AS hours_since_signs"""


def _pivot(names: Iterable[str], column: str = "value") -> str:
    suffix = "" if column == "value" else f"_{column}"
    return ", ".join(f"max({column}) FILTER (name = '{n}') AS {n}{suffix}" for n in names)


def _explain_missing(name: str) -> str:
    reason = f"coalesce(c.{name}_reason, 'not measured')"
    return f"CASE WHEN c.{name} IS NULL THEN '{name}: ' || {reason} END"


def _trend_columns(name: str) -> str:
    return f"""
  arg_max(m.{name}, m.place)
    - arg_max(m.{name}, m.place) FILTER (m.at_ms < r.instant - $round_ms) AS {name}_change,
  round(regr_slope(m.{name}, (m.at_ms - r.instant) / 3600000.0), 6) AS {name}_slope,
  min(m.{name}) AS {name}_lowest, max(m.{name}) AS {name}_highest"""


def _result_columns(name: str) -> str:
    newest = f"arg_max(m.{name}, m.place, 2)"
    since = f"any_value(r.instant) - max(m.at_ms) FILTER (m.{name} IS NOT NULL)"
    return f"""
  ({newest})[1] AS {name}, ({newest})[1] - ({newest})[2] AS {name}_change,
  ({since}) / 3600000.0 AS {name}_hours"""


def _select_signs(found: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of `news2.Signs`."""
    signs = found[[*_NUMBERS, news2.OXYGEN]].copy()
    # Whatever is not alert has the same points.
    signs[news2.CONSCIOUSNESS] = found["not_alert"].map({0.0: news2.ALERT, 1.0: "C"})
    return signs.assign(uses_scale_2=found["scale_2"])


def _to_ms(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)
