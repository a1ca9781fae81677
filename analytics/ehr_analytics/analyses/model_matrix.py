"""Model matrix of a regression: a column for each number, for yes, for each label but the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ehr_analytics.analyses.estimation import Bools, Floats
from ehr_analytics.analyses.frame import CohortFrame
from ehr_analytics.cohorts.labels import YES_NO
from ehr_fhir.errors import Unprocessable

__all__ = ["ModelMatrix", "build_model_matrix"]


@dataclass(frozen=True)
class ModelMatrix:
    """The terms of a model that vary, and their values: a row per person, a column per term.

    `complete` is the mask of the people who have a value of every column that was asked for.
    """

    terms: tuple[str, ...]
    values: Floats
    complete: Bools


def build_model_matrix(frame: CohortFrame, columns: Sequence[str]) -> ModelMatrix:
    """Return the matrix of columns, without the terms that are constant among complete rows."""
    terms: list[str] = []
    values: list[Floats] = []
    for column in columns:
        if column not in frame.result.domains:
            terms.append(column)
            values.append(frame.numbers(column))
            continue
        strata = list(frame.strata([column]))
        # Yes against no, as everybody reads it; of other labels each against the first.
        for stratum in strata[:1] if frame.domain(column) == YES_NO else strata[1:]:
            terms.append(f"{column}: {stratum.labels[0][1]}")
            values.append(stratum.mask.astype(float))
    if not terms:
        raise Unprocessable("A model needs columns.")
    matrix = np.column_stack(values)
    complete = np.asarray(~np.isnan(matrix).any(axis=1), dtype=bool)
    varies = np.zeros(len(terms), dtype=bool)
    if complete.any():
        varies = matrix[complete].std(axis=0) > 0
    varying = tuple(term for term, kept in zip(terms, varies, strict=True) if kept)
    return ModelMatrix(varying, matrix[:, varies], complete)
