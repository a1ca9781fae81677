"""Comparators that task files name: published scores from a frame's features.

The LACE index (length of stay, acuity, comorbidity, emergency visits), 0 to 19, as comparator. The
comorbidity item counts active conditions in place of Charlson's score, because no licensed code
list comes with the platform.

van Walraven et al., CMAJ 2010;182:551-557.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ehr_models.task import Comparator

__all__ = ["COMPARATORS", "compute_lace"]

# Lower bounds of the classes of length of stay in days, and the points of each class.
_DAYS = (1, 2, 3, 4, 7, 14)
_DAY_POINTS = (0, 1, 2, 3, 4, 5, 7)


def compute_lace(frame: pd.DataFrame) -> pd.Series[float]:
    """Return the LACE points of each stay.

    >>> stay = {"length_of_stay": [5.0], "emergency": [1.0], "conditions_active": [2.0],
    ...         "prior_emergency_6m": [6.0]}
    >>> float(compute_lace(pd.DataFrame(stay)).iloc[0])  # 4 + 3 + 2 + 4
    13.0
    """
    days = np.asarray(_DAY_POINTS)[np.digitize(frame["length_of_stay"], _DAYS)]
    # Four conditions and more are five points.
    conditions = frame["conditions_active"].where(frame["conditions_active"] < 4, 5)
    visits = frame["prior_emergency_6m"].clip(upper=4)
    return pd.Series(days + 3 * frame["emergency"] + conditions + visits, dtype=float)


# By name: the comparator, and the features that it needs.
COMPARATORS: Mapping[str, tuple[Comparator, tuple[str, ...]]] = {
    "lace": (
        Comparator("lace", "LACE", compute_lace),
        ("length_of_stay", "emergency", "conditions_active", "prior_emergency_6m"),
    )
}
