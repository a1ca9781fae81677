"""Scoring: the champion's probability for each patient's current row, from the identified views."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sklearn.pipeline import Pipeline

from ehr_models.task import ENCOUNTER, PATIENT, PREDICTED_AT, Task, Views


@dataclass(frozen=True)
class Prediction:
    """The probability that the outcome follows, for a patient at the end of an encounter."""

    patient: str
    encounter: str
    predicted_at: datetime
    probability: float


def predict_current(task: Task, model: Pipeline, views: Views) -> list[Prediction]:
    """Score the rows that are current today, one per patient."""
    rows = task.select_current(task.build_frame(views))
    rows = rows[~rows[PATIENT].isin(_list_dead(views))]
    if rows.empty:
        return []
    probabilities = model.predict_proba(rows[list(task.features)])[:, 1]
    columns = zip(
        rows[PATIENT].astype(str),
        rows[ENCOUNTER].astype(str),
        [instant.to_pydatetime() for instant in rows[PREDICTED_AT]],
        probabilities.astype(float),
        strict=True,
    )
    return [Prediction(*values) for values in columns]


def _list_dead(views: Views) -> set[str]:
    """Return the patients who are known to have died: nothing is predicted for them."""
    people = views.get("patient_demographics")
    if people is None or "deceased" not in people:
        return set()
    return set(people.loc[people["deceased"].eq(other=True), "id"])
