"""Watch a model in use: do its inputs, its scores and its outcomes still look as when it learnt?

Each week is compared with the profile of the rows the model learnt from: the population stability
index (PSI) of each input and of the score, the share of missing values, and, once outcomes have
arrived, calibration in the large and AUROC. An alarm needs both a change large enough to matter and
one too large for chance: with few rows a PSI of 0.2 is mere noise, with many a tiny change is
certain. Only the profile's bins and shares are kept, of no row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

__all__ = ["Alarm", "Profile", "Week", "build_profile", "watch_weeks"]

Floats = npt.NDArray[np.float64]

# The file of a version that has the profile.
PROFILE_FILE = "profile.json"
BINS = 10
# Weeks of fewer rows are not judged: chosen.
MINIMUM_ROWS = 50
# Rule of thumb of credit scoring: below 0.1 stable, above 0.25 another population.
LARGE_PSI = 0.2
# Rows that lie in other bins than at training, at least: an alarm about fewer would tell of them.
FEWEST_MOVED = 8
# People in each bin that is kept, at least: a bin of fewer becomes one with its neighbour, and
# fewer without a value count as none.
FEWEST_PEOPLE = 8
# A change of the share of missing values in points, and of observed over expected outcomes.
LARGE_MISSING_CHANGE = 0.1
LARGE_RATIO = 1.25
# Probability of a false alarm in one week, over all that is watched in it.
ALPHA = 0.001
SCORE = "score"
# Keeps a bin that is empty on one side from an infinite index.
_HALF_A_ROW = 0.5


@dataclass(frozen=True)
class Distribution:
    """Inner edges of the bins of a value, the rows in each bin, and the rows without a value.

    Of the rows that were learnt from, each bin has FEWEST_PEOPLE or more.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    missing: int


@dataclass(frozen=True)
class Profile:
    """What the rows looked like that a model learnt from: by feature, and the score."""

    distributions: Mapping[str, Distribution]

    def to_json(self) -> Mapping[str, Any]:
        """Return the profile as JSON."""
        return {name: vars(one) for name, one in self.distributions.items()}

    @classmethod
    def from_json(cls, read: Mapping[str, Any]) -> Profile:
        """Return the profile of `to_json`."""
        return cls(
            {
                name: Distribution(tuple(one["edges"]), tuple(one["counts"]), one["missing"])
                for name, one in read.items()
            }
        )


@dataclass(frozen=True)
class Alarm:
    """What changed in a week: `psi`, `missing`, `calibration`, of which input, and by how much."""

    kind: str
    about: str
    value: float
    p: float


@dataclass(frozen=True)
class Week:
    """One week, named by its Monday; `auroc` and `observed` are None until outcomes arrive."""

    monday: date
    rows: int
    psi: Mapping[str, float]
    missing: Mapping[str, float]
    expected: float
    observed: float | None
    auroc: float | None
    alarms: tuple[Alarm, ...]

    def to_json(self) -> Mapping[str, Any]:
        """Return the week as JSON."""
        return {**asdict(self), "monday": self.monday.isoformat()}


def build_profile(
    features: pd.DataFrame, scores: Floats, people: npt.NDArray[Any] | None = None
) -> Profile:
    """Return the profile of the rows that a model learnt from, and of its scores for them.

    `people` is whose each row is; without it each row is somebody's own.
    """
    whose = np.arange(len(scores)) if people is None else np.unique(people, return_inverse=True)[1]
    return Profile({name: _describe(values, whose) for name, values in _columns(features, scores)})


def watch_weeks(
    profile: Profile,
    features: pd.DataFrame,
    scores: Floats,
    outcomes: Floats,
    when: pd.Series[pd.Timestamp],
) -> Sequence[Week]:
    """Compare each week with the profile, the earliest first.

    `features`: n x p, NaN where missing; `scores`: n probabilities; `outcomes`: n, 0, 1, or NaN
    where not known yet; `when`: n instants of prediction. Weeks of too few rows are left out.
    """
    days = pd.to_datetime(when).dt.tz_localize(None).dt.normalize()
    mondays = days - pd.to_timedelta(days.dt.weekday, unit="D")
    weeks = []
    for monday in sorted(mondays.unique()):
        rows = (mondays == monday).to_numpy()
        if int(rows.sum()) >= MINIMUM_ROWS:
            day = pd.Timestamp(monday).date()
            weeks.append(_judge(profile, day, features[rows], scores[rows], outcomes[rows]))
    return weeks


def _judge(
    profile: Profile, monday: date, features: pd.DataFrame, scores: Floats, outcomes: Floats
) -> Week:
    psi, missing, alarms = {}, {}, []
    # Each input is asked twice, the outcome once.
    alpha = ALPHA / (2 * len(profile.distributions) + 1)
    for name, values in _columns(features, scores):
        learnt = profile.distributions[name]
        now = _count(values, learnt.edges)
        psi[name], p = _compare(np.array(learnt.counts), np.array(now.counts))
        if psi[name] >= LARGE_PSI and p < alpha and _count_moved(learnt, now) >= FEWEST_MOVED:
            alarms.append(Alarm("psi", name, psi[name], p))
        missing[name] = now.missing / len(values)
        change, p = _compare_missing(learnt, now)
        if abs(change) >= LARGE_MISSING_CHANGE and p < alpha:
            alarms.append(Alarm("missing", name, missing[name], p))
    known = ~np.isnan(outcomes)
    observed = auroc = None
    if int(known.sum()) >= MINIMUM_ROWS:
        observed = float(outcomes[known].mean())
        auroc = _measure_auroc(outcomes[known], scores[known])
        ratio, p = _compare_outcomes(outcomes[known], scores[known])
        if max(ratio, 1 / ratio if ratio else np.inf) >= LARGE_RATIO and p < alpha:
            alarms.append(Alarm("calibration", SCORE, ratio, p))
    expected = float(scores.mean())
    return Week(monday, len(scores), psi, missing, expected, observed, auroc, tuple(alarms))


