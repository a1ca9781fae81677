"""What alerts at a threshold would have meant on the ward: how many, how right, how early.

From arrays, for any score: an alert is a round at or above the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Alerts:
    """Alerts at one threshold; a share is NaN where it has no denominator."""

    threshold: float
    # Of the rounds: PPV and sensitivity count each round with its outcome.
    alerts: int
    sensitivity: float
    ppv: float
    alerts_per_100_bed_days: float
    # Of the events that had a round within the horizon before them.
    events: int
    events_alerted: int
    # Hours from the first alert within the horizon to the event: quartiles of those alerted.
    lead_hours: tuple[float, float, float]


def measure_alerts(rows: pd.DataFrame, score: Floats, threshold: float, bed_days: float) -> Alerts:
    """Return what alerts at a threshold would have meant.

    `rows` has `patient_id`, `ended`, `event` and `deteriorated` (1 or 0) as the frame of rounds;
    `score` is one number for each; `bed_days` are those of the stays the rounds are of.
    """
    outcome = rows["deteriorated"].to_numpy(dtype=float)
    alert = score >= threshold
    hits = int((alert & (outcome == 1)).sum())
    before = rows.loc[outcome == 1, ["patient_id", "event", "ended"]].assign(
        alert=alert[outcome == 1]
    )
    events = before.groupby(["patient_id", "event"])["alert"].any()
    first = before[before["alert"]].groupby(["patient_id", "event"])["ended"].min().reset_index()
    lead = (first["event"] - first["ended"]).dt.total_seconds() / 3600
    quartiles = np.quantile(lead, (0.25, 0.5, 0.75)) if len(lead) else (np.nan,) * 3
    return Alerts(
        threshold=threshold,
        alerts=int(alert.sum()),
        sensitivity=_divide(hits, outcome.sum()),
        ppv=_divide(hits, alert.sum()),
        alerts_per_100_bed_days=_divide(100 * float(alert.sum()), bed_days),
        events=len(events),
        events_alerted=int(events.sum()),
        lead_hours=(float(quartiles[0]), float(quartiles[1]), float(quartiles[2])),
    )


def find_threshold(outcome: Floats, score: Floats, sensitivity: float) -> float:
    """Return the highest threshold whose alerts reach a sensitivity, by round.

    >>> find_threshold(np.array([1, 0, 1, 0.0]), np.array([0.9, 0.8, 0.4, 0.1]), 0.5)
    0.9
    """
    of_cases = np.sort(score[outcome == 1])[::-1]
    if not len(of_cases) or not 0 < sensitivity <= 1:
        return float("nan")
    # As many cases as the share needs; what floating point adds to it asks for no further one.
    needed = int(np.ceil(sensitivity * len(of_cases) - 1e-9))
    return float(of_cases[max(needed, 1) - 1])


def count_bed_days(rows: pd.DataFrame, stays: pd.DataFrame) -> float:
    """Return the bed-days of the stays that the rounds are of.

    `stays` are those of `WardTables`; one that goes on counts up to its last round.
    """
    last = rows.groupby("encounter_id")["ended"].max().astype("datetime64[ns, UTC]")
    known = stays.drop_duplicates("encounter_id").set_index("encounter_id").loc[last.index]
    to = pd.to_datetime(known["ended_ms"], unit="ms", utc=True).fillna(last)
    spent = to - pd.to_datetime(known["started_ms"], unit="ms", utc=True)
    return float(spent.dt.total_seconds().sum() / 86_400)


def _divide(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
