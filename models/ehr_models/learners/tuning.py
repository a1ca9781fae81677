"""The two learners, and the choice between them on people held out of the rows that are given.

An outer fold gives its training rows alone, so nothing of its test rows tunes anything.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ehr_models.learners.folds import SEED, assign_folds
from ehr_models.learners.portable import (
    BoostedTrees,
    FloatArray,
    LogisticRegression,
    PortableModel,
)
from ehr_models.task import PATIENT, Frame

__all__ = ["LEARNERS", "Learner", "Rows", "choose_model", "fit_learners"]

# One part of so many is held out for the choice.
_PARTS = 4
# Penalties per row, from hardly any to one that leaves little but the prevalence.
_PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
# More rows change no choice of a penalty, and cost minutes.
_TUNING_ROWS = 50_000
_LEAVES = (4, 15)
_LEARNING_RATE, _MOST_TREES, _PATIENCE = 0.05, 600, 30
_BOOSTING: Mapping[str, Any] = {
    "objective": "binary",
    "learning_rate": _LEARNING_RATE,
    "min_data_in_leaf": 20,
    "lambda_l2": 1.0,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "max_bin": 63,
    "seed": SEED,
    # The same digits each time. One thread: on a machine that does more than this, two wait for
    # each other at every split.
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}


@dataclass(frozen=True)
class Rows:
    """What is learnt from: inputs (rows by features), outcomes (1 or 0), whose each row is."""

    features: tuple[str, ...]
    inputs: FloatArray
    outcome: FloatArray
    people: npt.NDArray[Any]

    @classmethod
    def of_frame(cls, frame: Frame) -> Rows:
        """Return the rows of a frame whose outcome is known."""
        labelled = frame.select_labelled()
        return cls(
            tuple(labelled.feature_names),
            labelled.rows[labelled.feature_names].to_numpy(dtype=float),
            labelled.rows[frame.target].to_numpy(dtype=float),
            labelled.rows[PATIENT].to_numpy(),
        )

    def select(self, chosen: npt.NDArray[Any]) -> Rows:
        """Return some rows, by a mask or by their numbers."""
        return replace(
            self,
            inputs=self.inputs[chosen],
            outcome=self.outcome[chosen],
            people=self.people[chosen],
        )


class Learner(Protocol):
    """Fits a model, its settings chosen on the rows held out."""

    @property
    def name(self) -> str:
        """Return the name by which task files know it."""

    @property
    def title(self) -> str:
        """Return its name in words."""

    def fit(self, rows: Rows, held_out: npt.NDArray[np.bool_]) -> PortableModel:
        """Return the model fitted to all rows with the settings that did best on those held out."""


@dataclass(frozen=True)
class RidgeRegression:
    """Logistic regression with a ridge penalty (scikit-learn's, by Newton's method)."""

    name: str = "logistic"
    title: str = "logistic regression"

    def fit(self, rows: Rows, held_out: npt.NDArray[np.bool_]) -> PortableModel:
        """Return the model fitted to all rows with the penalty that did best on those held out."""
        learnt = _standardize(_cap(rows.select(~held_out)))
        judged = _cap(rows.select(held_out))
        losses = {
            penalty: _log_loss(judged.outcome, _fit_ridge(learnt, penalty).predict(judged.inputs))
            for penalty in _PENALTIES
        }
        # Of equals the stronger penalty.
        best = min(reversed(_PENALTIES), key=lambda penalty: losses[penalty])
        model = _fit_ridge(_standardize(rows), best)
        return replace(model, tuning={"penalty": best, "log_loss": losses[best]})


@dataclass(frozen=True)
class GradientBoosting:
    """Gradient boosting of trees (LightGBM), stopped early."""

    name: str = "boosting"
    title: str = "gradient boosting (LightGBM)"

    def fit(self, rows: Rows, held_out: npt.NDArray[np.bool_]) -> PortableModel:
        """Return the trees of all rows, as large and as many as did best on those held out."""
        import lightgbm

        # Their values are sorted into bins once: the size of a tree changes none.
        learnt = _to_dataset(rows.select(~held_out), _BOOSTING)
        judged = _to_dataset(rows.select(held_out), _BOOSTING)
        best: tuple[float, int, int] | None = None
        for leaves in _LEAVES:
            settings = {**_BOOSTING, "num_leaves": leaves}
            stop = lightgbm.early_stopping(_PATIENCE, verbose=False)
            booster = lightgbm.train(
                settings,
                learnt,
                num_boost_round=_MOST_TREES,
                valid_sets=[judged],
                callbacks=[stop],
            )
            loss = float(booster.best_score["valid_0"]["binary_logloss"])
            if best is None or loss < best[0]:
                best = (loss, leaves, max(1, booster.best_iteration))
        assert best is not None  # noqa: S101 - there are sizes to try
        loss, leaves, rounds = best
        settings = {**_BOOSTING, "num_leaves": leaves}
        booster = lightgbm.train(settings, _to_dataset(rows, settings), num_boost_round=rounds)
        tuning = {"leaves": leaves, "trees": rounds, "log_loss": loss}
        return BoostedTrees(rows.features, booster.model_to_string(), tuning)


LEARNERS: Mapping[str, Learner] = {
    learner.name: learner for learner in (RidgeRegression(), GradientBoosting())
}


def fit_learners(names: Sequence[str], rows: Rows) -> Mapping[str, PortableModel]:
    """Fit learners by name, each tuned on the same people held out of these rows."""
    held_out = assign_folds(rows.people, rows.outcome, _PARTS) == 0
    for part in (rows.outcome[held_out], rows.outcome[~held_out]):
        if len(set(part.tolist())) < 2:
            # Too few to hold any out.
            return {name: _fit_without_choice(LEARNERS[name], rows) for name in names}
    return {name: LEARNERS[name].fit(rows, held_out) for name in names}


def choose_model(models: Mapping[str, PortableModel]) -> PortableModel:
    """Return the model that did best on the people held out; of equals the first."""
    return min(models.values(), key=lambda model: model.tuning.get("log_loss", math.inf))


@dataclass(frozen=True)
class _Standardized:
    """Inputs without gaps, as z values, and what made them so: one value per feature."""

    features: tuple[str, ...]
    inputs: FloatArray
    outcome: FloatArray
    fill: FloatArray
    centre: FloatArray
    scale: FloatArray


def _standardize(rows: Rows) -> _Standardized:
    with warnings.catch_warnings():
        # A column may be wholly unknown: it says nothing, and weighs nothing.
        warnings.simplefilter("ignore", RuntimeWarning)
        fill = np.nan_to_num(np.nanmedian(rows.inputs, axis=0), nan=0.0)
    inputs = np.where(np.isnan(rows.inputs), fill, rows.inputs)
    centre, scale = inputs.mean(axis=0), inputs.std(axis=0)
    scale[scale == 0] = 1.0
    inputs -= centre
    inputs /= scale
    return _Standardized(rows.features, inputs, rows.outcome, fill, centre, scale)


def _fit_ridge(rows: _Standardized, penalty: float) -> LogisticRegression:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression as Regression
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    regression = Regression(
        C=1 / (penalty * len(rows.inputs)), solver="lbfgs", max_iter=300, tol=1e-5
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # Sums of several threads differ in their last digits.
        with threadpool_limits(1):
            regression.fit(rows.inputs, rows.outcome)
    return LogisticRegression(
        features=rows.features,
        intercept=float(regression.intercept_[0]),
        coefficients=tuple(map(float, regression.coef_[0])),
        fill=tuple(map(float, rows.fill)),
        centre=tuple(map(float, rows.centre)),
        scale=tuple(map(float, rows.scale)),
    )


def _fit_without_choice(learner: Learner, rows: Rows) -> PortableModel:
    """Fit with the most cautious setting, where nobody can be held out."""
    if isinstance(learner, RidgeRegression):
        model = _fit_ridge(_standardize(rows), _PENALTIES[-1])
        return replace(model, tuning={"penalty": _PENALTIES[-1]})
    import lightgbm

    settings = {**_BOOSTING, "num_leaves": _LEAVES[0]}
    booster = lightgbm.train(settings, _to_dataset(rows, settings), num_boost_round=1)
    tuning = {"leaves": _LEAVES[0], "trees": 1}
    return BoostedTrees(rows.features, booster.model_to_string(), tuning)


def _to_dataset(rows: Rows, settings: Mapping[str, Any]) -> Any:  # Any: LightGBM's data set
    import lightgbm

    return lightgbm.Dataset(rows.inputs, rows.outcome, params=dict(settings), free_raw_data=True)


def _cap(rows: Rows) -> Rows:
    """Return at most so many rows, drawn alike each time."""
    if len(rows.outcome) <= _TUNING_ROWS:
        return rows
    drawn = np.random.default_rng(SEED).permutation(len(rows.outcome))[:_TUNING_ROWS]
    return rows.select(np.sort(drawn))


def _log_loss(outcome: FloatArray, probability: FloatArray) -> float:
    kept = np.clip(probability, 1e-12, 1 - 1e-12)
    return float(-np.mean(outcome * np.log(kept) + (1 - outcome) * np.log(1 - kept)))
