"""AUROC, average precision and AUPRC, whole, by group and resampled, against other programs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from ehr_models.evaluation.bootstrap import bootstrap, draw_weights, to_interval
from ehr_models.evaluation.discrimination import (
    AUPRC,
    AUROC,
    AVERAGE_PRECISION,
    RankingStatistic,
    coarsen_curve,
    measure_auroc,
    trace_roc,
)

# (outcome, rank) pairs with many ties, and both outcomes.
RANKED = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), min_size=2, max_size=40).filter(
    lambda rows: len({outcome for outcome, _ in rows}) == 2
)


def arrays(rows: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    outcome, rank = np.array(rows, dtype=float).T
    return outcome, rank


def read_precision(outcome: np.ndarray, rank: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the precision of the whole curve, with a point at each rank."""
    return coarsen_curve(outcome, rank, np.arange(len(outcome)), 0).read_precision(at)


@settings(max_examples=40)
@given(RANKED)
def test_auroc_and_average_precision_are_those_of_scikit_learn(rows: list[tuple[int, int]]) -> None:
    outcome, rank = arrays(rows)
    everybody = np.ones(len(outcome), dtype=np.int64)

    figures = RankingStatistic(outcome, rank, np.arange(len(outcome)))(everybody)[0]

    assert figures[AUROC] == pytest.approx(roc_auc_score(outcome, rank))
    assert figures[AVERAGE_PRECISION] == pytest.approx(average_precision_score(outcome, rank))


@settings(max_examples=40)
@given(RANKED, st.integers(0, 2**32 - 1))
def test_a_weight_counts_as_so_many_equal_rows_in_every_group(
    rows: list[tuple[int, int]], seed: int
) -> None:
    outcome, rank = arrays(rows)
    chance = np.random.default_rng(seed)
    group = chance.integers(0, 3, len(outcome))
    people = chance.integers(0, 4, len(outcome))
    weights = chance.integers(0, 4, 4)

    figures = RankingStatistic(outcome, rank, people, group)(weights)

    for number, row in enumerate(figures):
        times = weights[people] * (group == number)
        kept, order = np.repeat(outcome, times), np.repeat(rank, times)
        if len(set(kept)) < 2:
            assert np.isnan(row).all()
        else:
            assert row[AUROC] == pytest.approx(roc_auc_score(kept, order))
            assert row[AVERAGE_PRECISION] == pytest.approx(average_precision_score(kept, order))


@settings(max_examples=30)
@given(RANKED)
def test_auroc_stays_when_ranks_are_stretched_and_turns_when_they_are_reversed(
    rows: list[tuple[int, int]],
) -> None:
    outcome, rank = arrays(rows)

    assert measure_auroc(outcome, np.exp(3 * rank) - 5) == measure_auroc(outcome, rank)
    assert measure_auroc(outcome, -rank) == pytest.approx(1 - measure_auroc(outcome, rank))


@settings(max_examples=20)
@given(RANKED)
def test_auprc_is_the_integral_of_precision_between_the_points(rows: list[tuple[int, int]]) -> None:
    outcome, rank = arrays(rows)
    everybody = np.ones(len(outcome), dtype=np.int64)

    figures = RankingStatistic(outcome, rank, np.arange(len(outcome)))(everybody)[0]

    edges = [0.0, *(outcome[rank >= cut].sum() / outcome.sum() for cut in range(6, -1, -1))]
    middles = (np.arange(1000) + 0.5) / 1000
    area = sum(
        (high - low) * read_precision(outcome, rank, low + (high - low) * middles).mean()
        for low, high in pairwise(edges)
        if high > low
    )
    assert figures[AUPRC] == pytest.approx(area, abs=1e-4)


def test_auprc_of_a_small_example_worked_by_hand() -> None:
    # One of two positives is ranked first, then two negatives and a positive at one rank: the
    # first half has precision 1; in the second, with x positives of that rank, it is
    # (1 + x) / (1 + 3 x), of which the integral from 0 to 1 is 1/3 + 2/9 ln 4.
    outcome, rank = np.array([1.0, 0, 0, 1]), np.array([9.0, 5, 5, 5])

    figures = RankingStatistic(outcome, rank, np.arange(4))(np.ones(4, dtype=np.int64))[0]

    assert figures[AUPRC] == pytest.approx((1 + 1 / 3 + 2 / 9 * np.log(4)) / 2)


