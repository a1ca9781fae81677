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
from ehr_privacy.deid.dates import Shift, move_date
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
        "length_of_stay": 3,
        "emergency": 0,
        "prior_acute_6m": 1,
        "prior_acute_12m": 2,
        "prior_emergency_6m": 1,
        "conditions_active": 1,
        "conditions_12m": 2,
    }
    assert math.isnan(frame[frame["patient_id"] == "other"]["age"].iloc[0])
    assert {str(dtype) for dtype in frame[list(FEATURES)].dtypes} == {"float64"}


def test_a_stay_is_read_alike_where_the_model_learns_and_where_it_scores() -> None:
    identified = gold.made_up(200, seed=3)
    hours = pd.Series(range(len(identified["encounter_flat"]))) * 5 % 24
    moved = identified["encounter_flat"].copy()
    for column in ("start", "end"):
        instants = pd.to_datetime(moved[column], utc=True) + pd.to_timedelta(hours, unit="h")
        moved[column] = [f"{instant:%Y-%m-%dT%H:%M:%SZ}" for instant in instants]
    identified = {**identified, "encounter_flat": moved}
    cut = {name: frame.copy() for name, frame in identified.items()}
    for frame in cut.values():
        for column in {"start", "end", "onset"} & set(frame.columns):
            frame[column] = [move_date(text, Shift()) for text in frame[column]]

    scoring, training = build_features(identified), build_features(cut)

    assert not scoring["ended"].equals(training["ended"])
    columns = ["patient_id", *FEATURES, "returned"]
    pd.testing.assert_frame_equal(scoring[columns], training[columns])


def test_a_stay_ends_at_its_instant_and_lasts_whole_days() -> None:
    views = {
        **gold.made_up(1),
        "encounter_flat": encounters(
            ("a", "p", "EMER", "2024-01-01T22:00:00+08:00", "2024-01-02T01:00:00+08:00"),
            ("b", "q", "IMP", "2024-01-01", "2024-01-05"),
            ("c", "r", "IMP", "2024-01", "2024-02-01"),
        ),
    }
    views["patient_demographics"] = pd.DataFrame(
        {"id": ["p", "q"], "gender": ["male", "male"], "birth_year": [1950, 1950]}
    )

    frame = build_features(views).set_index("patient_id")

    assert frame["length_of_stay"].to_dict() == {"p": 1, "q": 4}
    assert frame.loc["p", "ended"] == pd.Timestamp("2024-01-02T01:00:00+08:00")
    assert frame.loc["q", "ended"] == pd.Timestamp("2024-01-05T00:00:00+08:00")


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
