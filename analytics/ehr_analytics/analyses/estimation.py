"""What the estimators share: array types, the normal quantile, the bound on iterations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_ITERATIONS", "NORMAL_975", "Bools", "Floats"]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

# The standard normal quantile of a two-sided 95 % interval.
NORMAL_975 = 1.959963984540054
# Chosen. Data on which Newton's method has not converged by then do not determine the model.
MAX_ITERATIONS = 50
