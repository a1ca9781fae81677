"""Performance by group of patients, with intervals, and fairness at one threshold by fairlearn.

A group is judged only where enough of its persons have the outcome and enough have not: below that
a figure tells about single persons, and nothing about the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from fairlearn.metrics import (
    MetricFrame,
    false_negative_rate,
    false_positive_rate,
    selection_rate,
)

from ehr_models.evaluation.bootstrap import Interval, to_interval
from ehr_models.evaluation.calibration import fit_intercept, fit_weak_calibration
from ehr_models.evaluation.discrimination import AUROC, AVERAGE_PRECISION, RankingStatistic
from ehr_models.evaluation.sample import FloatArray, IntArray, Sample

# As many persons as the airlock asks for behind a count (policy opensafely-7-5: more than 7).
MINIMUM_PEOPLE = 8
# What groups of fewer people are called, all together.
FEW = "groups of fewer than 8 people"
_FAIRNESS = {
    "selection_rate": selection_rate,
    "false_negative_rate": false_negative_rate,
    "false_positive_rate": false_positive_rate,
}


@dataclass(frozen=True)
class Subgroup:
    """One group; its figures are None where it has too few persons of one outcome."""

    group: str
    rows: int
    people: int
    outcomes: int
    auroc: Interval | None
    average_precision: Interval | None
    observed: Interval | None
    mean_predicted: float | None
    # Observed over expected outcomes: 1 is right, above 1 the risk is underestimated.
    observed_over_expected: Interval | None
    in_the_large: Interval | None
    slope: Interval | None
    # At the threshold of the alerts.
    alerts: int | None
    true_alerts: int | None
    sensitivity: Interval | None
    positive_predictive_value: Interval | None

    def list_figures_of_few(self, minimum: int) -> frozenset[str]:
        """Return the figures that tell of fewer rows than the minimum."""
        if self.alerts is None or self.true_alerts is None:
            return frozenset()
        hidden = set[str]()
        if min(self.true_alerts, self.outcomes - self.true_alerts) < minimum:
            hidden.add("sensitivity")
        if min(self.true_alerts, self.alerts - self.true_alerts) < minimum:
            hidden.add("positive_predictive_value")
        return frozenset(hidden)


@dataclass(frozen=True)
class FairnessGap:
    """How far judged groups lie apart in one rate: by group, largest difference with interval."""

    metric: str
    # Rows of the smallest cell of a group by outcome and alert.
    smallest_cell: int
    by_group: Mapping[str, float]
    difference: Interval
    ratio: float

    def list_figures_of_few(self, minimum: int) -> frozenset[str]:
        """Return the figures that tell of fewer rows than the minimum.

        With the rate of one group, which may be shown, the difference tells that of another.
        """
        is_few = self.smallest_cell < minimum
        return frozenset({"by_group", "difference", "ratio"} if is_few else ())


@dataclass(frozen=True)
class SubgroupColumn:
    """All groups of one column, and how far those that were judged lie apart."""

    column: str
    groups: tuple[Subgroup, ...]
    fairness: tuple[FairnessGap, ...]


class SubgroupStatistic:
    """A statistic for `bootstrap`: counts and ranking figures of every group of one column.

    Returns groups x 7: rows, outcomes, alerts, true alerts, expected outcomes, AUROC, average
    precision.
    """

    def __init__(
        self,
        sample: Sample,
        column: str,
        probability: FloatArray,
        ranking: FloatArray,
        threshold: float,
    ) -> None:
        code, names = pd.factorize(_pool_groups_of_few(sample, column), sort=True)
        self.names = [str(name) for name in names]
        self.code: IntArray = code.astype(np.int64)
        self._sample, self._probability = sample, probability
        alert = ranking >= threshold
        self._cell = self.code * 4 + 2 * alert + sample.outcome.astype(np.int64)
        self._ranking = RankingStatistic(sample.outcome, ranking, sample.people, self.code)

    def __call__(self, weights: IntArray) -> FloatArray:
        """Return the figures of each group under these weights of the persons."""
        count = len(self.names)
        of_row = weights[self._sample.people]
        cells = np.bincount(self._cell, weights=of_row, minlength=4 * count).reshape(count, 4)
        expected = np.bincount(self.code, weights=of_row * self._probability, minlength=count)
        figures = self._ranking(weights)
        return np.column_stack(
            [
                cells.sum(axis=1),
                cells[:, 1] + cells[:, 3],
                cells[:, 2] + cells[:, 3],
                cells[:, 3],
                expected,
                figures[:, AUROC],
                figures[:, AVERAGE_PRECISION],
            ]
        )


def read_subgroups(
    sample: Sample,
    column: str,
    statistic: SubgroupStatistic,
    values: FloatArray,
    probability: FloatArray,
) -> SubgroupColumn:
    """Return the figures of a column's groups from the bootstrapped values of its statistic."""
    groups = []
    judged = []
    for number, name in enumerate(statistic.names):
        chosen = statistic.code == number
        is_judged = _has_enough_people(sample, chosen)
        judged.append(is_judged)
        groups.append(
            _read_group(sample, name, chosen, values[:, number], probability)
            if is_judged
            else _unjudged(sample, name, chosen)
        )
    fairness: tuple[FairnessGap, ...] = ()
    if sum(judged) > 1:
        fairness = _read_fairness(statistic, values, np.flatnonzero(judged))
    return SubgroupColumn(column, tuple(groups), fairness)


