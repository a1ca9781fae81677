"""What the estimators share: array types, a model of ratios, the bound on iterations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ehr_analytics.disclosure.two_by_two import NORMAL_975

__all__ = ["MAX_ITERATIONS", "NORMAL_975", "Bools", "Floats", "RatioModel"]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

# Chosen. Data on which Newton's method has not converged by then do not determine the model.
MAX_ITERATIONS = 50


@dataclass(frozen=True)
class RatioModel:
    """Coefficients on the scale of the logarithm, and their standard errors: one per ratio."""

    coefficients: Floats
    errors: Floats

    def interval(self, place: int) -> tuple[float, float]:
        """Return the 95 % interval of a ratio."""
        half = NORMAL_975 * self.errors[place]
        low, high = np.exp(self.coefficients[place] + np.array([-half, half]))
        return float(low), float(high)

    def p_value(self, place: int) -> float:
        """Return Wald's two-sided p of a coefficient."""
        return float(2 * stats.norm.sf(abs(self.coefficients[place] / self.errors[place])))
