"""The learners, and the choice between them on people held out of the rows that are given.

An outer fold gives its training rows alone, so nothing of its test rows tunes anything.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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

__all__ = [
    "LEARNERS",
    "USUAL_LEARNERS",
    "Learner",
    "Rows",
    "choose_model",
    "fit_best",
    "fit_learners",
]

# Settings of a learner by name, and the `log_loss` of the rows held out where some were.
Tuning = Mapping[str, float]

# One part of so many is held out for the choice.
_PARTS = 4
# Penalties per row, from one that leaves little but the prevalence to hardly any.
_PENALTIES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
# More rows change no choice of a penalty, and cost minutes.
_TUNING_ROWS = 50_000
# Of the elastic net: penalty per row, and the share of it on absolute values.
_NETS = tuple(
    {"penalty": penalty, "absolute_share": share}
    for penalty in (1e-2, 1e-3, 1e-4)
    for share in (0.8, 0.2)
)
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
    """Chooses its settings on rows held out, and fits a model by them."""

    @property
    def name(self) -> str:
        """Return the name by which task files know it."""

    @property
    def title(self) -> str:
        """Return its name in words."""

    @property
    def cautious(self) -> Tuning:
        """Return the settings where nobody can be held out."""

    def tune(self, rows: Rows, held_out: npt.NDArray[np.bool_]) -> Tuning:
        """Return the settings that did best on the rows held out."""

    def fit(self, rows: Rows, tuning: Tuning) -> PortableModel:
        """Return the model of these settings fitted to all rows."""


@dataclass(frozen=True)
class RidgeRegression:
    """Logistic regression with a ridge penalty (scikit-learn's, by L-BFGS)."""

    name: str = "logistic"
    title: str = "logistic regression"

    @property
    def cautious(self) -> Tuning:
        """Return the strongest penalty."""
        return {"penalty": _PENALTIES[0]}

    def tune(self, rows: Rows, held_out: npt.NDArray[np.bool_]) -> Tuning:
        """Return the penalty that did best on the rows held out.

        From the strongest on, each fit begun where the one before ended, until the loss grows: the
        weaker ones after it cost most and would do worse.
        """
        learnt = _standardize(_cap(rows.select(~held_out)))
        judged = _cap(rows.select(held_out))
        best, least = _PENALTIES[0], math.inf
        regression = _build_regression(warm_start=True)
        for penalty in _PENALTIES:
            model = _fit_linear(regression, learnt, penalty)
            loss = _log_loss(judged.outcome, model.predict(judged.inputs))
            if loss >= least:
                break
            best, least = penalty, loss
        return {"penalty": best, "log_loss": least}

    def fit(self, rows: Rows, tuning: Tuning) -> PortableModel:
        """Return the model of a penalty fitted to all rows."""
        regression = _build_regression()
        model = _fit_linear(regression, _standardize(rows), tuning["penalty"])
        return replace(model, tuning=tuning)


@dataclass(frozen=True)
class GradientBoosting:
    """Gradient boosting of trees (LightGBM), stopped early.

    `settings` are in the place of the usual ones, `sizes` the numbers of leaves that are tried.
    """

    name: str = "boosting"
    title: str = "gradient boosting (LightGBM)"
    settings: Mapping[str, Any] = field(default_factory=dict)
    sizes: tuple[int, ...] = _LEAVES

    @property
    def cautious(self) -> Tuning:
        """Return one small tree."""
        return {"leaves": self.sizes[0], "trees": 1}

    def tune(self, rows: Rows, held_out: npt.NDArray[np.bool_]) -> Tuning:
        """Return the size and number of trees that did best on the rows held out."""
        import lightgbm

        # Their values are sorted into bins once: the size of a tree changes none.
        settings = {**_BOOSTING, **self.settings}
        learnt = _to_dataset(rows.select(~held_out), settings)
        judged = _to_dataset(rows.select(held_out), settings)
        tried = []
        for leaves in self.sizes:
            booster = lightgbm.train(
                {**settings, "num_leaves": leaves},
                learnt,
                num_boost_round=_MOST_TREES,
                valid_sets=[judged],
                callbacks=[lightgbm.early_stopping(_PATIENCE, verbose=False)],
            )
            loss = float(booster.best_score["valid_0"]["binary_logloss"])
            tried.append(
                {"leaves": leaves, "trees": max(1, booster.best_iteration), "log_loss": loss}
            )
        return min(tried, key=lambda tuning: tuning["log_loss"])

    def fit(self, rows: Rows, tuning: Tuning) -> PortableModel:
        """Return the trees of these settings fitted to all rows."""
        import lightgbm

        settings = {**_BOOSTING, **self.settings, "num_leaves": int(tuning["leaves"])}
        booster = lightgbm.train(
            settings, _to_dataset(rows, settings), num_boost_round=int(tuning["trees"])
        )
        trees = _drop_ranges(booster.model_to_string())
        return BoostedTrees(rows.features, trees, tuning, self.name)


@dataclass(frozen=True)
class ElasticNet:
    """Logistic regression with an elastic net (Zou and Hastie 2005), by SAGA (scikit-learn's).

    A part of the penalty is on absolute values, so that features which add nothing weigh nothing.
    """

    name: str = "elastic-net"
    title: str = "logistic regression with an elastic net"

    @property
    def cautious(self) -> Tuning:
        """Return the strongest penalty."""
        return _NETS[0]

    def tune(self, rows: Rows, held_out: npt.NDArray[np.bool_]) -> Tuning:
        """Return the penalty that did best on the rows held out; of equals the stronger one."""
        learnt = _standardize(_cap(rows.select(~held_out)))
        judged = _cap(rows.select(held_out))
        tried = []
        for net in _NETS:
            model = _fit_linear(_build_net(net), learnt, net["penalty"])
            loss = _log_loss(judged.outcome, model.predict(judged.inputs))
            tried.append({**net, "log_loss": loss})
        return min(tried, key=lambda tuning: tuning["log_loss"])

    def fit(self, rows: Rows, tuning: Tuning) -> PortableModel:
        """Return the model of a penalty fitted to all rows."""
        model = _fit_linear(_build_net(tuning), _standardize(rows), tuning["penalty"])
        return replace(model, tuning=tuning, kind=self.name)


LEARNERS: Mapping[str, Learner] = {
    learner.name: learner
    for learner in (
        RidgeRegression(),
        GradientBoosting(),
        ElasticNet(),
        # No leaf of few rows, and leaves that say little: nothing of a single person can be told
        # from it. For tens of thousands of rows; docs/explanation/model-evaluation.md has the cost.
        GradientBoosting(
            "cautious-boosting",
            "gradient boosting (LightGBM) with large leaves",
            {"min_data_in_leaf": 500, "lambda_l2": 100.0},
            (4,),
        ),
    )
}
# What a task learns with where its file says nothing; the others are for those that ask for them.
USUAL_LEARNERS = ("logistic", "boosting")


def fit_learners(names: Sequence[str], rows: Rows) -> Mapping[str, PortableModel]:
    """Fit learners by name, each tuned on the same people held out of these rows."""
    return {name: LEARNERS[name].fit(rows, tuning) for name, tuning in _tune(names, rows).items()}


def fit_best(names: Sequence[str], rows: Rows) -> PortableModel:
    """Fit the learner that does best on the people held out: `choose_model` of all, at less cost.

    The others are tuned, and not fitted to all rows.
    """
    tunings = _tune(names, rows)
    best = min(tunings, key=lambda name: _read_loss(tunings[name]))
    return LEARNERS[best].fit(rows, tunings[best])


def choose_model(models: Mapping[str, PortableModel]) -> PortableModel:
    """Return the model that did best on the people held out; of equals the first."""
    return min(models.values(), key=lambda model: _read_loss(model.tuning))


def _tune(names: Sequence[str], rows: Rows) -> Mapping[str, Tuning]:
    held_out = assign_folds(rows.people, rows.outcome, _PARTS) == 0
    for part in (rows.outcome[held_out], rows.outcome[~held_out]):
        if len(set(part.tolist())) < 2:
            # Too few to hold any out.
            return {name: LEARNERS[name].cautious for name in names}
    return {name: LEARNERS[name].tune(rows, held_out) for name in names}


def _read_loss(tuning: Tuning) -> float:
    return tuning.get("log_loss", math.inf)


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


def _build_regression(*, warm_start: bool = False) -> Any:  # Any: untyped
    from sklearn.linear_model import LogisticRegression as Regression

    return Regression(solver="lbfgs", max_iter=300, tol=1e-5, warm_start=warm_start)


def _build_net(tuning: Tuning) -> Any:  # Any: untyped
    from sklearn.linear_model import LogisticRegression as Regression

    share = tuning["absolute_share"]
    return Regression(solver="saga", l1_ratio=share, max_iter=100, tol=1e-3, random_state=SEED)


def _fit_linear(
    regression: Any,  # Any: scikit-learn has no types
    rows: _Standardized,
    penalty: float,
) -> LogisticRegression:
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    regression.set_params(C=1 / (penalty * len(rows.inputs)))
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


def _drop_ranges(trees: str) -> str:
    """Return LightGBM's text without the least and largest value of each feature.

    These are of single people, and nothing is predicted by them.
    """
    count = len(re.findall("^feature_names=(.*)$", trees, re.MULTILINE)[0].split(" "))
    ranges = "feature_infos=" + " ".join(["none"] * count)
    return re.sub("^feature_infos=.*$", ranges, trees, count=1, flags=re.MULTILINE)


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
