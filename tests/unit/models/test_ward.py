"""Rounds on the ward: what is read, what is known then, what followed, what alerts mean."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pandas.testing import assert_frame_equal
from typer.testing import CliRunner

from ehr_fhir.errors import Unprocessable
from ehr_models.cli import app
from ehr_models.registry import get_task
from ehr_models.tasks.deterioration import TASK, build_frame
from ehr_models.tasks.deterioration.alerting import evaluate_ward
from ehr_models.ward.alerts import count_bed_days, find_threshold, measure_alerts
from ehr_models.ward.rounds import TARGET, build_rounds, list_features
from ehr_models.ward.simulation import simulate_ward
from ehr_models.ward.tables import MEASUREMENTS, WardTables, list_results
from tests.lib.ward_rounds import a_round, person, read_tables, stay, value, write_time

FEATURES = [feature.name for feature in list_features()]
KNOWN = ["patient_id", "encounter_id", "ended", *FEATURES, "news2", "news2_at_least", "incomplete"]
ICU = "305351004"


@pytest.fixture(scope="module")
def ward() -> WardTables:
    return simulate_ward(60, seed=7)


def rounds(*resources: Any) -> pd.DataFrame:
    """Return the rows of one patient's resources."""
    flat = [r for part in resources for r in (part if isinstance(part, list) else [part])]
    return build_rounds(read_tables(flat)).rows


def test_a_round_of_a_record_is_scored_as_the_chart_says() -> None:
    row = rounds(person(), stay(), a_round(2)).iloc[0]

    assert (row["news2"], row["news2_at_least"], row["incomplete"]) == (10, 10, "")
    assert (row["respiration"], row["temperature"], row["oxygen"]) == (22, 38.5, 1)
    assert (row["not_alert"], row["female"], row["hours_since_admission"]) == (0, 0, 2)
    assert row["ended"] == pd.Timestamp(write_time(2)) and 76 < row["age"] < 77
    # The only round: nothing to compare with, and nobody knows yet what follows.
    assert np.isnan(row["pulse_change"]) and np.isnan(row[TARGET])


def test_trends_look_back_a_day_and_laboratory_values_three() -> None:
    at_first = a_round(1, _8867_4=("/min", 90), _9279_1=("/min", 14))
    sodium = [value("2951-2", "mmol/L", 140, -30), value("2951-2", "mmol/L", 133, 3)]
    old = [value("2823-3", "mmol/L", 5.9, -70), value("718-7", "g/L", 101, 4)]
    row = rounds(person(), stay(-80), at_first, a_round(5), sodium, old).iloc[-1]

    assert (row["pulse"], row["pulse_change"], row["pulse_lowest"]) == (112, 22, 90)
    assert row["pulse_slope"] == pytest.approx(22 / 4) and row["hours_since_signs"] == 4
    assert (row["sodium"], row["sodium_change"], row["sodium_hours"]) == (133, -7, 2)
    assert np.isnan(row["potassium"])
    assert row["haemoglobin"] == pytest.approx(10.1)
    later = rounds(person(), stay(-80), at_first, a_round(27)).iloc[-1]
    assert np.isnan(later["pulse_change"]) and later["pulse_lowest"] == 112


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"_8310_5": None}, "temperature: not measured"),
        ({"_8310_5": ("kg", 101.3)}, "temperature: wrong unit"),
        ({"_8867_4": ("/min", 1120)}, "pulse: impossible value"),
        ({"_59408_5": ("%", 9300)}, "saturation: impossible value"),
    ],
)
def test_what_cannot_be_used_is_told_with_its_reason(changes: Any, reason: str) -> None:
    row = rounds(person(), stay(), a_round(2, **changes)).iloc[0]

    assert row["incomplete"] == reason
    assert np.isnan(row["news2"]) and row["news2_at_least"] < 10
    assert np.isnan(row[reason.split(":")[0]])


def test_bounds_unknown_levels_and_laboratory_values_are_told_too() -> None:
    bound = value("2951-2", "mmol/L", 130, 1)
    bound["valueQuantity"]["comparator"] = "<"
    wrong = value("14682-9", "mg", 90, 1)
    drowsy = a_round(2)
    drowsy[-1]["valueCodeableConcept"] = {"text": "drowsy"}
    row = rounds(person(), stay(), drowsy, bound, wrong).iloc[0]

    assert row["incomplete"] == (
        "consciousness: unknown code; creatinine: wrong unit; sodium: a bound, not a value"
    )


