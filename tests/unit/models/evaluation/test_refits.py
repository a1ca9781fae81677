"""Validation over time and across organisations, learning curve, hidden values, membership."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from ehr_fhir.errors import Invalid
from ehr_models.evaluation.membership import attack_membership
from ehr_models.evaluation.refits import (
    HIDDEN_SHARES,
    Predict,
    measure_holdout,
    validate_across_sites,
    validate_over_time,
)
from ehr_models.evaluation.sample import FloatArray, IntArray, Sample, build_sample

ROWS, RESAMPLES = 1500, 30


def fit(features: pd.DataFrame, outcome: FloatArray, people: IntArray) -> Predict:
    model = LogisticRegression().fit(features.fillna(0), outcome)
    return lambda rows: model.predict_proba(rows.fillna(0))[:, 1]


def fit_by_heart(features: pd.DataFrame, outcome: FloatArray, people: IntArray) -> Predict:
    """Fit a model that remembers each person: the nearest row it has seen decides."""
    model = KNeighborsClassifier(1).fit(features, outcome)
    return lambda rows: np.clip(model.predict_proba(rows)[:, 1], 0.05, 0.95)


@pytest.fixture(scope="module")
def data() -> tuple[pd.DataFrame, Sample]:
    chance = np.random.default_rng(41)
    features = pd.DataFrame(chance.normal(size=(ROWS, 4)), columns=["a", "b", "c", "d"])
    risk = 1 / (1 + np.exp(1.2 - features.to_numpy() @ [1.0, 0.5, 0.5, 0.0]))
    outcome = (chance.random(ROWS) < risk).astype(float)
    sites = chance.choice(["north", "south", "west"], ROWS).astype(object)
    sites[:4] = "tiny"
    when = pd.Timestamp("2020-01-01") + pd.to_timedelta(chance.integers(0, 1000, ROWS), unit="D")
    people = chance.integers(0, 900, ROWS)
    return features, build_sample(outcome, people, when=when, sites=sites)


def recording(
    calls: list[tuple[FloatArray, IntArray]],
) -> Callable[[pd.DataFrame, FloatArray, IntArray], Predict]:
    def fit_and_record(features: pd.DataFrame, outcome: FloatArray, people: IntArray) -> Predict:
        calls.append((features.index.to_numpy(), people))
        return fit(features, outcome, people)

    return fit_and_record


def test_over_time_only_what_was_known_by_the_day_is_learnt_from(
    data: tuple[pd.DataFrame, Sample],
) -> None:
    features, sample = data
    calls: list[tuple[FloatArray, IntArray]] = []
    horizon = pd.Timedelta(days=28)

    found = validate_over_time(
        features, sample, recording(calls), horizon=horizon, resamples=RESAMPLES
    )

    assert found is not None and sample.when is not None
    cut = np.datetime64(found.name.removeprefix("from "))
    tested = sample.when >= cut
    ((rows, people),) = calls
    assert (sample.when[rows] + horizon.to_timedelta64() <= cut).all()
    assert not set(people) & set(sample.people[tested])
    assert found.rows == tested.sum() == pytest.approx(ROWS / 4, rel=0.02)
    assert found.learnt_from == len(rows)
    assert found.auroc.low > 0.6
    assert found.slope.low < 1 < found.slope.high


def test_each_organisation_is_tested_by_a_model_that_saw_nobody_of_it(
    data: tuple[pd.DataFrame, Sample],
) -> None:
    features, sample = data
    calls: list[tuple[FloatArray, IntArray]] = []

    found = validate_across_sites(features, sample, recording(calls), resamples=RESAMPLES)

    assert sample.sites is not None
    assert [site.name for site in found.sites] == ["north", "south", "west"]
    assert found.too_few == ("tiny",)
    for site, (_, people) in zip(found.sites, calls, strict=True):
        assert not set(people) & set(sample.people[sample.sites == site.name])
        assert site.rows == (sample.sites == site.name).sum()


def test_validation_asks_for_what_it_needs(data: tuple[pd.DataFrame, Sample]) -> None:
    features, sample = data
    bare = build_sample(sample.outcome, sample.people)

    with pytest.raises(Invalid, match="instant"):
        validate_over_time(features, bare, fit, horizon=pd.Timedelta(days=1))
    with pytest.raises(Invalid, match="organisation"):
        validate_across_sites(features, bare, fit)


def test_the_learning_curve_grows_on_others_and_falls_on_what_was_learnt(
    data: tuple[pd.DataFrame, Sample],
) -> None:
    features, sample = data
    noise = np.random.default_rng(1).normal(size=(ROWS, 40))
    wide = features.assign(**{f"noise{n}": column for n, column in enumerate(noise.T)})

    found = measure_holdout(wide, sample, fit, resamples=RESAMPLES)

    assert found is not None
    first, last = found.learning_curve[0], found.learning_curve[-1]
    assert last.test.auroc.value > first.test.auroc.value
    assert last.learnt_auroc < first.learnt_auroc
    assert {point.test.rows for point in found.learning_curve} == {last.test.rows}


def test_hidden_values_cost_discrimination_until_nothing_is_left(
    data: tuple[pd.DataFrame, Sample],
) -> None:
    features, sample = data

    found = measure_holdout(features, sample, fit, resamples=RESAMPLES)

    assert found is not None
    aurocs = [point.auroc.value for point in found.missingness]
    assert tuple(point.share for point in found.missingness) == HIDDEN_SHARES
    assert aurocs[0] == found.learning_curve[-1].test.auroc.value
    assert aurocs[0] > aurocs[2] > aurocs[4]


def test_too_few_people_are_not_validated(data: tuple[pd.DataFrame, Sample]) -> None:
    features, sample = data
    few = build_sample(sample.outcome[:30], sample.people[:30])

    assert measure_holdout(features[:30], few, fit) is None
    assert attack_membership(features[:30], few, fit) is None


def test_attacks_on_a_model_that_generalises_are_at_chance(
    data: tuple[pd.DataFrame, Sample],
) -> None:
    found = attack_membership(*data, fit, resamples=RESAMPLES)

    assert found is not None
    assert found.are_at_chance()
    assert all(attack.auroc.value == pytest.approx(0.5, abs=0.05) for attack in found.attacks)


def test_attacks_find_out_a_model_that_learns_by_heart(data: tuple[pd.DataFrame, Sample]) -> None:
    found = attack_membership(*data, fit_by_heart, resamples=RESAMPLES)

    assert found is not None
    assert not found.are_at_chance()
    assert {attack.name for attack in found.attacks} == {"loss", "likelihood-ratio"}
    # It errs about others only.
    assert min(attack.auroc.low for attack in found.attacks) > 0.55
