"""The evaluation of a model beside its comparators on one set of out-of-sample predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ehr_fhir.errors import Invalid
from ehr_models.evaluation.bootstrap import RESAMPLES, Statistic, bootstrap
from ehr_models.evaluation.decisions import choose_alert_thresholds
from ehr_models.evaluation.performance import Difference, Performance, Predictor, compare
from ehr_models.evaluation.recalibration import Recalibration, compare_recalibrations
from ehr_models.evaluation.sample import Sample, check_probabilities
from ehr_models.evaluation.subgroups import SubgroupColumn, SubgroupStatistic, read_subgroups
from ehr_models.gate_limits import GateLimits

# The share of rows that raises an alert where a task names none: fairness and sensitivity by group
# are told at it.
ALERT_RATE = 0.1


@dataclass(frozen=True)
class Evaluation:
    """How each predictor did, how the model compares, and how it does by group."""

    model: str
    rows: int
    people: int
    outcomes: int
    resamples: int
    alert_rate: float
    performance: Mapping[str, Performance]
    differences: tuple[Difference, ...]
    subgroups: tuple[SubgroupColumn, ...]
    recalibration: tuple[Recalibration, ...]

    def is_better_than_comparators(self) -> bool:
        """Whether the AUROC is above chance, and above each comparator's by the paired interval."""
        above_chance = self.performance[self.model].auroc.low > 0.5
        return above_chance and all(each.auroc.low > 0 for each in self.differences)

    def suspects_leakage(self, is_synthetic: bool, limit: float = GateLimits.leakage_auroc) -> bool:
        """Whether synthetic data gave an AUROC that honest work does not reach."""
        return is_synthetic and self.performance[self.model].auroc.value > limit


def evaluate(
    sample: Sample,
    predictions: Mapping[str, npt.ArrayLike],
    *,
    model: str,
    rankings: Mapping[str, npt.ArrayLike] | None = None,
    comparators: tuple[str, ...] | None = None,
    alert_rate: float = ALERT_RATE,
    resamples: int = RESAMPLES,
) -> Evaluation:
    """Evaluate probabilities per predictor, made out of sample.

    `rankings` has what a predictor ranks by where that is not its probability, such as a score's
    points. `comparators` are what the model is compared with: all others, if not given. Subgroups,
    fairness and recalibration are of the model.
    """
    if model not in predictions:
        raise Invalid(f"There are no predictions of {model}.")
    predictors = {
        name: _build_predictor(name, probability, (rankings or {}).get(name), sample)
        for name, probability in predictions.items()
    }
    own = predictors[model]
    threshold = float(choose_alert_thresholds(own.ranking, (alert_rate,))[0])
    columns = {
        column: SubgroupStatistic(sample, column, own.probability, own.ranking, threshold)
        for column in sample.groups
    }
    statistics: list[Statistic] = [
        statistic for each in predictors.values() for statistic in each.statistics(sample)
    ]
    values = iter(bootstrap(sample.person_count, [*statistics, *columns.values()], resamples))
    by_predictor = {
        name: (next(values), next(values), next(values), next(values)) for name in predictors
    }
    rivals = tuple(name for name in predictors if name != model)
    return Evaluation(
        model=model,
        rows=sample.rows,
        people=sample.person_count,
        outcomes=int(sample.outcome.sum()),
        resamples=resamples,
        alert_rate=alert_rate,
        performance={
            name: predictors[name].read_performance(sample, figures)
            for name, figures in by_predictor.items()
        },
        differences=compare(
            by_predictor[model][:2],
            {
                name: by_predictor[name][:2]
                for name in (rivals if comparators is None else comparators)
            },
        ),
        subgroups=tuple(
            read_subgroups(sample, column, statistic, next(values), own.probability)
            for column, statistic in columns.items()
        ),
        recalibration=compare_recalibrations(sample, own.probability),
    )


def _build_predictor(
    name: str, probability: npt.ArrayLike, ranking: npt.ArrayLike | None, sample: Sample
) -> Predictor:
    values = check_probabilities(name, probability, sample)
    order = values if ranking is None else np.asarray(ranking, dtype=float)
    if len(order) != sample.rows or np.isnan(order).any():
        raise Invalid(f"The ranking of {name} lacks rows.")
    return Predictor(values, order)
