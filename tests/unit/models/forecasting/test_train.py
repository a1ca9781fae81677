"""From counts to a forecast: who has too little data, the gates, what is served, what is shown."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ehr_fhir.errors import Invalid, Unavailable
from ehr_models.forecasting.calendar_days import NO_WEATHER, Holidays, read_holidays, read_weather
from ehr_models.forecasting.evaluation import FEWEST_DAYS, Scores, ScoreTable
from ehr_models.forecasting.gates import judge
from ehr_models.forecasting.metrics import Comparison, Interval
from ehr_models.forecasting.panel import Panel, build_panel, read_counts_file
from ehr_models.forecasting.publish import CONTROLLED_FILE, PLOT_FILE, Provenance, build_files
from ehr_models.forecasting.release import control_rows
from ehr_models.forecasting.simulation import simulate
from ehr_models.forecasting.tasks import get_task
from ehr_models.forecasting.train import select_hospitals, train

HOLIDAYS = read_holidays()
FIRST = pd.Timestamp("2024-01-01")
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def make_panel(days: int, seed: int = 2) -> Panel:
    return build_panel(simulate(1, FIRST, days, HOLIDAYS, seed).attendances)


def test_the_same_data_and_seed_give_the_same_files() -> None:
    provenance = Provenance("a file", {}, 0)

    files = [
        build_files(
            get_task("attendances"),
            train(make_panel(FEWEST_DAYS), HOLIDAYS, NO_WEATHER, 0),
            provenance,
            NOW,
        )
        for _ in range(2)
    ]

    assert files[0] == files[1]
    report = json.loads(files[0]["report.json"])
    assert report["data"]["sha256"] and report["code_sha256"] and report["seed"] == 0
    assert set(report["scores"]["seasonal-naive"]["hospitals"]) == {"hospital-01"}
    assert b"<title>A&amp;E attendances</title>" in files[0][PLOT_FILE]
    shown = json.loads(files[0][CONTROLLED_FILE])["rows"]
    numbers = [value for row in shown for name, value in row.items() if name[0] == "q"]
    served = json.loads(files[0][CONTROLLED_FILE])["served"]
    is_shown = served != "seasonal-naive"
    assert all(value % 5 == 0 if is_shown else value is None for value in numbers)


def test_what_is_no_better_than_the_reference_is_not_served_and_it_is_said() -> None:
    # The same week over and over: the last same weekday is always right.
    week = np.array([110.0, 104, 100, 99, 98, 94, 95])
    panel = Panel(FIRST, ("one",), np.tile(week, 82)[:, None])

    trained = train(panel, HOLIDAYS, NO_WEATHER, 0)

    assert trained.served == "seasonal-naive"
    assert trained.verdict.startswith("seasonal-naive is served, since ")
    assert "did not pass: 80% intervals held 100.0%; 77% to 83% is needed" in trained.verdict
    assert np.array_equal(trained.quantiles[0, :7, 2], week)


def scores(mase: float, coverage: tuple[float, float, float]) -> Scores:
    none = Comparison(Interval(-1, -2, 0), 0.05, 40)
    shares = {0.80: Interval(*coverage), 0.95: Interval(0.95, 0.93, 0.97)}
    return Scores(10.0, mase, mase, 1.0, shares, {0.80: 1.0, 0.95: 2.0}, none)


@pytest.mark.parametrize(
    ("each", "every", "unmet"),
    [
        ([(0.9, (0.80, 0.75, 0.85))], (0.80, 0.77, 0.83), set()),
        ([(1.0, (0.80, 0.75, 0.85))], (0.80, 0.77, 0.83), {"mase", "relative-mae"}),
        ([(0.9, (0.80, 0.75, 0.85))], (0.76, 0.72, 0.80), {"coverage-80"}),
        # Beyond chance at one hospital, though right over all.
        (
            [(0.9, (0.70, 0.65, 0.75)), (0.9, (0.9, 0.85, 0.95))],
            (0.80, 0.77, 0.83),
            {"coverage-80"},
        ),
    ],
)
def test_a_gate_says_what_was_missed(
    each: list[tuple[float, tuple[float, float, float]]],
    every: tuple[float, float, float],
    unmet: set[str],
) -> None:
    names = [f"h{number}" for number in range(len(each))]

    gates = judge(ScoreTable(tuple(scores(*own) for own in each), (), scores(0.9, every)), names)

    assert {gate.gate for gate in gates if not gate.is_met} == unmet


def test_too_little_data_is_said_instead_of_a_forecast() -> None:
    with pytest.raises(Unavailable, match="Too little data for a forecast"):
        train(make_panel(FEWEST_DAYS - 1), HOLIDAYS, NO_WEATHER, 0)
    with pytest.raises(Unavailable, match="none of 0 hospitals"):
        train(
            build_panel(pd.DataFrame(columns=["hospital", "day", "count"])), HOLIDAYS, NO_WEATHER, 0
        )


def test_a_hospital_with_few_days_or_few_people_is_left_out_by_name() -> None:
    large = make_panel(FEWEST_DAYS).values[:, 0]
    new = np.where(np.arange(FEWEST_DAYS) < 400, np.nan, large)
    values = np.column_stack([large, new, large * 0 + 2])

    chosen, left_out = select_hospitals(Panel(FIRST, ("large", "new", "small"), values))

    assert chosen.hospitals == ("large",)
    assert left_out == {"new": "174 days of 574", "small": "2.0 a day, of 5"}


def test_one_wrong_date_makes_no_century() -> None:
    values = np.concatenate([np.zeros(40_000), make_panel(700).values[:, 0]])[:, None]

    chosen, _ = select_hospitals(Panel(pd.Timestamp("1900-01-01"), ("one",), values))

    assert (len(chosen), chosen.last_day.year) == (1820, 2011)


COLUMNS = ("q10", "q50", "q90")


def control(*values: float, served: str = "exponential-smoothing") -> list[object]:
    rows = [{"hospital": "one", **dict(zip(COLUMNS, values, strict=True))}]
    shown = control_rows(rows, COLUMNS, "q50", served)[0]
    return [shown[name] for name in COLUMNS]


def test_small_forecasts_are_hidden_and_others_rounded_where_they_are_shown() -> None:
    assert control(6.6, 12.4, 21.0) == [None, 10, 20]
    # Beside a middle that is hidden the others would tell it.
    assert control(1.0, 7.4, 18.0) == [None, None, None]


def test_the_ends_of_an_interval_do_not_tell_a_count_behind_its_rounding() -> None:
    # The middle is 38 to 42, and whichever it is, the same numbers are shown: rounded one by one,
    # the ends would tell which.
    assert {str(control(m - 9.0, float(m), m + 9.0)) for m in range(38, 43)} == {"[30, 40, 50]"}


def test_counts_that_are_served_as_a_forecast_are_not_shown() -> None:
    assert control(30.0, 41.0, 60.0, served="seasonal-naive") == [None, None, None]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hospital,day,number\na,2026-01-01,1\n", "has the columns"),
        ("hospital,day,count\na,2026-01-32,1\n", "Row 2 of"),
        ("hospital,day,count\na,2026-01-01,1\na,2026-01-01,2\n", "two counts of one day"),
        ("hospital,day,count\na,2026-01-01,1\na,2026-01-03,2\n", "days without a count"),
        ("hospital,day,count\na,2026-01-01,many\n", "zero or more"),
        ("hospital,day,count\na,2026-01-01,-1\n", "zero or more"),
    ],
)
def test_a_wrong_file_of_counts_is_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "counts.csv"
    path.write_text(text)

    with pytest.raises(Invalid, match=said):
        build_panel(read_counts_file(path))


def test_holidays_of_a_year_that_is_not_in_the_table_are_unknown() -> None:
    flags = HOLIDAYS.flag(pd.DatetimeIndex(["2026-04-06", "2026-04-08", "2031-01-01"]))

    assert flags[:2].tolist() == [1, 0]
    assert np.isnan(flags[2])
    assert np.isnan(Holidays(frozenset(), frozenset()).flag(pd.DatetimeIndex([FIRST]))).all()


def test_every_year_of_the_shipped_table_has_its_seventeen_holidays_and_none_on_a_sunday() -> None:
    years = [day.year for day in HOLIDAYS.days]

    assert {year: years.count(year) for year in HOLIDAYS.years} == dict.fromkeys(
        range(2024, 2028), 17
    )
    assert all(day.dayofweek < 6 for day in HOLIDAYS.days)


def test_weather_is_a_column_of_numbers_by_day(tmp_path: Path) -> None:
    path = tmp_path / "weather.csv"
    path.write_text("day,warmth\n2026-01-02,11.5\n")

    found = read_weather(path).align(pd.DatetimeIndex(["2026-01-01", "2026-01-02"]))

    assert np.array_equal(found, [[np.nan], [11.5]], equal_nan=True)
    path.write_text("day,warmth\n2026-01-02,mild\n")
    with pytest.raises(Invalid, match="columns of numbers"):
        read_weather(path)


@pytest.mark.slow
@pytest.mark.parametrize("key", ["attendances", "beds"])
def test_simulated_hospitals_are_forecast_near_the_truth_with_intervals_that_hold(key: str) -> None:
    """Ten hospitals, three years: coverage within 3 points of what the intervals promise."""
    made = simulate(10, FIRST, 1096, HOLIDAYS, seed=2)
    panel = build_panel(getattr(made, key))

    trained = train(panel, HOLIDAYS, NO_WEATHER, 0)

    every = trained.scores[trained.candidate].every
    assert every.coverage[0.80].value == pytest.approx(0.80, abs=0.03)
    assert every.coverage[0.95].value == pytest.approx(0.95, abs=0.03)
    assert every.mase < 1
    assert every.comparison.difference.high < 0
    if key == "attendances":
        # Who knew the truth behind the counts would err as chance has it, and no less.
        truth = np.abs(made.expected - panel.values)[-483:].mean()
        assert truth < every.mae < 1.5 * truth