def test_a_round_of_too_few_signs_is_left_out_and_told() -> None:
    few = a_round(2, _8310_5=None, _8867_4=None, _59408_5=None)
    frame = build_rounds(read_tables([person(), stay(), *few]))

    assert frame.rows.empty and len(frame.left_out) == 1
    assert frame.left_out["incomplete"].iloc[0].count("not measured") == 3


def test_a_newer_value_that_cannot_be_used_does_not_let_an_older_one_pass() -> None:
    newer = value("8867-4", "/min", 1120, 2.2)
    row = rounds(person(), stay(), a_round(2), newer).iloc[0]

    assert row["incomplete"] == "pulse: impossible value" and np.isnan(row["pulse"])


def test_what_the_patient_measured_and_what_has_no_time_are_no_signs() -> None:
    at_home = value("8480-6", "mm[Hg]", 70, 2.1, performer=[{"reference": "Patient/p"}])
    by_day = value("8480-6", "mm[Hg]", 60, 2) | {"effectiveDateTime": "2026-03-02"}
    void = value("8480-6", "mm[Hg]", 50, 2.2, status="entered-in-error")
    found = rounds(person(), stay(), a_round(2), at_home, by_day, void)

    assert list(found["systolic"]) == [105]


def test_scale_2_holds_from_its_decision_on() -> None:
    system = "https://ehr-commons.hk/fhir/CodeSystem/clinical-decision"
    decision = {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": system, "code": "spo2-scale"}]},
        "valueCodeableConcept": {"coding": [{"system": system, "code": "2"}]},
        "effectiveDateTime": write_time(4),
        "performer": [{"reference": "Practitioner/d"}],
    }
    high = {"_59408_5": ("%", 97)}
    found = rounds(person(), stay(), a_round(2, **high), a_round(6, **high), decision)

    assert list(found["scale_2"]) == [0, 1]
    assert list(found["news2"]) == [8, 11]


def test_the_outcome_is_death_or_intensive_care_within_a_day() -> None:
    stays = [stay(0, 40), stay(40, 90, ICU), stay(90, 200)]
    signs = [r for hour in (10, 17, 39, 50, 100, 140) for r in a_round(hour)]
    found = rounds(person(), stays, signs)

    # At 10 the transfer is 30 hours away, at 50 the patient is in intensive care.
    hours = (found["ended"] - pd.Timestamp(write_time(0))) / pd.Timedelta(hours=1)
    assert list(zip(hours, found[TARGET], strict=True)) == [
        (10, 0), (17, 1), (39, 1), (100, 0), (140, 0),
    ]  # fmt: skip
    died = rounds(person(deceasedDateTime=write_time(120)), stays, signs)
    assert list(died[TARGET]) == [0, 1, 1, 1]
    leaving = {"dischargeDisposition": {"coding": [{"code": "exp"}]}}
    expired = rounds(person(), stay(0, 20, hospitalization=leaving), a_round(2))
    assert list(expired[TARGET]) == [1]


def test_children_and_people_without_a_birth_date_are_not_scored() -> None:
    for born, count in (("2010-03-02", 0), ("2010-02-27", 1), (None, 0)):
        assert len(rounds(person(birthDate=born), stay(), a_round(2))) == count, born


def test_encounters_that_did_not_take_place_are_no_stays() -> None:
    assert rounds(person(), stay(status="cancelled"), a_round(2)).empty
    assert rounds(person(), stay() | {"class": {"code": "EMER"}}, a_round(2)).empty
    assert rounds(person(), stay(0, 1), a_round(2)).empty


@pytest.mark.parametrize("seed", range(3))
def test_values_planted_in_the_future_change_nothing(ward: WardTables, seed: int) -> None:
    random = np.random.default_rng(seed)
    before = build_rounds(ward).rows
    cut = {
        patient: rows["ended"].iloc[random.integers(len(rows))]
        for patient, rows in before.groupby("patient_id")
    }
    names = [*list_results(), "pulse", "temperature", "oxygen", "consciousness", "respiration"]
    planted = []
    for patient, at in cut.items():
        known = int(at.timestamp() * 1000) + 1_800_001 + int(random.integers(0, 10**8))
        for name in names:
            # Some say that they are of long ago: they became known later all the same.
            of = known - int(random.choice([0, 10**7, 10**8]))
            row: dict[str, Any] = {"patient_id": patient, "name": name, "at_ms": of}
            row["known_ms"] = known
            planted.append({**row, "value": float(random.choice([0.9, 30, 200]))})
            planted.append({**row, "value": None, "reason": "wrong unit"})
    more = pa.concat_tables([ward.measurements, pa.Table.from_pylist(planted, MEASUREMENTS)])
    after = build_rounds(replace(ward, measurements=more)).rows

    assert len(planted) > 500
    settled = before["ended"] <= before["patient_id"].map(cut)
    same = after.merge(before.loc[settled, ["patient_id", "ended"]], on=["patient_id", "ended"])
    assert settled.sum() > 100
    assert_frame_equal(same[KNOWN], before.loc[settled, KNOWN].reset_index(drop=True))


