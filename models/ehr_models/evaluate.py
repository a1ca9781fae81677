"""Cross-validation by patient, with comparators and the prevalence beside the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from ehr_fhir.errors import Unprocessable
from ehr_models.estimators import build_logistic_regression
from ehr_models.evaluation import evaluate as figures
from ehr_models.evaluation.bootstrap import RESAMPLES
from ehr_models.evaluation.performance import Performance
from ehr_models.evaluation.sample import FloatArray, Sample, build_sample
from ehr_models.learners.folds import assign_folds
from ehr_models.learners.tuning import Rows, choose_model, fit_learners
from ehr_models.task import ENCOUNTER, GROUP_PREFIX, PATIENT, PREDICTED_AT, Frame, Task

MAXIMUM_FOLDS = 5
MODEL, PREVALENCE = "model", "prevalence"
# The grades of an evaluation: codes of the extension model-evaluation of a RiskAssessment.
TOO_FEW_OUTCOMES = "too-few-outcomes"
NOT_BETTER = "not-better"
BETTER_THAN_BASELINE = "better-than-baseline"
# The group of an organisation, left out in turn for external validation.
SITE = "provider"


@dataclass(frozen=True)
class Evaluation:
    """How each predictor did; `predictions` are out of fold, one row per stay."""

    task: Task
    folds: int
    predictions: pd.DataFrame
    figures: figures.Evaluation

    @property
    def stays(self) -> int:
        """Number of predictions judged."""
        return self.figures.rows

    @property
    def people(self) -> int:
        """Number of people they are about."""
        return self.figures.people

    @property
    def outcomes(self) -> int:
        """Number of predictions whose outcome came."""
        return self.figures.outcomes

    @property
    def performance(self) -> Mapping[str, Performance]:
        """Figures by predictor."""
        return self.figures.performance

    @property
    def grade(self) -> str:
        """Return what the figures are worth as one code: what a reader's program may act on.

        The model is better where its AUROC's interval lies above chance, and that of its difference
        from each comparator above 0.
        """
        if self.outcomes < self.task.gates.minimum_outcomes:
            return TOO_FEW_OUTCOMES
        is_better = self.figures.is_better_than_comparators()
        return BETTER_THAN_BASELINE if is_better else NOT_BETTER

    @property
    def verdict(self) -> str:
        """Say in one sentence what the figures are worth, by the task's gates."""
        task, count = self.task, round_count(self.outcomes)
        if self.grade == TOO_FEW_OUTCOMES:
            return (
                f"Too few {task.outcome.plural} to judge the model ({count}; at least "
                f"{task.gates.minimum_outcomes} are needed): the intervals are wide, the figures a "
                "demonstration."
            )
        titles = " and ".join(comparator.title for comparator in task.comparators) or "chance"
        better = "better than" if self.grade == BETTER_THAN_BASELINE else "not clearly better than"
        return f"On {count} {task.outcome.plural} the model is {better} {titles}."


def round_count(count: int) -> str:
    """Return a count as it may leave the platform, by the airlock's default policy.

    >>> [round_count(count) for count in (0, 7, 8, 44)]
    ['about 0', 'fewer than 8', 'about 10', 'about 45']
    """
    return "fewer than 8" if 0 < count < 8 else f"about {round(count / 5) * 5}"


