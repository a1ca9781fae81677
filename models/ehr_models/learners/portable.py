"""A fitted model as plain files: it predicts, and says what each feature adds to a prediction.

Logistic regression is JSON alone, and is evaluated by NumPy; gradient boosting has LightGBM's text
beside it. Nothing here unpickles, and neither scikit-learn nor MLflow is needed. Contributions are
in log-odds: with the base they add up to the prediction. Those of the boosting are SHAP values
(Lundberg et al., Nature Machine Intelligence 2020;2:56-67).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ehr_fhir.errors import Fault

__all__ = [
    "MODEL_FILE",
    "BoostedTrees",
    "Contributions",
    "FloatArray",
    "LogisticRegression",
    "PortableModel",
    "read_model",
    "write_model",
]

FloatArray = npt.NDArray[np.float64]

MODEL_FILE, TREES_FILE = "model.json", "trees.txt"
_FORMAT = 1


@dataclass(frozen=True)
class Contributions:
    """What each feature (column) adds to each prediction (row), in log-odds, over `base`."""

    base: float
    values: FloatArray


class PortableModel(Protocol):
    """A fitted model over named features; `tuning` says how it was chosen."""

    @property
    def kind(self) -> str:
        """Return the learner's name."""

    @property
    def features(self) -> tuple[str, ...]:
        """Return the names of the features, in the order of the columns."""

    @property
    def tuning(self) -> Mapping[str, float]:
        """Return the settings chosen, and the `log_loss` of the rows held out for the choice."""

    def predict(self, inputs: FloatArray) -> FloatArray:
        """Return the probability of the outcome of each row."""

    def explain(self, inputs: FloatArray) -> Contributions:
        """Return what each feature adds to each row's log-odds."""


@dataclass(frozen=True)
class LogisticRegression:
    """Coefficients of standardised features; an unknown value takes the fill."""

    features: tuple[str, ...]
    intercept: float
    coefficients: tuple[float, ...]
    fill: tuple[float, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    tuning: Mapping[str, float] = field(default_factory=dict)
    kind: str = "logistic"

    def predict(self, inputs: FloatArray) -> FloatArray:
        """Return the probability of the outcome of each row."""
        # Not through the contributions: a matrix of them would be as large as the inputs.
        weights = np.asarray(self.coefficients) / np.asarray(self.scale)
        base = self.intercept - float(weights @ np.asarray(self.centre))
        return _to_probability(self._fill(inputs) @ weights + base)

    def explain(self, inputs: FloatArray) -> Contributions:
        """Return what each feature adds to each row's log-odds."""
        standard = (self._fill(inputs) - np.asarray(self.centre)) / np.asarray(self.scale)
        return Contributions(self.intercept, standard * np.asarray(self.coefficients))

    def _fill(self, inputs: FloatArray) -> FloatArray:
        _require_width(inputs, self.features)
        return np.where(np.isnan(inputs), np.asarray(self.fill), inputs)


@dataclass(frozen=True)
class BoostedTrees:
    """LightGBM's trees as its own text."""

    features: tuple[str, ...]
    trees: str
    tuning: Mapping[str, float] = field(default_factory=dict)
    kind: str = "boosting"

    def predict(self, inputs: FloatArray) -> FloatArray:
        """Return the probability of the outcome of each row."""
        _require_width(inputs, self.features)
        if not len(inputs):
            return np.zeros(0)
        raw = self._booster.predict(inputs, raw_score=True, num_threads=1)
        return _to_probability(np.asarray(raw, dtype=float))

    def explain(self, inputs: FloatArray) -> Contributions:
        """Return what each feature adds to each row's log-odds."""
        _require_width(inputs, self.features)
        if not len(inputs):
            return Contributions(0.0, np.zeros((0, len(self.features))))
        values = np.asarray(self._booster.predict(inputs, pred_contrib=True, num_threads=1))
        return Contributions(float(values[0, -1]), values[:, :-1])

    @cached_property
    def _booster(self) -> Any:  # Any: LightGBM's booster
        # Late: it takes a second, and a logistic regression is served without it.
        import lightgbm

        return lightgbm.Booster(model_str=self.trees)


def write_model(model: PortableModel) -> Mapping[str, bytes]:
    """Return a model as files by name."""
    if isinstance(model, BoostedTrees):
        content = {"features": model.features, "tuning": dict(model.tuning), "kind": model.kind}
        return {MODEL_FILE: _to_json(content), TREES_FILE: model.trees.encode()}
    if isinstance(model, LogisticRegression):
        return {MODEL_FILE: _to_json(asdict(model))}
    raise Fault(f"A model of the kind {model.kind} has no files.")


def read_model(files: Mapping[str, bytes]) -> PortableModel:
    """Return the model of files that `write_model` gave; whoever calls has checked who wrote them.

    Fault where they are none of this version's.
    """
    try:
        content = json.loads(files[MODEL_FILE])
        if content.pop("format") != _FORMAT:
            raise Fault("The model's files are of another version of the platform: train it anew.")
        features, kind = tuple(content.pop("features")), content.pop("kind")
        if kind in ("boosting", "cautious-boosting"):
            return BoostedTrees(features, files[TREES_FILE].decode(), content["tuning"], kind)
        if kind not in ("logistic", "elastic-net"):
            raise Fault(f"There is no model of the kind {kind!r}.")
        return LogisticRegression(
            features=features,
            intercept=content["intercept"],
            coefficients=tuple(content["coefficients"]),
            fill=tuple(content["fill"]),
            centre=tuple(content["centre"]),
            scale=tuple(content["scale"]),
            tuning=content["tuning"],
            kind=kind,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Fault("The model's files are not those of a model.") from error


def _to_json(content: Mapping[str, Any]) -> bytes:
    # Python writes the shortest digits that give a float back exactly.
    return json.dumps({"format": _FORMAT, **content}, indent=1).encode()


def _require_width(inputs: FloatArray, features: tuple[str, ...]) -> None:
    if inputs.ndim != 2 or inputs.shape[1] != len(features):
        raise Fault(f"The model takes {len(features)} features, not those of {inputs.shape}.")


def _to_probability(log_odds: FloatArray) -> FloatArray:
    # Beyond 700 exp() overflows a float; the probability is 1 long before.
    probability: FloatArray = 1 / (1 + np.exp(-np.clip(log_odds, -700, 700)))
    return probability
