"""The monthly census of people of 65 and more at home: what was known then, and what followed."""

from __future__ import annotations

from datetime import timedelta
from importlib.resources import files
from typing import Any

import pandas as pd
import pyarrow as pa

from ehr_etl.duckdb_session import QueryLimits, open_duckdb
from ehr_fhir.dates import local_day
from ehr_models.task import Feature, Frame, Views, to_arrow

VIEWS = ("patient_demographics", "encounter_flat", "condition_flat", "medication_request")
TARGET = "needed_help"
HORIZON = timedelta(days=90)
# Who counts as elderly, in years of the calendar.
OLDEST_FROM = 65
# SNOMED CT: accidental fall, fall, falls, elderly fall; beside them ICD-10's W00 to W19.
FALL_CODES = ("217082002", "1912002", "161898004", "298344006")

# The columns that are read as days, by view.
_DATES = {
    "encounter_flat": ("start", "end"),
    "condition_flat": ("onset",),
    "medication_request": ("authored_on",),
}
_LIMITS = QueryLimits(memory_mb=4096, threads=2)

FEATURES = (
    Feature("age", "Age", "a", "patient_demographics"),
    Feature("female", "Female", "1", "patient_demographics"),
    Feature("emergencies_6m", "Emergency visits in 6 months", "1", "encounter_flat"),
    Feature("emergencies_12m", "Emergency visits in 12 months", "1", "encounter_flat"),
    Feature("stays_12m", "Hospital stays in 12 months", "1", "encounter_flat"),
    Feature("visits_12m", "Other visits in 12 months", "1", "encounter_flat"),
    Feature("days_since_contact", "Days since the last contact", "d", "encounter_flat"),
    Feature("conditions", "Conditions ever recorded", "1", "condition_flat"),
    Feature("conditions_12m", "Conditions of the last 12 months", "1", "condition_flat"),
    Feature("falls_24m", "Falls in 24 months", "1", "condition_flat"),
    Feature("medicines_12m", "Different medicines in 12 months", "1", "medication_request"),
)


def build_census(views: Views) -> Frame:
    """Return a row per person and first of a month, in the order of person and day."""
    with open_duckdb(_LIMITS) as connection:
        for name in VIEWS:
            connection.register(name, _cut_to_days(name, to_arrow(views[name])))
        parameters: dict[str, Any] = {
            "oldest": OLDEST_FROM,
            "horizon": HORIZON.days,
            "fall_codes": list(FALL_CODES),
        }
        for statement in (files(__package__) / "census.sql").read_text("utf-8").split(";\n"):
            used = {name: value for name, value in parameters.items() if f"${name}" in statement}
            connection.execute(statement, used or None)
        found = connection.sql("SELECT * FROM frame").df()
    found["ended"] = pd.to_datetime(found.pop("day"), utc=True)
    found["group_age_band"] = pd.cut(
        found["age"], [65, 75, 85, 200], labels=["65-74", "75-84", "85+"], right=False
    ).astype(object)
    numbers = [*(feature.name for feature in FEATURES), TARGET]
    return Frame(found.astype(dict.fromkeys(numbers, float)), FEATURES, TARGET)


def _cut_to_days(name: str, table: Any) -> Any:  # Any: pyarrow ships no types
    """Return a view with its dates as days; what is known to no day has none."""
    for column in _DATES.get(name, ()):
        days = pa.array([_find_day(text) for text in table[column].to_pylist()], pa.date32())
        table = table.set_column(table.schema.get_field_index(column), column, days)
    return table


def _find_day(text: object) -> Any:
    return local_day(text) if isinstance(text, str) else None
