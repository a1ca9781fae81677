"""Watch a promoted model over the identified records of who has joined, and a shadow beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from ehr_fhir.errors import NotFound
from ehr_models.frames.feature_list import read_features
from ehr_models.learners.portable import read_model
from ehr_models.model_store import ModelVersion
from ehr_models.task import PREDICTED_AT, Task, Views
from ehr_models.watch import PROFILE_FILE, Profile, Week, watch_weeks

__all__ = ["Watched", "watch_version"]


@dataclass(frozen=True)
class Watched:
    """What was found of a version: by week, and over all rows whose outcome is known."""

    version: int
    weeks: Sequence[Week]
    rows: int
    outcomes: int
    mean_score: float


def watch_version(
    task: Task, version: ModelVersion, views: Views, now: datetime, weeks: int
) -> Watched:
    """Compare the rows of the last whole weeks with what a version learnt from.

    NotFound for a version that was saved without a profile.
    """
    if PROFILE_FILE not in version.files:
        raise NotFound(f"Version {version.number} of {version.task} has no profile: train it anew.")
    codes = read_features(version.files).codes
    frame = task.build_frame(views, **({"codes": codes} if codes else {}))
    monday = pd.Timestamp(now).normalize() - pd.Timedelta(days=now.weekday())
    when = frame.rows[PREDICTED_AT]
    # The week that goes on is judged when it is over.
    rows = frame.rows[(when < monday) & (when >= monday - timedelta(weeks=weeks))]
    inputs, outcomes = rows[frame.feature_names], rows[task.target].to_numpy(dtype=float)
    scores = read_model(version.files).predict(inputs.to_numpy(dtype=float))
    profile = Profile.from_json(version.read_json(PROFILE_FILE))
    found = watch_weeks(profile, inputs, scores, outcomes, rows[PREDICTED_AT])
    return Watched(
        version.number,
        found,
        len(rows),
        int(np.nansum(outcomes)),
        float(scores.mean()) if len(scores) else float("nan"),
    )