def _columns(features: pd.DataFrame, scores: Floats) -> Iterator[tuple[str, Floats]]:
    for name in features:
        yield str(name), features[name].to_numpy(dtype=float)
    yield SCORE, scores


def _describe(values: Floats, people: npt.NDArray[np.int_]) -> Distribution:
    is_known = ~np.isnan(values)
    known = values[is_known]
    missing = len(np.unique(people[~is_known]))
    edges: list[float] = []
    if len(known):
        quantiles = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]))
        # Above the largest value lies no row: a value of yes or no has two bins.
        edges = quantiles[quantiles < known.max()].tolist()
    while edges:
        counts = _count_people(known, people[is_known], edges)
        smallest = int(np.argmin(counts))
        if counts[smallest] >= FEWEST_PEOPLE:
            break
        # The edge to the neighbour that has fewer.
        left, right = (
            counts[place] if 0 <= place < len(counts) else np.inf
            for place in (smallest - 1, smallest + 1)
        )
        del edges[smallest - 1 if left <= right else smallest]
    found = _count(values, edges)
    if sum(found.counts) and len(np.unique(people[is_known])) < FEWEST_PEOPLE:
        return Distribution((), (0,), len(values))
    return found if missing >= FEWEST_PEOPLE else replace(found, missing=0)


def _count_people(
    values: Floats, people: npt.NDArray[np.int_], edges: Sequence[float]
) -> npt.NDArray[np.int_]:
    """Return how many people have a row in each bin."""
    bins = np.searchsorted(np.asarray(edges), values, side="left")
    pairs = np.unique(np.stack([bins, people]), axis=1)
    return np.bincount(pairs[0], minlength=len(edges) + 1)


def _count(values: Floats, edges: Sequence[float]) -> Distribution:
    known = values[~np.isnan(values)]
    bins = np.searchsorted(np.asarray(edges), known, side="left")
    counts = np.bincount(bins, minlength=len(edges) + 1)
    return Distribution(tuple(edges), tuple(counts.tolist()), len(values) - len(known))


def _compare(learnt: npt.NDArray[np.int_], now: npt.NDArray[np.int_]) -> tuple[float, float]:
    """Return the PSI of two counts by bin, and how likely one as large is by chance.

    Where nothing has changed, the PSI times n m / (n + m) is about chi-squared with as many degrees
    of freedom as there are bins but one (Yurdakul and Naranjo, 2020).
    """
    n, m = int(learnt.sum()), int(now.sum())
    if n == 0 or m == 0:
        return 0.0, 1.0
    size = len(learnt) * _HALF_A_ROW
    expected, actual = ((c + _HALF_A_ROW) / (c.sum() + size) for c in (learnt, now))
    index = float(np.sum((actual - expected) * np.log(actual / expected)))
    p = float(stats.chi2.sf(index * n * m / (n + m), max(len(learnt) - 1, 1)))
    return index, p


def _count_moved(learnt: Distribution, now: Distribution) -> float:
    """Return how many rows of now lie in other bins than the shares of training would have them."""
    total = sum(now.counts)
    expected = np.array(learnt.counts) * (total / max(sum(learnt.counts), 1))
    return float(np.abs(np.array(now.counts) - expected).sum() / 2)


def _compare_missing(learnt: Distribution, now: Distribution) -> tuple[float, float]:
    """Return by how much the share of missing values grew, and how likely that is by chance."""
    sides = [(sum(one.counts), one.missing) for one in (learnt, now)]
    shares = [lost / max(known + lost, 1) for known, lost in sides]
    return shares[1] - shares[0], float(stats.fisher_exact(sides).pvalue)


def _compare_outcomes(outcomes: Floats, scores: Floats) -> tuple[float, float]:
    """Return observed over expected outcomes, and how likely it is if the scores are right."""
    expected, variance = float(scores.sum()), float(np.sum(scores * (1 - scores)))
    observed = float(outcomes.sum())
    if expected == 0 or variance == 0:
        return (1.0, 1.0) if observed == expected else (float(np.inf), 0.0)
    # Of independent outcomes with these probabilities; half a count is the continuity correction.
    z = max(abs(observed - expected) - 0.5, 0.0) / np.sqrt(variance)
    return observed / expected, float(2 * stats.norm.sf(z))


def _measure_auroc(outcomes: Floats, scores: Floats) -> float | None:
    positives = int(outcomes.sum())
    negatives = len(outcomes) - positives
    if not positives or not negatives:
        return None
    ranks = stats.rankdata(scores)
    above = float(ranks[outcomes == 1].sum()) - positives * (positives + 1) / 2
    return above / (positives * negatives)
