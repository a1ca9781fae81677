"""How good the model is: out-of-fold by patient, beside LACE and the prevalence, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from ehr_fhir.errors import Unprocessable
from ehr_models.intervals import SEED, Numbers, Performance
from ehr_models.intervals import performance as measure
from ehr_models.tasks.readmission.features import FEATURES, OUTCOME
from ehr_models.tasks.readmission.lace import lace

# Below this many outcomes an estimate is a demonstration (Collins 2016 asks for 100 to validate).
ENOUGH_OUTCOMES = 100
FOLDS = 5


@dataclass(frozen=True)
class Evaluation:
    """What was evaluated on how much, and how each predictor did."""

    stays: int
    people: int
    outcomes: int
    folds: int
    performance: Mapping[str, Performance]
    predictions: pd.DataFrame

    @property
    def verdict(self) -> str:
        """Say in one sentence what the numbers are worth."""
        if self.outcomes < ENOUGH_OUTCOMES:
            return (
                f"Too few returns to judge the model ({rounded(self.outcomes)}; at least "
                f"{ENOUGH_OUTCOMES} are needed): the intervals are wide, the figures a "
                "demonstration."
            )
        ours, theirs = self.performance["logistic"].auroc, self.performance["lace"].auroc
        better = "better than" if ours.low > theirs.high else "not clearly better than"
        return f"On {rounded(self.outcomes)} returns the model is {better} LACE."


def rounded(count: int) -> str:
    """Say a count as it may travel: by the airlock's rule.

    >>> [rounded(count) for count in (0, 7, 8, 44)]
    ['about 0', 'fewer than 8', 'about 10', 'about 45']
    """
    return "fewer than 8" if 0 < count < 8 else f"about {round(count / 5) * 5}"


def pipeline() -> Pipeline:
    """Return the model, untrained: fill in, scale, logistic regression with a strong prior."""
    return make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(C=0.1, max_iter=1000),
    )


def evaluate(frame: pd.DataFrame, resamples: int = 1000) -> Evaluation:
    """Evaluate the model and its baselines on stays whose outcome is known."""
    known = frame[frame[OUTCOME].notna()]
    outcome = known[OUTCOME].to_numpy(dtype=float)
    people = known["patient_id"].to_numpy()
    folds = _folds(outcome, people)
    predictions = known[["patient_id", "encounter_id", OUTCOME]].copy()
    points = lace(known)
    predictions["logistic"] = _out_of_fold(known[list(FEATURES)], outcome, people, folds)
    # LACE is points, not a probability: recalibrated within the folds, as a clinic would. Its order
    # is judged on the points: pooled folds would mix it up.
    predictions["lace"] = _out_of_fold(points.to_frame(), outcome, people, folds)
    order = {"lace": points.to_numpy()}
    # One constant for all folds: pooled fold means would order patients against their outcome.
    predictions["prevalence"] = outcome.mean()
    performance = {
        name: measure(
            outcome,
            predictions[name].to_numpy(),
            order.get(name, predictions[name].to_numpy()),
            people,
            resamples,
        )
        for name in ("logistic", "lace", "prevalence")
    }
    return Evaluation(
        stays=len(known),
        people=len(set(people)),
        outcomes=int(outcome.sum()),
        folds=folds,
        performance=performance,
        predictions=predictions,
    )


def _folds(outcome: Numbers, people: npt.NDArray[np.object_]) -> int:
    returned, stayed = (len(set(people[outcome == value])) for value in (1, 0))
    if returned < 2 or stayed < 2:
        raise Unprocessable(
            f"No model can be trained: {returned} people returned within 28 days and {stayed} "
            "did not; at least two of each are needed."
        )
    return min(FOLDS, returned, stayed)


def _out_of_fold(
    inputs: pd.DataFrame, outcome: Numbers, people: npt.NDArray[np.object_], folds: int
) -> Numbers:
    predicted = np.full(len(outcome), np.nan)
    # A patient's stays are never on both sides: the model would recognise the person.
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=SEED)
    for train, test in splitter.split(inputs, outcome, groups=people):
        if len(set(outcome[train])) < 2:
            predicted[test] = outcome[train].mean()
            continue
        model = pipeline().fit(inputs.iloc[train], outcome[train])
        predicted[test] = model.predict_proba(inputs.iloc[test])[:, 1]
    return predicted
