"""Evaluation by rolling origins: each forecast is made with what was known on its day, and scored.

The last year is cut into blocks of 91 days. Forecasters learn from the days before a block and
forecast from origins in it, nine days apart, so that weekdays take turns. Intervals are calibrated
on errors known at each origin. The first block only calibrates, and chooses the candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ehr_models.forecasting.conformal import calibrate
from ehr_models.forecasting.forecaster import HORIZON, MEDIAN, WEEK, Forecaster, Quantiles
from ehr_models.forecasting.metrics import (
    INTERVALS,
    Comparison,
    Interval,
    compare_losses,
    cover,
    pinball_loss,
    resample_coverage,
    seasonal_scale,
)
from ehr_models.forecasting.panel import Panel

__all__ = [
    "FEWEST_DAYS", "Backtest", "ScoreTable", "Scores", "average", "backtest", "choose_candidate",
    "list_origins", "score",
]  # fmt: skip

_BLOCK = 13 * WEEK
_MOST_BLOCKS = 5
# Nine and seven have no common divisor.
_STEP = 9
_LEARNT_FIRST = 52 * WEEK
# A year to learn from, one block to calibrate on, one to judge by.
FEWEST_DAYS = _LEARNT_FIRST + 2 * _BLOCK + HORIZON
# A count that repeats itself exactly leaves seasonal-naive no error to divide by.
_SMALLEST = 1e-9
# Origins that share target days with one before.
_OVERLAP = -(-HORIZON // _STEP) - 1


@dataclass(frozen=True)
class Backtest:
    """What a forecaster said at each origin, as it was and calibrated, and what came.

    Arrays (origin, hospital, day ahead), the quantiles with a last axis of levels. Origins before
    position `judged_from` of `origins` calibrate, and judge nothing.
    """

    name: str
    origins: NDArray[np.int64]
    judged_from: int
    raw: Quantiles
    calibrated: Quantiles
    observed: NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """How a forecaster did, over some hospitals and days ahead alike."""

    # Mean absolute error of the median.
    mae: float
    # By the scale of `seasonal_scale`: below 1 is better than seasonal-naive was before.
    mase: float
    # MAE by that of seasonal-naive on the same days.
    relative_mae: float
    pinball: float
    coverage: dict[float, Interval]
    mean_width: dict[float, float]
    # Of the absolute errors, against seasonal-naive.
    comparison: Comparison


@dataclass(frozen=True)
class ScoreTable:
    """The scores of a forecaster: by hospital, by week ahead over all hospitals, and over all."""

    each: tuple[Scores, ...]
    weeks: tuple[Scores, ...]
    every: Scores


def list_origins(length: int) -> list[NDArray[np.int64]]:
    """Return the origins of each block, for a panel of so many days."""
    blocks = min(_MOST_BLOCKS, (length - HORIZON - _LEARNT_FIRST) // _BLOCK)
    last = length - HORIZON - 1
    begins = [last + 1 - _BLOCK * back for back in range(blocks, 0, -1)]
    return [np.arange(begin, begin + _BLOCK, _STEP) for begin in begins]


def backtest(forecaster: Forecaster, panel: Panel) -> Backtest:
    """Let a forecaster learn before each block and forecast from the block's origins."""
    blocks = list_origins(len(panel))
    origins = np.concatenate(blocks)
    observed = panel.values[origins[:, None] + np.arange(1, HORIZON + 1)].swapaxes(1, 2)
    parts = []
    for block in blocks:
        forecaster.fit(panel.cut(int(block[0]) + 1))
        parts.append(forecaster.predict(panel.cut(int(block[-1]) + 1), block))
    raw = np.concatenate(parts)
    calibrated = calibrate(raw, observed, origins)
    return Backtest(forecaster.name, origins, len(blocks[0]), raw, calibrated, observed)


def average(name: str, tests: Sequence[Backtest]) -> Backtest:
    """Return the mean of the forecasts of several, quantile by quantile, calibrated anew."""
    raw = np.mean([test.raw for test in tests], axis=0)
    calibrated = calibrate(raw, tests[0].observed, tests[0].origins)
    return replace(tests[0], name=name, raw=raw, calibrated=calibrated)


def choose_candidate(tests: Sequence[Backtest]) -> Backtest:
    """Return the one with the lowest pinball loss in the first block, relative to each hospital."""

    def loss(test: Backtest) -> float:
        first = slice(test.judged_from)
        observed = test.observed[first]
        scale = np.maximum(observed.mean(axis=(0, 2)), 1.0)
        return float((pinball_loss(test.raw[first], observed) / scale[:, None]).mean())

    return min(tests, key=loss)


def score(test: Backtest, reference: Backtest, panel: Panel, seed: int) -> ScoreTable:
    """Return the scores of a test, whose panel it was made on."""
    scale = seasonal_scale(panel.cut(int(test.origins[0]) + 1))
    every, ahead = np.arange(len(panel.hospitals)), np.arange(HORIZON)

    def score_part(hospitals: NDArray[np.int64], days: NDArray[np.int64]) -> Scores:
        return _score_part(test, reference, scale, hospitals, days, seed)

    return ScoreTable(
        each=tuple(score_part(own, ahead) for own in every[:, None]),
        weeks=tuple(score_part(every, week) for week in ahead.reshape(-1, WEEK)),
        every=score_part(every, ahead),
    )


def _score_part(
    test: Backtest,
    reference: Backtest,
    scale: NDArray[np.float64],
    hospitals: NDArray[np.int64],
    days: NDArray[np.int64],
    seed: int,
) -> Scores:
    """Return the scores of some hospitals and days ahead; `scale` is that of MASE."""
    judged = np.ix_(np.arange(test.judged_from, len(test.origins)), hospitals, days)
    observed = test.observed[judged]
    quantiles = test.calibrated[judged]
    errors = np.abs(quantiles[..., MEDIAN] - observed)
    others = np.abs(reference.calibrated[judged][..., MEDIAN] - observed)
    return Scores(
        mae=float(errors.mean()),
        mase=float((errors / np.maximum(scale[np.ix_(hospitals, days)], _SMALLEST)).mean()),
        relative_mae=float(errors.mean() / max(others.mean(), _SMALLEST)),
        pinball=float(pinball_loss(quantiles, observed).mean()),
        coverage={
            nominal: resample_coverage(
                cover(quantiles, observed, nominal).mean(axis=(1, 2)), _OVERLAP + 1, seed
            )
            for nominal in INTERVALS
        },
        mean_width={
            nominal: float((quantiles[..., high] - quantiles[..., low]).mean())
            for nominal, (low, high) in INTERVALS.items()
        },
        comparison=compare_losses(errors.mean(axis=(1, 2)), others.mean(axis=(1, 2)), _OVERLAP),
    )
