"""What can be forecast: a name, words, and how its counts are made from visits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from ehr_fhir.errors import NotFound
from ehr_models.forecasting.counts import count_attendances, count_beds_at_midnight

__all__ = ["TASKS", "ForecastTask", "get_task"]


@dataclass(frozen=True)
class ForecastTask:
    """One series per hospital; `count` takes visits and the first day that is left out."""

    key: str
    title: str
    unit: str
    count: Callable[[pa.Table, pd.Timestamp], pd.DataFrame]

    @property
    def name(self) -> str:
        """Return its name in the model store and the tracking store."""
        return f"forecast-{self.key}"


TASKS = {
    task.key: task
    for task in (
        ForecastTask("attendances", "A&E attendances", "attendances a day", count_attendances),
        ForecastTask("beds", "Bed demand", "beds in use at midnight", count_beds_at_midnight),
    )
}


def get_task(key: str) -> ForecastTask:
    """Return a task by its key; NotFound names those there are."""
    if key not in TASKS:
        raise NotFound(f"There is no forecast {key}: there are {', '.join(TASKS)}.")
    return TASKS[key]
