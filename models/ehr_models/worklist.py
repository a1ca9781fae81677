"""A worklist: people in the order of their risk, each with the reasons for it.

It writes nothing about anybody. The reasons are the features that raise a person's log-odds most
above the average; they are reasons of the model, not causes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from ehr_models.learners.portable import PortableModel
from ehr_models.score import list_living
from ehr_models.task import PATIENT, PREDICTED_AT, Feature, Task, Views, select_current

FloatArray = npt.NDArray[np.float64]

# How many reasons a person has at most, and how old a row may be: a census is monthly.
REASONS = 3
NEWEST_WITHIN = timedelta(days=31)


@dataclass(frozen=True)
class WorklistRow:
    """One person: the probability, and the features that raise it with their values."""

    patient: str
    probability: float
    reasons: tuple[tuple[Feature, float], ...]


def build_worklist(
    task: Task,
    model: PortableModel,
    views: Views,
    as_of: datetime,
    codes: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> tuple[WorklistRow, ...]:
    """Return the living whose newest row is of the month before an instant, the riskiest first.

    `views` are of those people only that may be scored; `codes` those of the model.
    """
    frame = task.build_frame(views, **({"codes": codes} if codes else {}))
    known = frame.rows[frame.rows[PREDICTED_AT] <= as_of]
    rows = select_current(known[known[PREDICTED_AT] >= as_of - NEWEST_WITHIN])
    rows = rows[rows[PATIENT].isin(list_living(views))]
    if rows.empty:
        return ()
    inputs = rows[frame.feature_names].to_numpy(dtype=float)
    probabilities = model.predict(inputs)
    contributions = model.explain(inputs).values
    order = np.lexsort((rows[PATIENT].to_numpy().astype(str), -probabilities))
    return tuple(
        WorklistRow(
            str(rows[PATIENT].iloc[place]),
            float(probabilities[place]),
            _find_reasons(frame.features, inputs[place], contributions[place]),
        )
        for place in order
    )


def explain_row(row: WorklistRow) -> str:
    """Return a person's reasons in words.

    >>> falls = Feature("falls", "Falls in 24 months", "1", "condition_flat")
    >>> explain_row(WorklistRow("p", 0.4, ((falls, 2.0),)))
    'Falls in 24 months: 2'
    """
    return "; ".join(
        feature.title + (": not known" if np.isnan(value) else f": {value:g}")
        for feature, value in row.reasons
    )


def _find_reasons(
    features: tuple[Feature, ...], values: FloatArray, contributions: FloatArray
) -> tuple[tuple[Feature, float], ...]:
    order = np.argsort(-contributions, kind="stable")[:REASONS]
    raising = [int(place) for place in order if contributions[place] > 0]
    return tuple((features[place], float(values[place])) for place in raising)
