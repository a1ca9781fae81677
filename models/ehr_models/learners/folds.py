"""Folds by person: all rows of a person are on one side, and outcomes are dealt evenly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ehr_models.learners.portable import FloatArray

__all__ = ["SEED", "assign_folds"]

# Fixed, so that the same data give the same figures; the number itself is arbitrary.
SEED = 28


def assign_folds(
    people: Sequence[Any] | npt.NDArray[Any], outcome: FloatArray, folds: int, seed: int = SEED
) -> npt.NDArray[np.int64]:
    """Return the number of each row's fold.

    >>> assign_folds(["a", "a", "b", "c"], np.array([1.0, 0.0, 0.0, 1.0]), 2).tolist()[:2]
    [1, 1]
    """
    # By the order of their names, not of the rows: another order of the table changes no fold.
    names, person_of_row = np.unique(np.asarray(people, dtype=str), return_inverse=True)
    has_outcome = np.bincount(person_of_row, outcome, len(names)) > 0
    drawn = np.random.default_rng(seed).permutation(len(names))
    fold_of_person = np.empty(len(names), dtype=np.int64)
    # Who has the outcome is dealt first, so that each fold has nearly as many.
    order = np.concatenate([drawn[has_outcome[drawn]], drawn[~has_outcome[drawn]]])
    fold_of_person[order] = np.arange(len(names)) % folds
    return fold_of_person[person_of_row]
