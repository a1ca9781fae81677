"""Acute stays and what was known at discharge."""

from __future__ import annotations

import math

import pandas as pd

from ehr_models.comparators import COMPARATORS
from ehr_models.registry import get_task
from ehr_models.task import select_current
from ehr_privacy.deid.dates import Shift, move_date
from tests.lib import gold
from tests.lib.acute_stays import list_acute_stays

TASK = get_task("readmission-28d")


def encounters(*rows: tuple[str, str, str, str, str | None]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["id", "patient_id", "class", "start", "end"])
    return frame.assign(status="finished", age=None, organization_id=None)


def views(found: pd.DataFrame, conditions: pd.DataFrame | None = None) -> gold.Views:
    people = sorted({*found["patient_id"]})
    born = pd.DataFrame({"id": people, "gender": "female", "birth_year": 1950, "region": None})
    none = gold.made_up(0)["condition_flat"]
    empty = ("laboratory", "medication_request", "procedure")
    return {
        "patient_demographics": born,
        "encounter_flat": found,
        "condition_flat": none if conditions is None else conditions.assign(code_system=None),
        **{name: gold.make_empty(name) for name in empty},
    }


LAST = ("z", "other", "IMP", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")


def stays_of_p(*rows: tuple[str, str, str, str, str | None]) -> pd.DataFrame:
    frame = TASK.build_frame(views(encounters(*rows, LAST))).rows
    return frame[frame["patient_id"] == "p"]


def test_encounters_that_overlap_or_touch_are_one_stay() -> None:
    mine = stays_of_p(
        ("a", "p", "EMER", "2024-01-01T00:00:00Z", "2024-01-01T06:00:00Z"),
        ("b", "p", "IMP", "2024-01-01T06:00:00Z", "2024-01-05T00:00:00Z"),
        ("c", "p", "IMP", "2024-01-02T00:00:00Z", "2024-01-03T00:00:00Z"),
        ("d", "p", "IMP", "2024-01-04T00:00:00Z", "2024-01-06T00:00:00Z"),
    )

    assert mine["encounter_id"].tolist() == ["d"]
    assert mine["emergency"].tolist() == [1.0]
    assert mine["ended"].tolist() == [pd.Timestamp("2024-01-06T00:00:00Z")]


def test_a_return_counts_up_to_the_28th_day() -> None:
    mine = stays_of_p(
        ("a", "p", "IMP", "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"),
        ("b", "p", "EMER", "2024-01-30T00:00:00Z", "2024-01-31T00:00:00Z"),
        ("c", "p", "EMER", "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"),
    )

    assert mine["returned"].tolist() == [1.0, 0.0, 0.0]


def test_the_outcome_is_missing_where_28_days_have_not_been_seen() -> None:
    found = encounters(
        ("a", "p", "IMP", "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"),
        ("b", "q", "IMP", "2024-01-20T00:00:00Z", "2024-01-21T00:00:00Z"),
    )

    assert TASK.build_frame(views(found)).rows["returned"].isna().tolist() == [True, True]


def test_other_classes_and_what_did_not_take_place_are_no_stays() -> None:
    found = encounters(
        ("a", "p", "AMB", "2024-01-01", "2024-01-02"),
        ("b", "p", "IMP", "2024-01-01", None),
        ("c", "q", "IMP", "2024-01-01", "2024-01-02"),
        LAST,
    )
    found["status"] = ["finished", "in-progress", "cancelled", "finished"]

    assert TASK.build_frame(views(found)).rows["patient_id"].tolist() == ["other"]


def test_the_stays_are_those_of_plain_pandas() -> None:
    made = gold.made_up(200)
    days = {name: made["encounter_flat"][name].str[:10] for name in ("start", "end")}
    made = {**made, "encounter_flat": made["encounter_flat"].assign(**days)}

    frame = TASK.build_frame(made).rows
    plain = list_acute_stays(made["encounter_flat"])

    assert frame["patient_id"].tolist() == plain["patient_id"].tolist()
    assert frame["returned"].fillna(-1).tolist() == plain["returned"].fillna(-1).tolist()
    lengths = (plain["ended"] - plain["started"]).dt.days.astype(float)
    assert frame["length_of_stay"].tolist() == lengths.tolist()


def test_features_of_one_stay_are_counted_as_said() -> None:
    found = encounters(
        ("a", "p", "EMER", "2023-03-01T00:00:00Z", "2023-03-02T00:00:00Z"),
        ("b", "p", "EMER", "2023-11-01T00:00:00Z", "2023-11-02T00:00:00Z"),
        ("c", "p", "IMP", "2024-01-01T00:00:00Z", "2024-01-04T12:00:00Z"),
        LAST,
    )
    conditions = pd.DataFrame(
        [
            ("p", "x", "confirmed", "2010-01-01", None),
            ("p", "x", "confirmed", "2023-12-01", None),
            # Abated before the discharge, abated after it, refuted, and begun after it.
            ("p", "y", "confirmed", "2023-12-01", "2023-12-20"),
            ("p", "v", "confirmed", "2022-12-01", "2024-01-20"),
            ("p", "w", "refuted", "2023-12-01", None),
            ("p", "z", "confirmed", "2024-01-05", None),
        ],
        columns=["patient_id", "code", "verification_status", "onset", "abatement"],
    )

    frame = TASK.build_frame(views(found, conditions))

    last = frame.rows[frame.rows["encounter_id"] == "c"].iloc[0]
    assert {name: float(last[name]) for name in frame.feature_names[:9]} == {
        "age": 74,
        "female": 1,
        "length_of_stay": 3,
        "emergency": 0,
        "prior_acute_6m": 1,
        "prior_acute_12m": 2,
        "prior_emergency_6m": 1,
        "conditions_active": 2,
        "conditions_12m": 2,
    }
    assert {str(dtype) for dtype in frame.rows[frame.feature_names].dtypes} == {"float64"}


def test_an_age_is_as_it_was_at_the_stay_and_at_most_90() -> None:
    found = encounters(
        ("a", "p", "IMP", "2000-01-01", "2000-01-02"),
        ("b", "q", "IMP", "2049-01-01", "2049-01-02"),
    )
    found["age"] = [85, None]
    made = views(found)
    made["patient_demographics"]["birth_year"] = [1936, 1950]

    rows = TASK.build_frame(made).rows

    assert rows["age"].tolist() == [85, 90]
    made["patient_demographics"]["birth_year"] = None
    assert math.isnan(TASK.build_frame(made).rows["age"].iloc[1])


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

    scoring, training = TASK.build_frame(identified), TASK.build_frame(cut)

    assert not scoring.rows["ended"].equals(training.rows["ended"])
    columns = ["patient_id", *scoring.feature_names, "returned"]
    pd.testing.assert_frame_equal(scoring.rows[columns], training.rows[columns])


def test_a_stay_ends_at_its_instant_and_lasts_whole_days() -> None:
    found = encounters(
        ("a", "p", "EMER", "2024-01-01T22:00:00+08:00", "2024-01-02T01:00:00+08:00"),
        ("b", "q", "IMP", "2024-01-01", "2024-01-05"),
        ("c", "r", "IMP", "2024-01", "2024-02-01"),
    )

    rows = TASK.build_frame(views(found)).rows.set_index("patient_id")

    assert rows["length_of_stay"].to_dict() == {"p": 1, "q": 4}
    assert rows.loc["p", "ended"] == pd.Timestamp("2024-01-02T01:00:00+08:00")
    assert rows.loc["q", "ended"] == pd.Timestamp("2024-01-05T00:00:00+08:00")


def test_the_current_rows_are_one_per_patient() -> None:
    rows = TASK.build_frame(gold.made_up(20)).rows

    latest = select_current(rows)

    assert latest["patient_id"].is_unique
    assert set(latest["patient_id"]) == set(rows["patient_id"])
    ends = rows.groupby("patient_id")["ended"].max()
    assert latest.set_index("patient_id")["ended"].to_dict() == ends.to_dict()


def test_no_acute_stay_gives_an_empty_table() -> None:
    assert TASK.build_frame(views(encounters())).rows.empty


def test_hospital_takes_the_last_values_of_the_month_before_discharge() -> None:
    stay = ("a", "p", "EMER", "2024-03-01T00:00:00Z", "2024-03-07T00:00:00Z")
    tables = views(encounters(stay, LAST))
    results = [
        ("718-7", 10.4, "g/dL", "2024-03-06T09:00:00Z"),
        ("718-7", 13.9, "g/dL", "2024-03-02T09:00:00Z"),
        # After the discharge, in another unit, and of too long ago.
        ("718-7", 14.8, "g/dL", "2024-03-08T09:00:00Z"),
        ("718-7", 99.0, "g/L", "2024-03-06T12:00:00Z"),
        ("2951-2", 131.0, "mmol/L", "2024-01-06T09:00:00Z"),
    ]
    columns = ["code_code", "value_number", "value_unit", "effective"]
    laboratory = gold.make_empty("laboratory").reindex(range(len(results)))
    laboratory[columns] = pd.DataFrame(results, columns=columns)
    laboratory["patient_id"] = "p"
    laboratory = laboratory.astype({"value_number": float})
    row = TASK.build_frame({**tables, "laboratory": laboratory}).rows.query("patient_id == 'p'")

    assert row["haemoglobin"].tolist() == [10.4] and row["sodium"].isna().all()
    # Six days, an emergency, a low haemoglobin: at least 2 + 1 + 1.
    assert COMPARATORS["hospital"][0].compute_points(row).tolist() == [4]


def test_codes_that_many_people_have_are_features_rolled_up() -> None:
    count = 30
    found = encounters(
        *((f"e{n}", f"p{n}", "IMP", "2024-01-10", "2024-01-12") for n in range(count)), LAST
    )
    rows = [
        (f"p{n}", code, "http://hl7.org/fhir/sid/icd-10", "confirmed", onset, None)
        for n in range(count)
        for code, onset in (
            ("I50.0", "2024-01-11"),
            ("I50.9", "2023-06-01"),
            ("I50.1", "2020-06-01"),
            # Known to the year: from its end, which is after the stay.
            ("J18.9", "2024"),
            ("J18.9", "2024-02-01"),
        )
    ]
    # Of one person too few to be a feature.
    rows.append(("p0", "E11.9", "http://hl7.org/fhir/sid/icd-10", "confirmed", "2024-01-01", None))
    columns = ["patient_id", "code", "code_system", "verification_status", "onset", "abatement"]

    made = views(found)
    made = {**made, "condition_flat": pd.DataFrame(rows, columns=columns)}
    frame = TASK.build_frame(made)

    assert frame.codes["diagnosis"] == ("I50",)
    first = frame.rows[frame.rows["patient_id"] == "p0"].iloc[0]
    assert first["diagnosis_I50_days"] == 2
    assert first["diagnosis_I50_recency"] == 30 / 31
    assert frame.feature_names[-2:] == ["diagnosis_I50_days", "diagnosis_I50_recency"]
    # Whoever scores names the codes, of which there may be none.
    others = TASK.build_frame(made, codes={"diagnosis": ("E11", "Z99")})
    assert others.feature_names[-4:] == [
        "diagnosis_E11_days", "diagnosis_E11_recency", "diagnosis_Z99_days",
        "diagnosis_Z99_recency",
    ]  # fmt: skip
    assert others.rows["diagnosis_E11_days"].sum() == 1
    assert not others.rows["diagnosis_Z99_recency"].any()
