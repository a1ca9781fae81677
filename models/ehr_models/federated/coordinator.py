"""The coordinator of a federation: Newton's method on sums that no organisation can be read from.

It learns the sums over all organisations in each round, and the model; what those tell is in
`docs/explanation/federated.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from ehr_fhir.errors import Unprocessable
from ehr_models.federated.secure_sum import add_masked
from ehr_models.federated.site import Site, standardise

__all__ = ["FederatedModel", "fit_federated"]

Floats = npt.NDArray[np.float64]
# A feature that varies less is a constant: it is left at its mean.
_SMALLEST_SCALE = 1e-9
_MOST_STEPS = 50
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class FederatedModel:
    """A ridge logistic regression: weights of z values, the intercept first; how many rounds."""

    mean: Floats
    scale: Floats
    weights: Floats
    rounds: int

    def predict(self, features: Floats) -> Floats:
        """Return the probability of the outcome for rows of features (n x p, NaN if not known)."""
        inputs = standardise(features, self.mean, self.scale)
        probability: Floats = expit(inputs @ self.weights)
        return probability


def fit_federated(sites: Sequence[Site], penalty: float = 1.0) -> FederatedModel:
    """Return the model that minimises the loss over all sites plus penalty / 2 times |weights|^2.

    The intercept has no penalty. Unprocessable where Newton's method finds no end.
    """
    keys = {site.name: site.public_key for site in sites}
    for site in sites:
        site.meet(keys)
    mean, scale = _sum_moments(sites)
    weights = np.zeros(len(mean) + 1)
    ridge = np.full(len(weights), penalty)
    ridge[0] = 0.0
    for step in range(_MOST_STEPS):
        answers = [site.sum_derivatives(f"step {step}", mean, scale, weights) for site in sites]
        size = len(weights)
        total = add_masked(answers)
        gradient = total[:size] + ridge * weights
        hessian = total[size:].reshape(size, size) + np.diag(ridge)
        change = np.linalg.solve(hessian, gradient)
        weights = weights - change
        if float(np.max(np.abs(change))) < _TOLERANCE:
            return FederatedModel(mean, scale, weights, step + 2)
    raise Unprocessable("The model over all organisations does not settle: raise the penalty.")


def _sum_moments(sites: Sequence[Site]) -> tuple[Floats, Floats]:
    """Return each feature's mean and standard deviation over all sites."""
    total = add_masked([site.sum_moments("moments") for site in sites])
    known, sums, squares = total[:-1].reshape(3, -1)
    counts = np.maximum(known, 1.0)
    mean = sums / counts
    scale = np.sqrt(np.maximum(squares / counts - mean**2, 0.0))
    return mean, np.where(scale < _SMALLEST_SCALE, 1.0, scale)
