"""Gold tables made up for tests: the columns of the three views, with people who do not exist."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
from deltalake import write_deltalake

from ehr_analytics.cohorts.sources import source_of_view
from ehr_etl.gold.library import list_view_names, load_library_view
from ehr_etl.lake import TABLES, Lake
from ehr_etl.tables.bucketed import create_table

REGIONS = ("Hong Kong Island", "Kowloon", "New Territories")
Views = Mapping[str, pd.DataFrame]


def made_up(people: int, seed: int = 1) -> Views:
    """Return the three views for so many people; the old and often admitted come back sooner."""
    # A fixed seed: the tables are the same in every run.
    chance = random.Random(seed)
    patients, encounters, conditions = [], [], []
    for number in range(people):
        patient = f"{number:032x}"
        born = chance.randint(1930, 2005)
        gender = chance.choice(("female", "male"))
        patients.append((patient, gender, born, chance.choice(REGIONS), False))
        frailty = (2026 - born) / 100 + chance.random() / 2
        when = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=chance.randint(0, 300))
        for visit in range(chance.randint(1, 8)):
            end = when + timedelta(days=chance.choice((0.2, 1, 3, 8)))
            kind = chance.choice(("IMP", "EMER", "AMB"))
            encounter = f"{number:016x}{visit:016x}"
            reason = f"code-{chance.randint(1, 12)}"
            encounters.append(
                (
                    encounter,
                    patient,
                    "finished",
                    kind,
                    _text(when),
                    _text(end),
                    None,
                    None,
                    reason,
                    None,
                    "ha-harbour",
                )
            )
            conditions.append(
                (
                    f"c{encounter}",
                    patient,
                    encounter,
                    reason,
                    "urn:codes",
                    "active",
                    "confirmed",
                    _text(when),
                    None,
                )
            )
            soon = chance.random() < frailty / 2
            when = end + timedelta(days=chance.randint(2, 27) if soon else chance.randint(40, 400))
    return {
        **{name: make_empty(name) for name in ("laboratory", "medication_request", "procedure")},
        "patient_demographics": pd.DataFrame(
            patients, columns=["id", "gender", "birth_year", "region", "deceased"]
        ),
        "encounter_flat": pd.DataFrame(
            encounters,
            columns=[
                "id", "patient_id", "status", "class", "start", "end", "age", "type_code",
                "reason_code", "discharge_disposition", "organization_id",
            ],
        ),
        "condition_flat": pd.DataFrame(
            conditions,
            columns=[
                "id", "patient_id", "encounter_id", "code", "code_system", "clinical_status",
                "verification_status", "onset", "abatement",
            ],
        ),
    }  # fmt: skip


def make_empty(name: str) -> pd.DataFrame:
    """Return a view of the library without a row."""
    columns = source_of_view(load_library_view(name)).columns
    return pd.DataFrame({column: pd.Series(dtype="object") for column in columns})


def end_last_stays(
    views: Views, day: datetime, classes: tuple[str, ...] = ("IMP", "EMER")
) -> Views:
    """Return the views with each person's last encounter of some classes ended on a day."""
    encounters, conditions = views["encounter_flat"], views["condition_flat"]
    chosen = encounters[encounters["class"].isin(classes)]
    last = pd.to_datetime(chosen["end"], utc=True).groupby(chosen["patient_id"]).max()
    moves = pd.Timestamp(day) - last

    def move(frame: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
        moved = {
            column: [
                _text(instant.to_pydatetime())
                for instant in pd.to_datetime(frame[column], utc=True)
                + frame["patient_id"].map(moves).fillna(pd.Timedelta(0))
            ]
            for column in columns
        }
        return frame.assign(**moved)

    return {
        **views,
        "encounter_flat": move(encounters, ("start", "end")),
        "condition_flat": move(conditions, ("onset",)),
    }


def write(data: Path, views: Views) -> None:
    """Write the views as Delta tables where the lake keeps gold; deid and a key if none are there.

    Nobody has a code in that deid, so none of the views' codes is rare.
    """
    key = data / "keys" / "deid.key"
    key.parent.mkdir(exist_ok=True, parents=True)
    if not key.exists():
        key.write_bytes(b"k" * 32)
    lake, deid = Lake(data / "lake"), TABLES["deid"]
    if not lake.has_table("deid"):
        create_table(lake, "deid", deid.schema, deid.partitioned_by)
    for name, frame in views.items():
        if name not in list_view_names():
            continue
        # delta-rs has no type for a column of nothing but nulls.
        write_deltalake(
            data / "lake" / "gold" / name,
            _add_dates_columns(frame).astype(_types(frame)),
            mode="overwrite",
            schema_mode="overwrite",
        )


def _add_dates_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Add whose each row is, and its episode, as the lake does."""
    whose = {
        "_patient": frame.get("patient_id", frame["id"]),
        "_episode": frame.get("encounter_id", frame["id"]),
    }
    return frame.assign(**{name: row for name, row in whose.items() if name not in frame})


def _types(frame: pd.DataFrame) -> dict[str, str]:
    return {column: "string" for column in frame.columns if frame[column].isna().all()}


def _text(instant: datetime) -> str:
    return instant.isoformat(timespec="seconds")