def test_one_patient_alone_has_the_rows_of_the_whole_ward(ward: WardTables) -> None:
    together = build_rounds(ward).rows
    for patient in ("sim-3", "sim-11", "sim-40"):
        own = WardTables(
            *(
                table.filter(pa.compute.equal(table["patient_id"], patient))
                for table in (ward.people, ward.stays, ward.measurements, ward.scales)
            )
        )
        own_rows = together.loc[together["patient_id"] == patient, KNOWN]
        assert_frame_equal(build_rounds(own).rows[KNOWN], own_rows.reset_index(drop=True))


def test_the_order_of_the_rows_changes_no_digit(ward: WardTables) -> None:
    order = np.random.default_rng(1).permutation(ward.measurements.num_rows)
    mixed = replace(ward, measurements=ward.measurements.take(order))

    assert_frame_equal(build_rounds(mixed).rows, build_rounds(ward).rows)


def test_the_same_seed_gives_the_same_ward(ward: WardTables) -> None:
    again = simulate_ward(60, seed=7)

    assert again.measurements.equals(ward.measurements) and again.stays.equals(ward.stays)
    assert not simulate_ward(60, seed=8).measurements.equals(ward.measurements)


def test_alerts_are_counted_by_hand() -> None:
    base = pd.Timestamp("2026-03-01", tz="UTC")
    hours = pd.to_timedelta([0, 10, 20, 0, 10], unit="h")
    rows = pd.DataFrame(
        {
            "patient_id": ["a", "a", "a", "b", "b"],
            "encounter_id": ["a", "a", "a", "b", "b"],
            "ended": base + hours,
            "event": [base + pd.Timedelta(hours=28)] * 3 + [pd.NaT] * 2,
            "deteriorated": [0, 1, 1, 0, 0],
        }
    )
    score = np.array([7, 5, 7, 6, 1.0])
    found = measure_alerts(rows, score, 5, bed_days=4)

    assert (found.alerts, found.sensitivity, found.ppv) == (4, 1, 0.5)
    assert found.alerts_per_100_bed_days == 100
    # The alert at hour 0 is more than a day before the event at 28: the first that counts is at 10.
    assert (found.events, found.events_alerted, found.lead_hours[1]) == (1, 1, 18)
    assert measure_alerts(rows, score, 7, 4).lead_hours[1] == 8
    assert find_threshold(rows["deteriorated"].to_numpy(float), score, 1.0) == 5
    assert find_threshold(rows["deteriorated"].to_numpy(float), score, 0.5) == 7
    nobody = measure_alerts(rows, score, 99, 4)
    assert nobody.alerts == 0 and np.isnan(nobody.ppv) and np.isnan(nobody.lead_hours[1])


def test_bed_days_are_those_of_the_stays() -> None:
    tables = read_tables([person(), stay(0, 36), *a_round(2), *a_round(30)])
    assert count_bed_days(build_rounds(tables).rows, tables.stays.to_pandas()) == 1.5
    goes_on = read_tables([person(), stay(0), *a_round(12)])
    assert count_bed_days(build_rounds(goes_on).rows, goes_on.stays.to_pandas()) == 0.5


def test_the_model_and_news2_are_judged_side_by_side() -> None:
    tables = simulate_ward(250, seed=5)
    frame = build_frame({name: getattr(tables, name) for name in TASK.views})
    task = replace(TASK, learners=("logistic",))
    found = evaluate_ward(frame, tables.stays.to_pandas(), task, resamples=20)

    assert {"model", "news2", "prevalence"} <= set(found.evaluation.performance)
    by_news2, by_model = found.alerts[0][1], found.alerts[1][1]
    # NEWS2 has points that tie; the model's alerts are as few as reach its sensitivity.
    assert by_model.sensitivity >= by_news2.sensitivity > 0
    assert by_news2.events == by_model.events > 5
    assert 0 < found.incomplete < 0.5
    # Rounds are many, events few: what is too little to judge says so.
    assert found.evaluation.grade == "too-few-outcomes"


def test_the_task_is_listed_and_is_not_scored_in_batches() -> None:
    assert get_task("deterioration-24h") is TASK
    # Without a name it is the task that learns from the de-identified views.
    assert get_task().name == "readmission-28d"
    asked = CliRunner().invoke(app, ["score", "--task", TASK.name, "--token", "t"])
    assert isinstance(asked.exception, Unprocessable)