def test_the_roc_curve_is_that_of_scikit_learn() -> None:
    chance = np.random.default_rng(2)
    outcome = (chance.random(200) < 0.3).astype(float)
    rank = np.round(outcome + chance.normal(size=200), 1)
    at = np.linspace(0.05, 0.95, 7)

    false_positive_rate, sensitivity, _ = roc_curve(outcome, rank)

    # Where the curve rises at one rate, both read the same end of the rise only off that rate.
    expected = np.interp(at, false_positive_rate, sensitivity)
    assert trace_roc(outcome, rank, at) == pytest.approx(expected)


def test_an_interval_is_that_of_drawing_rows_person_by_person() -> None:
    chance = np.random.default_rng(5)
    outcome = (chance.random(60) < 0.4).astype(float)
    rank = outcome + chance.normal(size=60)
    people = np.repeat(np.arange(20), 3)
    statistic = RankingStatistic(outcome, rank, people)

    interval = to_interval(bootstrap(20, [statistic], 200, seed=7)[0][:, 0, AUROC])

    drawn = []
    for weights in draw_weights(20, 200, seed=7):
        rows = np.concatenate(
            [np.flatnonzero(people == p) for p in np.repeat(np.arange(20), weights)]
        )
        drawn.append(roc_auc_score(outcome[rows], rank[rows]))
    assert interval.value == pytest.approx(roc_auc_score(outcome, rank))
    assert (interval.low, interval.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    # Two normal distributions one apart: the true AUROC is Phi(1 / sqrt 2) = 0.7602.
    chance = np.random.default_rng(6)
    hits = 0
    for trial in range(40):
        outcome = (chance.random(300) < 0.3).astype(float)
        statistic = RankingStatistic(outcome, outcome + chance.normal(size=300), np.arange(300))
        interval = to_interval(bootstrap(300, [statistic], 200, seed=trial)[0][:, 0, AUROC])
        hits += interval.low <= 0.7602 <= interval.high

    # 95 % of 40 is 38; by chance fewer than 33 come in 1 of 1000 runs.
    assert hits >= 33


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.integers(1, 60))
def test_no_two_points_of_a_published_curve_tell_of_few_people(
    seed: int, fewest: int, ranks: int
) -> None:
    chance = np.random.default_rng(seed)
    rows = int(chance.integers(20, 300))
    outcome = (chance.random(rows) < chance.uniform(0.05, 0.6)).astype(float)
    outcome[:2] = 0, 1
    rank = (
        np.round(outcome + chance.normal(size=rows) * 2, 1)
        if ranks > 30
        else (chance.integers(0, ranks, rows).astype(float))
    )
    people = chance.integers(0, rows // 2 + 1, rows)

    curve = coarsen_curve(outcome, rank, people, fewest)

    order = np.argsort(-rank, kind="stable")
    ends = (curve.false_positives + curve.true_positives).astype(int)
    assert ends[0] == 0 and ends[-1] == rows
    for start, end in pairwise(ends):
        own = order[start:end]
        if len(ends) > 2:
            assert min(len({*people[own[outcome[own] == side]]}) for side in (0, 1)) >= fewest
        assert end == rows or rank[own[-1]] != rank[order[end]]
        assert curve.true_positives[ends == end] == outcome[order[:end]].sum()
    at = np.linspace(0, 1, 41)
    assert np.all(np.diff(curve.read_roc(at)) >= 0)
    assert np.all((curve.read_precision(at[1:]) > 0) & (curve.read_precision(at[1:]) <= 1))


def test_of_many_people_the_published_curve_is_near_the_whole_one() -> None:
    chance = np.random.default_rng(3)
    outcome = (chance.random(5000) < 0.2).astype(float)
    rank = outcome + chance.normal(size=5000)
    at = np.linspace(0.05, 1, 20)

    curve = coarsen_curve(outcome, rank, np.arange(5000), 8)

    assert curve.read_roc(at) == pytest.approx(trace_roc(outcome, rank, at), abs=0.01)
    assert curve.read_precision(at) == pytest.approx(read_precision(outcome, rank, at), abs=0.05)