def measure_fairness(names: Sequence[str], cells: FloatArray) -> MetricFrame:
    """Return fairlearn's frame of selection, false negative and false positive rate by group.

    `cells` has per group the rows without alert or outcome, with the outcome alone, with the alert
    alone, and with both: as weights they give the same rates as the rows one by one, at once.
    """
    weights = {"sample_weight": cells.ravel()}
    count = len(names)
    return MetricFrame(
        metrics=_FAIRNESS,
        y_true=np.tile([0, 1, 0, 1], count),
        y_pred=np.tile([0, 0, 1, 1], count),
        sensitive_features=np.repeat(np.asarray(names, dtype=object), 4),
        sample_params=dict.fromkeys(_FAIRNESS, weights),
    )


def _pool_groups_of_few(sample: Sample, column: str) -> pd.Series[str]:
    """Return the groups of a column; those of fewer people than are reported are one, unnamed.

    A report that names a language of one person tells that somebody speaks it.
    """
    groups = pd.Series(np.asarray(sample.groups[column], dtype=object))
    people = pd.Series(sample.people).groupby(groups).nunique()
    few = people.index[people < MINIMUM_PEOPLE]
    return groups.mask(groups.isin(few), FEW)


def _has_enough_people(sample: Sample, chosen: np.ndarray) -> bool:
    with_outcome = sample.count_people(chosen & (sample.outcome == 1))
    without = sample.count_people(chosen & (sample.outcome == 0))
    return min(with_outcome, without) >= MINIMUM_PEOPLE


def _read_group(
    sample: Sample, name: str, chosen: np.ndarray, values: FloatArray, probability: FloatArray
) -> Subgroup:
    rows, outcomes, alerts, true_alerts, expected, auroc, average_precision = values.T
    observed, predicted, people = (
        sample.outcome[chosen],
        probability[chosen],
        sample.people[chosen],
    )
    return Subgroup(
        group=name,
        rows=int(rows[0]),
        people=sample.count_people(chosen),
        outcomes=int(outcomes[0]),
        auroc=to_interval(auroc),
        average_precision=to_interval(average_precision),
        observed=to_interval(_divide(outcomes, rows)),
        mean_predicted=float(predicted.mean()),
        observed_over_expected=to_interval(_divide(outcomes, expected)),
        in_the_large=fit_intercept(observed, predicted, people),
        slope=fit_weak_calibration(observed, predicted, people)[1],
        alerts=int(alerts[0]),
        true_alerts=int(true_alerts[0]),
        sensitivity=to_interval(_divide(true_alerts, outcomes)),
        positive_predictive_value=to_interval(_divide(true_alerts, alerts)),
    )


def _unjudged(sample: Sample, name: str, chosen: np.ndarray) -> Subgroup:
    return Subgroup(
        name,
        int(chosen.sum()),
        sample.count_people(chosen),
        int(sample.outcome[chosen].sum()),
        *(None,) * 11,
    )


def _read_fairness(
    statistic: SubgroupStatistic, values: FloatArray, judged: IntArray
) -> tuple[FairnessGap, ...]:
    rows, outcomes, alerts, true_alerts = values[:, judged, :4].transpose(2, 0, 1)
    neither = rows - outcomes - alerts + true_alerts
    cells = np.stack([neither, outcomes - true_alerts, alerts - true_alerts, true_alerts])
    names = [statistic.names[number] for number in judged]
    frame = measure_fairness(names, cells[:, 0].T)
    differences, ratios = frame.difference(), frame.ratio()
    # The same rates in every resample, for the interval of the largest difference.
    rates = {
        "selection_rate": _divide(alerts, rows),
        "false_negative_rate": _divide(outcomes - true_alerts, outcomes),
        "false_positive_rate": _divide(alerts - true_alerts, rows - outcomes),
    }
    return tuple(
        FairnessGap(
            metric=metric,
            smallest_cell=int(cells[:, 0].min()),
            by_group={str(name): float(rate) for name, rate in frame.by_group[metric].items()},
            difference=to_interval(np.r_[differences[metric], np.ptp(rates[metric][1:], axis=1)]),
            ratio=float(ratios[metric]),
        )
        for metric in _FAIRNESS
    )


def _divide(part: FloatArray, whole: FloatArray) -> FloatArray:
    ratio = np.full(part.shape, np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio
