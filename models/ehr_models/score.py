"""Scoring: the champion's probability for each patient's current row, from the identified views."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from types import MappingProxyType

import pandas as pd
import pyarrow.compute as pc

from ehr_fhir.errors import Unprocessable
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_models.learners.portable import PortableModel
from ehr_models.task import (
    ENCOUNTER,
    PATIENT,
    PEOPLE_VIEW,
    PREDICTED_AT,
    Task,
    Views,
    select_current,
    to_arrow,
)


@dataclass(frozen=True)
class Prediction:
    """The probability that the outcome follows, for a patient at the end of an encounter."""

    patient: str
    encounter: str
    predicted_at: datetime
    probability: float


@dataclass(frozen=True)
class Predictions:
    """What was predicted, and how many people with rows were left out, by the reason."""

    current: tuple[Prediction, ...]
    # Who has died, or of whom no Patient tells that they live.
    not_living: int
    # Whose outcome could no longer happen: the horizon of their last row is over.
    outside_window: int


def predict_current(
    task: Task,
    model: PortableModel,
    views: Views,
    as_of: datetime,
    codes: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> Predictions:
    """Score the rows that are current at an instant, one per patient.

    `codes` are those of the frame that the model was trained on.

    Only of the living, and only while the outcome may still come: what was predicted for a stay of
    years ago would be a figure about nothing. Rows that end after the instant are not known yet.
    """
    frame = task.build_frame(views, **({"codes": codes} if codes else {}))
    rows = select_current(frame.rows[frame.rows[PREDICTED_AT] <= as_of])
    is_living = rows[PATIENT].isin(_list_living(views))
    is_current = rows[PREDICTED_AT] >= pd.Timestamp(as_of) - task.outcome.horizon
    return Predictions(
        _predict(model, rows[is_living & is_current]),
        not_living=int((~is_living).sum()),
        outside_window=int((is_living & ~is_current).sum()),
    )


def find_reference_instant(day: date, now: datetime) -> datetime:
    """Return the instant as of which a day is scored: its end, and now on the day itself."""
    end = datetime.combine(day + timedelta(days=1), datetime.min.time(), JURISDICTION.zone)
    if now.astimezone(JURISDICTION.zone).date() < day:
        raise Unprocessable(f"{day} is yet to come: a score is made as of a day that was.")
    return min(end, now)


def _predict(model: PortableModel, rows: pd.DataFrame) -> tuple[Prediction, ...]:
    if rows.empty:
        return ()
    probabilities = model.predict(rows[list(model.features)].to_numpy(dtype=float))
    columns = zip(
        rows[PATIENT].astype(str),
        rows[ENCOUNTER].astype(str),
        [instant.to_pydatetime() for instant in rows[PREDICTED_AT]],
        probabilities.astype(float),
        strict=True,
    )
    return tuple(Prediction(*values) for values in columns)


def _list_living(views: Views) -> set[str]:
    """Return the patients whose Patient is there and tells no death."""
    people = to_arrow(views[PEOPLE_VIEW])
    is_dead = pc.fill_null(people.column("deceased"), fill_value=False)
    return set(people.column("id").filter(pc.invert(is_dead)).to_pylist())
