"""Watching a model: planted shifts are found, quiet months are quiet."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ehr_models.registry import get_task
from ehr_models.train import read_gold, train_model
from ehr_models.watch import (
    FEWEST_PEOPLE,
    MINIMUM_ROWS,
    SCORE,
    Profile,
    Week,
    build_profile,
    watch_weeks,
)
from ehr_models.watch_run import watch_version
from tests.lib import gold

NOW = datetime(2026, 1, 5, tzinfo=UTC)
Floats = npt.NDArray[np.float64]
WEEKS = 4
MONDAY = pd.Timestamp("2026-03-02", tz="UTC")


def draw(rng: np.random.Generator, rows: int) -> tuple[pd.DataFrame, Floats, Floats]:
    """Return inputs, scores that are right, and outcomes."""
    inputs = pd.DataFrame(
        {
            "age": rng.normal(70, 12, rows).round(),
            "female": rng.integers(0, 2, rows).astype(float),
            "visits": rng.poisson(0.5, rows).astype(float),
            "sodium": np.where(rng.random(rows) < 0.3, np.nan, rng.normal(138, 4, rows)),
        }
    )
    odds = -2 + (inputs["age"] - 70) / 20 + inputs["visits"] * 0.4
    scores = np.asarray(1 / (1 + np.exp(-odds)), dtype=float)
    return inputs, scores, (rng.random(rows) < scores).astype(float)


def spread(rows: int) -> pd.Series[pd.Timestamp]:
    """Return instants spread over four weeks, a quarter of the rows in each."""
    offsets = pd.to_timedelta(np.arange(rows) * 7 * WEEKS * 86_400 // rows, unit="s")
    return pd.Series(MONDAY + offsets)


@pytest.fixture(scope="module")
def profile() -> Profile:
    inputs, scores, _ = draw(np.random.default_rng(0), 20_000)
    return build_profile(inputs, scores)


def list_alarms(weeks: list[Week]) -> list[tuple[date, str, str]]:
    return [(week.monday, one.kind, one.about) for week in weeks for one in week.alarms]


def test_quiet_months_are_quiet(profile: Profile) -> None:
    alarms = []
    for seed in range(1, 31):
        rows = (400, 4000, 60 * WEEKS)[seed % 3]
        weeks = watch_weeks(profile, *draw(np.random.default_rng(seed), rows), spread(rows))
        assert len(weeks) == WEEKS
        alarms += list_alarms(list(weeks))

    # 120 weeks at one in a thousand: two or more are as likely as 7 in 1000.
    assert len(alarms) < 2


@pytest.mark.parametrize("rows", [2000, 8000])
def test_a_planted_shift_is_found_in_its_week(profile: Profile, rows: int) -> None:
    inputs, scores, outcomes = draw(np.random.default_rng(3), rows)
    when = spread(rows)
    third = (when >= MONDAY + pd.Timedelta(days=14)) & (when < MONDAY + pd.Timedelta(days=21))
    inputs.loc[third, "age"] += 12
    inputs.loc[third & (np.arange(rows) % 2 == 0), "sodium"] = np.nan
    outcomes[third.to_numpy() & (np.arange(rows) % 3 == 0)] = 1.0

    weeks = list(watch_weeks(profile, inputs, scores, outcomes, when))

    expected = {("psi", "age"), ("missing", "sodium"), ("calibration", SCORE)}
    assert list_alarms(weeks) and {alarm[1:] for alarm in list_alarms(weeks)} == expected
    assert {alarm[0] for alarm in list_alarms(weeks)} == {date(2026, 3, 16)}


def test_scores_that_are_off_are_told_once_outcomes_arrive(profile: Profile) -> None:
    inputs, scores, outcomes = draw(np.random.default_rng(4), 4000)
    when = spread(4000)
    unknown = np.full(4000, np.nan)

    early = list(watch_weeks(profile, inputs, scores, unknown, when))
    late = list(watch_weeks(profile, inputs, scores, np.minimum(outcomes, 0), when))

    assert [(week.observed, week.auroc) for week in early] == [(None, None)] * WEEKS
    assert {kind for _, kind, _ in list_alarms(late)} == {"calibration"}
    assert len(list_alarms(late)) == WEEKS


def test_figures_agree_with_an_oracle(profile: Profile) -> None:
    inputs, scores, outcomes = draw(np.random.default_rng(5), 4000)
    weeks = watch_weeks(profile, inputs, scores, outcomes, spread(4000))

    first = weeks[0]
    assert first.auroc == pytest.approx(roc_auc_score(outcomes[:1000], scores[:1000]))
    assert first.expected == pytest.approx(scores[:1000].mean())
    assert first.missing["sodium"] == pytest.approx(inputs["sodium"][:1000].isna().mean())
    # The two bins of yes and no, worked by hand (half a row added to each).
    learnt = np.array(profile.distributions["female"].counts) + 0.5
    now = np.array([(inputs["female"][:1000] == value).sum() for value in (0, 1)]) + 0.5
    expected, actual = learnt / learnt.sum(), now / now.sum()
    by_hand = np.sum((actual - expected) * np.log(actual / expected))
    assert first.psi["female"] == pytest.approx(by_hand)


def test_a_week_of_few_rows_is_not_judged(profile: Profile) -> None:
    rows = MINIMUM_ROWS - 1
    inputs, scores, outcomes = draw(np.random.default_rng(6), rows)

    assert watch_weeks(profile, inputs, scores, outcomes, pd.Series([MONDAY] * rows)) == []


def test_an_alarm_is_of_enough_people(profile: Profile) -> None:
    # Hardly anybody had it when the model learnt; now five of sixty have, or nine.
    yes = pd.DataFrame({"rare": np.repeat([0.0, 1.0], [19_990, 10])})
    learnt = build_profile(yes, np.full(20_000, 0.1))

    def watch(people: int) -> list[tuple[date, str, str]]:
        inputs = pd.DataFrame({"rare": np.repeat([0.0, 1.0], [60 - people, people])})
        unknown = np.full(60, np.nan)
        when = pd.Series([MONDAY] * 60)
        return list_alarms(list(watch_weeks(learnt, inputs, np.full(60, 0.1), unknown, when)))

    assert watch(5) == []
    assert watch(9) == [(MONDAY.date(), "psi", "rare")]


def test_a_profile_is_kept_as_json(profile: Profile) -> None:
    assert Profile.from_json(json.loads(json.dumps(profile.to_json()))) == profile


def test_the_weeks_of_a_version_are_compared_with_its_own_profile(tmp_path: Path) -> None:
    gold.write(tmp_path, gold.made_up(300))
    task = get_task("readmission-28d")
    trained = train_model(task, read_gold(task, tmp_path), tmp_path, NOW, resamples=20)
    rows = task.build_frame(read_gold(task, tmp_path).views).rows
    last = rows["ended"].max().to_pydatetime() + timedelta(days=8)

    views = read_gold(task, tmp_path).views
    watched = watch_version(task, trained.version, views, last, 5000)

    assert watched.rows == len(rows)
    assert 0 < watched.mean_score < 1
    assert all(week.rows >= MINIMUM_ROWS for week in watched.weeks)
    nothing = watch_version(task, trained.version, views, last, 1)
    assert nothing.rows < watched.rows


def test_no_bin_of_a_profile_tells_of_few_people() -> None:
    rng = np.random.default_rng(4)
    for rows in (5, 30, 300):
        people = rng.integers(0, rows // 3 + 1, rows)
        rare = np.where(np.arange(rows) < 9, 1.0, 0.0)
        inputs = pd.DataFrame(
            {
                "rare": rare,
                "few unknown": np.where(people < 3, np.nan, rng.normal(size=rows)),
                "many unknown": np.where(rng.random(rows) < 0.7, np.nan, rng.normal(size=rows)),
                "steps": rng.integers(0, 20, rows).astype(float),
            }
        )
        found = build_profile(inputs, rng.random(rows), people).distributions

        for name, one in found.items():
            values = rng.random(rows) if name == SCORE else inputs[name].to_numpy()
            if name == SCORE:
                continue
            known = ~np.isnan(values)
            bins = np.searchsorted(np.asarray(one.edges), values[known], side="left")
            told = {number: len({*people[known][bins == number]}) for number in {*bins}}
            if len({*people[known]}) >= FEWEST_PEOPLE:
                assert min(told.values()) >= FEWEST_PEOPLE
                assert sum(one.counts) == known.sum()
            else:
                assert (one.edges, one.counts) == ((), (0,))
            assert one.missing == 0 or len({*people[~known]}) >= FEWEST_PEOPLE or not one.edges
        assert len(found["steps"].edges) > 3 or rows < 300
