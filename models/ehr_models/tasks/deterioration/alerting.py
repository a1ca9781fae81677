"""What alerts of the learned model would mean on the ward, beside those of NEWS2."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ehr_models.evaluate import MODEL, Evaluation, cross_validate
from ehr_models.task import Frame, Task
from ehr_models.tasks.deterioration import TASK
from ehr_models.ward.alerts import Alerts, count_bed_days, find_threshold, measure_alerts

# The lines of NEWS2's chart: an urgent and an emergency assessment.
URGENT, EMERGENCY = 5, 7


@dataclass(frozen=True)
class WardEvaluation:
    """How the model did beside NEWS2, out of fold, and the alerts of each."""

    evaluation: Evaluation
    bed_days: float
    # The share of rounds that were scored although a sign was missing.
    incomplete: float
    # Of NEWS2 at its lines, then of the model at the sensitivity that NEWS2 has at each of them.
    alerts: tuple[tuple[str, Alerts], ...]


def evaluate_ward(
    frame: Frame, stays: pd.DataFrame, task: Task = TASK, resamples: int = 1000
) -> WardEvaluation:
    """Cross-validate by patient; `stays` are those of `WardTables`.

    Unprocessable where too few people deteriorated, or did not.
    """
    evaluation = cross_validate(task, frame, resamples)
    rows = frame.select_labelled().rows.reset_index(drop=True)
    outcome = rows[task.target].to_numpy(dtype=float)
    points = rows["news2_at_least"].to_numpy(dtype=float)
    predicted = evaluation.predictions[MODEL].to_numpy(dtype=float)
    bed_days = count_bed_days(rows, stays)
    alerts: list[tuple[str, Alerts]] = []
    for line in (URGENT, EMERGENCY):
        by_news2 = measure_alerts(rows, points, line, bed_days)
        alerts.append((f"NEWS2 of {line} and more", by_news2))
        threshold = find_threshold(outcome, predicted, by_news2.sensitivity)
        if not np.isnan(threshold):
            title = f"the model, as sensitive as NEWS2 of {line}"
            alerts.append((title, measure_alerts(rows, predicted, threshold, bed_days)))
    return WardEvaluation(evaluation, bed_days, float(rows["news2"].isna().mean()), tuple(alerts))
