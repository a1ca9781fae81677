"""Training: every forecaster is tested by rolling origins, and what passes the gates is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ehr_fhir.errors import Unavailable
from ehr_models.forecasting.boosting import Boosting
from ehr_models.forecasting.calendar_days import Holidays, Weather
from ehr_models.forecasting.conformal import calibrate
from ehr_models.forecasting.evaluation import (
    FEWEST_DAYS,
    Backtest,
    ScoreTable,
    average,
    backtest,
    choose_candidate,
    score,
)
from ehr_models.forecasting.forecaster import HORIZON, Forecaster, Quantiles, SeasonalNaive
from ehr_models.forecasting.gates import judge
from ehr_models.forecasting.panel import Panel
from ehr_models.forecasting.smoothing import ExponentialSmoothing
from ehr_models.version_files import GateResult

__all__ = ["AVERAGE", "Trained", "select_hospitals", "train"]

AVERAGE = "average of both"
# Chosen: below it a day's count is mostly chance, and a forecast of it tells of single people.
_FEWEST_A_DAY = 5
_RECENT_DAYS = 56
# Five years: what lies before tells little of today, and one wrong date must not make a century.
_MOST_DAYS = 5 * 52 * 7


@dataclass(frozen=True)
class Trained:
    """Forecasts of the 28 days after the panel, and how they were come by.

    `quantiles` is (hospital, day ahead, level), `scores` is by forecaster, and `left_out` tells why
    a hospital has no forecast.
    """

    panel: Panel
    quantiles: Quantiles
    served: str
    candidate: str
    gates: tuple[GateResult, ...]
    scores: Mapping[str, ScoreTable]
    judged_origins: int
    left_out: Mapping[str, str]

    @property
    def verdict(self) -> str:
        """Say in words which forecaster is served, and why."""
        if self.served == self.candidate:
            return f"{self.served} is served: it passed every gate."
        unmet = " ".join(gate.text for gate in self.gates if not gate.is_met)
        return f"{self.served} is served, since {self.candidate} did not pass: {unmet}"


def select_hospitals(panel: Panel) -> tuple[Panel, dict[str, str]]:
    """Return the panel of the hospitals with enough data, and why each other one is left out.

    Of the last five years alone. Unavailable where none has enough.
    """
    panel = panel.keep_last(_MOST_DAYS)
    days = (~np.isnan(panel.values)).sum(axis=0)
    left_out = {}
    for own, hospital in enumerate(panel.hospitals):
        if days[own] < FEWEST_DAYS:
            left_out[hospital] = f"{days[own]} days of {FEWEST_DAYS}"
        elif (recent := panel.values[-_RECENT_DAYS:, own].mean()) < _FEWEST_A_DAY:
            left_out[hospital] = f"{recent:.1f} a day, of {_FEWEST_A_DAY}"
    chosen = tuple(hospital for hospital in panel.hospitals if hospital not in left_out)
    if not chosen:
        raise Unavailable(
            f"Too little data for a forecast: none of {len(panel.hospitals)} hospitals has"
            f" {FEWEST_DAYS} days of counts, with {_FEWEST_A_DAY} a day or more of late."
        )
    return panel.select(chosen), left_out


def train(panel: Panel, holidays: Holidays, weather: Weather, seed: int) -> Trained:
    """Test, choose, judge and forecast; same data and seed give the same numbers."""
    panel, left_out = select_hospitals(panel)
    reference = SeasonalNaive()
    learners = (ExponentialSmoothing(), Boosting(holidays, weather, seed))
    naive = backtest(reference, panel)
    learnt = [backtest(learner, panel) for learner in learners]
    candidates = [*learnt, average(AVERAGE, learnt)]
    candidate = choose_candidate(candidates)
    scores = {test.name: score(test, naive, panel, seed) for test in (naive, *candidates)}
    gates = judge(scores[candidate.name], panel.hospitals)
    is_passed = all(gate.is_met for gate in gates)
    served = candidate if is_passed else naive
    used = [
        own
        for own in (reference, *learners)
        if own.name == served.name or (served.name == AVERAGE and own is not reference)
    ]
    return Trained(
        panel=panel,
        quantiles=_forecast(used, served, panel),
        served=served.name,
        candidate=candidate.name,
        gates=gates,
        scores=scores,
        judged_origins=len(naive.origins) - naive.judged_from,
        left_out=left_out,
    )


def _forecast(used: Sequence[Forecaster], test: Backtest, panel: Panel) -> Quantiles:
    """Return the forecast after the last day, calibrated as the next of the test's origins."""
    origin = np.array([len(panel) - 1])
    for forecaster in used:
        forecaster.fit(panel)
    raw = np.mean([forecaster.predict(panel, origin) for forecaster in used], axis=0)
    to_come = np.full((1, len(panel.hospitals), HORIZON), np.nan)
    calibrated = calibrate(
        np.concatenate([test.raw, raw]),
        np.concatenate([test.observed, to_come]),
        np.concatenate([test.origins, origin]),
    )
    last: Quantiles = calibrated[-1]
    return last
