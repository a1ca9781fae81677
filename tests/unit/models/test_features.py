"""Acute stays and what was known at discharge."""

from __future__ import annotations

import math

import pandas as pd

from ehr_models.tasks.readmission.features import (
    FEATURES,
    build_features,
    build_index_stays,
    select_latest_stays,
)
from tests.lib import gold


def encounters(*rows: tuple[str, str, str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["id", "patient_id", "class", "start", "end"])


LAST = ("z", "other", "IMP", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")


def test_encounters_that_overlap_or_touch_are_one_stay() -> None:
    stays = build_index_stays(
        encounters(
            ("a", "p", "EMER", "2024-01-01T00:00:00Z", "2024-01-01T06:00:00Z"),
            ("b", "p", "IMP", "2024-01-01T06:00:00Z", "2024-01-05T00:00:00Z"),
            ("c", "p", "IMP", "2024-01-02T00:00:00Z", "2024-01-03T00:00:00Z"),
            ("d", "p", "IMP", "2024-01-04T00:00:00Z", "2024-01-06T00:00:00Z"),
            LAST,
        )
    )

    mine = stays[stays["patient_id"] == "p"]
    assert mine["encounter_id"].tolist() == ["d"]
    assert mine["emergency"].tolist() == [1.0]
    assert mine["ended"].tolist() == [pd.Timestamp("2024-01-06T00:00:00Z")]


def test_a_return_counts_up_to_the_28th_day() -> None:
    stays = build_index_stays(
        encounters(
            ("a", "p", "IMP", "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"),
            ("b", "p", "EMER", "2024-01-30T00:00:00Z", "2024-01-31T00:00:00Z"),
            ("c", "p", "EMER", "2024-02-28T00:00:01Z", "2024-03-01T00:00:00Z"),
            LAST,
        )
    )

    assert stays[stays["patient_id"] == "p"]["returned"].tolist() == [1.0, 0.0, 0.0]


def test_the_outcome_is_missing_where_28_days_have_not_been_seen() -> None:
    stays = build_index_stays(
        encounters(
            ("a", "p", "IMP", "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"),
            ("b", "q", "IMP", "2024-01-20T00:00:00Z", "2024-01-21T00:00:00Z"),
        )
    )

    assert stays["returned"].isna().all()


def test_other_classes_and_unfinished_encounters_are_no_stays() -> None:
    rows = encounters(("a", "p", "AMB", "2024-01-01", "2024-01-02"), LAST)
    rows.loc[len(rows)] = ["b", "p", "IMP", "2024-01-01", None]

    assert build_index_stays(rows)["patient_id"].tolist() == ["other"]


def test_features_know_nothing_of_the_time_after_discharge() -> None:
    before = gold.made_up(40)
    first = build_features(before).groupby("patient_id").head(1)
    cut = first.set_index("patient_id")["ended"]
    starts = pd.to_datetime(before["encounter_flat"]["start"], utc=True)
    onsets = pd.to_datetime(before["condition_flat"]["onset"], utc=True)
    # Everything after each patient's first discharge is taken away.
    seen = {
        **before,
        "encounter_flat": before["encounter_flat"][
            starts <= before["encounter_flat"]["patient_id"].map(cut)
        ],
        "condition_flat": before["condition_flat"][
            onsets <= before["condition_flat"]["patient_id"].map(cut)
        ],
    }

    again = build_features(seen).groupby("patient_id").head(1)

    pd.testing.assert_frame_equal(
        first[list(FEATURES)].reset_index(drop=True), again[list(FEATURES)].reset_index(drop=True)
    )


def test_features_of_one_stay_are_counted_as_said() -> None:
    views = {
        "patient_demographics": pd.DataFrame(
            {"id": ["p", "other"], "gender": ["female", "male"], "birth_year": [1950, None]}
        ),
        "encounter_flat": encounters(
            ("a", "p", "EMER", "2023-03-01T00:00:00Z", "2023-03-02T00:00:00Z"),
            ("b", "p", "EMER", "2023-11-01T00:00:00Z", "2023-11-02T00:00:00Z"),
            ("c", "p", "IMP", "2024-01-01T00:00:00Z", "2024-01-04T12:00:00Z"),
            LAST,
        ),
        "condition_flat": pd.DataFrame(
            [
                ("p", "x", "active", "2010-01-01"),
                ("p", "x", "active", "2023-12-01"),
                ("p", "y", "resolved", "2023-12-01"),
                ("p", "z", "active", "2024-01-05"),
            ],
            columns=["patient_id", "code", "clinical_status", "onset"],
        ),
    }

    frame = build_features(views)

    last = frame[frame["encounter_id"] == "c"].iloc[0]
    assert {name: float(last[name]) for name in FEATURES} == {
        "age": 74,
        "female": 1,
        "length_of_stay": 3.5,
        "emergency": 0,
        "prior_acute_6m": 1,
        "prior_acute_12m": 2,
        "prior_emergency_6m": 1,
        "conditions_active": 1,
        "conditions_12m": 2,
    }
    assert math.isnan(frame[frame["patient_id"] == "other"]["age"].iloc[0])
    assert {str(dtype) for dtype in frame[list(FEATURES)].dtypes} == {"float64"}


def test_latest_stays_has_one_row_per_patient() -> None:
    frame = build_features(gold.made_up(20))

    latest = select_latest_stays(frame)

    assert latest["patient_id"].is_unique
    assert set(latest["patient_id"]) == set(frame["patient_id"])
    ends = frame.groupby("patient_id")["ended"].max()
    assert latest.set_index("patient_id")["ended"].to_dict() == ends.to_dict()


def test_no_acute_stay_gives_an_empty_table() -> None:
    views = {**gold.made_up(5), "encounter_flat": encounters()}

    assert build_features(views).empty
