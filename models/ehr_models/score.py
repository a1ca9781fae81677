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
    BEGUN_AGAIN,
    ENCOUNTER,
    INCOMPLETE,
    PATIENT,
    PEOPLE_VIEW,
    PREDICTED_AT,
    Frame,
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
    # What was wrong with the input, in words.
    incomplete: str = ""


@dataclass(frozen=True)
class Predictions:
    """What was predicted, and how many people with rows were left out, by the reason."""

    current: tuple[Prediction, ...]
    # Who has died, or of whom no Patient tells that they live.
    not_living: int
    # Whose outcome could no longer happen: the horizon of their last row is over.
    outside_window: int
    # Who was admitted again since, and is in care.
    in_care: int = 0


def predict_current(
    task: Task,
    model: PortableModel,
    views: Views,
    as_of: datetime,
    codes: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> Predictions:
    """Score the rows that are current at an instant, one per patient.

    `codes` are those of the frame that the model was trained on.

    Only of the living, of those who are not in care again, and only while the outcome may still
    come: what was predicted for a stay of years ago would be a figure about nothing. Rows that end
    after the instant are not known yet.
    """
    frame = _build_rows(task, views, as_of, codes)
    rows = select_current(frame.rows[frame.rows[PREDICTED_AT] <= as_of])
    living = list_living(views)
    earlier = frame.earlier - {*rows[PATIENT]}
    is_living = rows[PATIENT].isin(living)
    is_current = rows[PREDICTED_AT] >= pd.Timestamp(as_of) - task.outcome.horizon
    is_in_care = _is_in_care(rows, as_of)
    return Predictions(
        _predict(model, rows[is_living & is_current & ~is_in_care]),
        not_living=int((~is_living).sum()) + len(earlier - living),
        outside_window=int((is_living & ~is_current).sum()) + len(earlier & living),
        in_care=int((is_living & is_current & is_in_care).sum()),
    )


def _build_rows(
    task: Task, views: Views, as_of: datetime, codes: Mapping[str, tuple[str, ...]]
) -> Frame:
    """Return the frame, without the rows of which the outcome can no longer come where it may."""
    if not codes:
        # The codes are those that many people have, of all their rows.
        return task.build_frame(views)
    if task.build_recent_frame is None:
        return task.build_frame(views, codes=codes)
    # A day more than the horizon: what ended on its first day may lie within it.
    first = (as_of - task.outcome.horizon).astimezone(JURISDICTION.zone).date()
    return task.build_recent_frame(views, codes=codes, since=first - timedelta(days=1))


def _is_in_care(rows: pd.DataFrame, as_of: datetime) -> pd.Series[bool]:
    """Say of each row whether an event like its own had begun again by an instant."""
    if BEGUN_AGAIN not in rows:
        return pd.Series(data=False, index=rows.index)
    # The end of a day is the first instant of the next.
    last = (as_of - timedelta(microseconds=1)).astimezone(JURISDICTION.zone)
    today = pd.Timestamp(last.date())
    return rows[BEGUN_AGAIN] <= today


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
        rows[INCOMPLETE].astype(str) if INCOMPLETE in rows else [""] * len(rows),
        strict=True,
    )
    return tuple(Prediction(*values) for values in columns)


def list_living(views: Views) -> set[str]:
    """Return the patients whose Patient is there and tells no death."""
    people = to_arrow(views[PEOPLE_VIEW])
    is_dead = pc.fill_null(people.column("deceased"), fill_value=False)
    return set(people.column("id").filter(pc.invert(is_dead)).to_pylist())