def cross_validate(task: Task, frame: Frame, resamples: int = RESAMPLES) -> Evaluation:
    """Evaluate a task's model, its comparators and the prevalence on the labelled rows."""
    labelled = frame.select_labelled().rows
    outcome = labelled[task.target].to_numpy(dtype=float)
    people = labelled[PATIENT].to_numpy()
    folds = _count_folds(task, outcome, people)
    predictions = labelled[[PATIENT, ENCOUNTER, task.target]].copy()
    fold_of_row = assign_folds(people, outcome, folds)
    ranking: dict[str, FloatArray] = {}
    learnt = _predict_by_learners(task, Rows.of_frame(frame), fold_of_row)
    for name, predicted in learnt.items():
        predictions[name] = ranking[name] = predicted
    for comparator in task.comparators:
        points = comparator.compute_points(labelled)
        order: FloatArray = np.asarray(points, dtype=np.float64)
        # Points are no probability: they are recalibrated within the folds, as a clinic would do.
        # Their ranking is judged on the points themselves, since pooling the folds' calibrations
        # would reorder them.
        predictions[comparator.name] = _predict_out_of_fold(
            build_logistic_regression(), points.to_frame(), outcome, fold_of_row
        )
        ranking[comparator.name] = order
    # One constant for all folds: the folds' own means would rank patients against their outcome.
    predictions[PREVALENCE] = outcome.mean()
    ranking[PREVALENCE] = predictions[PREVALENCE].to_numpy()
    # Sums of several threads differ in their last digits, and of small matrices they take longer.
    with threadpool_limits(1):
        found = figures.evaluate(
            build_frame_sample(frame),
            {name: predictions[name] for name in ranking},
            model=MODEL,
            rankings=ranking,
            comparators=tuple(comparator.name for comparator in task.comparators),
            resamples=resamples,
        )
    return Evaluation(task=task, folds=folds, predictions=predictions, figures=found)


def build_frame_sample(frame: Frame) -> Sample:
    """Return the labelled rows of a frame as a sample, with groups, instants, organisations."""
    rows = frame.select_labelled().rows
    # Data of others may have no dates.
    when = rows.get(PREDICTED_AT)
    return build_sample(
        rows[frame.target],
        rows[PATIENT],
        groups={name.removeprefix(GROUP_PREFIX): rows[name] for name in frame.groups},
        when=None if when is None or when.isna().any() else when,
        sites=rows.get(GROUP_PREFIX + SITE),
    )


def _count_folds(task: Task, outcome: FloatArray, people: npt.NDArray[np.object_]) -> int:
    positives, negatives = (len(set(people[outcome == value])) for value in (1, 0))
    if positives < 2 or negatives < 2:
        raise Unprocessable(
            f"No model can be trained: {positives} people {task.outcome.phrase} and {negatives} "
            "did not; at least two of each are needed."
        )
    return min(MAXIMUM_FOLDS, positives, negatives)


def _predict_by_learners(
    task: Task, rows: Rows, fold_of_row: npt.NDArray[np.int64]
) -> dict[str, FloatArray]:
    """Predict each row by models that know nothing of its person, tuned without that person too.

    The model is whichever learner did best on people held out of the training rows of a fold, so
    that the choice between learners is judged as well.
    """
    names = (MODEL, *(task.learners if len(task.learners) > 1 else ()))
    predicted = {name: np.full(len(rows.outcome), np.nan) for name in names}
    for fold in np.unique(fold_of_row):
        test, train = fold_of_row == fold, rows.select(fold_of_row != fold)
        if len(set(train.outcome.tolist())) < 2:
            for values in predicted.values():
                values[test] = train.outcome.mean()
            continue
        models = fit_learners(task.learners, train)
        for name, values in predicted.items():
            model = choose_model(models) if name == MODEL else models[name]
            values[test] = model.predict(rows.inputs[test])
    return predicted


def _predict_out_of_fold(
    estimator: Pipeline,
    inputs: pd.DataFrame,
    outcome: FloatArray,
    fold_of_row: npt.NDArray[np.int64],
) -> FloatArray:
    predicted = np.full(len(outcome), np.nan)
    for fold in np.unique(fold_of_row):
        train, test = np.flatnonzero(fold_of_row != fold), np.flatnonzero(fold_of_row == fold)
        if len(set(outcome[train])) < 2:
            predicted[test] = outcome[train].mean()
            continue
        # `fit` starts anew each time; nothing of a fold stays in the estimator.
        fitted = estimator.fit(inputs.iloc[train], outcome[train])
        predicted[test] = fitted.predict_proba(inputs.iloc[test])[:, 1]
    return predicted
