"""One organisation of a federation: it answers with masked sums over its rows, and with no row."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from ehr_fhir.errors import Conflict, Invalid
from ehr_models.federated.secure_sum import SumParty, Words

__all__ = ["Site", "standardise"]

Floats = npt.NDArray[np.float64]
# Chosen: sums over fewer people would tell of single ones, whatever masks them.
MINIMUM_PEOPLE = 100


class Site(SumParty):
    """An organisation with its rows.

    `features`: n x p, NaN where not known. `outcome`: n, 0 or 1. `people`: n, whose rows they are.
    """

    def __init__(
        self, name: str, features: Floats, outcome: Floats, people: npt.NDArray[np.object_]
    ) -> None:
        super().__init__(name)
        if len(set(people.tolist())) < MINIMUM_PEOPLE:
            raise Conflict(f"{name} has fewer than {MINIMUM_PEOPLE} people to learn from.")
        if not np.isin(outcome, (0.0, 1.0)).all() or np.isinf(features).any():
            raise Invalid(f"An outcome of {name} is not 0 or 1, or a feature is infinite.")
        self._features, self._outcome = features, outcome

    def sum_moments(self, round_name: str) -> Words:
        """Answer with each feature's count, sum and sum of squares where known, and n (3p + 1)."""
        known = ~np.isnan(self._features)
        filled = np.where(known, self._features, 0.0)
        parts = (known.sum(axis=0), filled.sum(axis=0), (filled**2).sum(axis=0), [len(filled)])
        return self.mask(round_name, np.concatenate([np.asarray(part, float) for part in parts]))

    def sum_derivatives(
        self, round_name: str, mean: Floats, scale: Floats, weights: Floats
    ) -> Words:
        """Answer with gradient (k) and Hessian (k x k) of the logistic loss, k = p + 1.

        The features are standardised by `mean` and `scale`; what is not known is the mean.
        """
        inputs = standardise(self._features, mean, scale)
        probability = expit(inputs @ weights)
        gradient = inputs.T @ (probability - self._outcome)
        variance = probability * (1.0 - probability)
        hessian = (inputs * variance[:, None]).T @ inputs
        return self.mask(round_name, np.concatenate([gradient, hessian.ravel()]))


def standardise(features: Floats, mean: Floats, scale: Floats) -> Floats:
    """Return the features as z values with a first column of ones."""
    scaled = np.where(np.isnan(features), 0.0, (features - mean) / scale)
    return np.column_stack([np.ones(len(scaled)), scaled])
