"""Forecasts as their controlled file has them: what may be shown beyond the trusted zone. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from ehr_portal.i18n import N_
from ehr_portal.oversight.models import Model, ModelVersion

__all__ = [
    "CONTROLLED_FILE",
    "FORECASTER_TITLES",
    "FORECAST_TITLES",
    "Forecast",
    "ForecastDay",
    "HospitalForecast",
    "find_served",
    "parse_forecast",
]

CONTROLLED_FILE = "controlled.json"
FORECAST_TITLES = {
    "forecast-attendances": N_("A&E attendances"),
    "forecast-beds": N_("Beds in use at midnight"),
}
FORECASTER_TITLES = {
    "seasonal-naive": N_("The count of the last same weekday"),
    "exponential-smoothing": N_("Exponential smoothing"),
    "gradient-boosting": N_("Gradient boosting"),
    "average of both": N_("Exponential smoothing and gradient boosting, their average"),
}
# Levels of the quantiles: the ends of the 95 % interval and of the 80 % one, and the median.
_LOW_95, _LOW_80, _MEDIAN, _HIGH_80, _HIGH_95 = 0.025, 0.1, 0.5, 0.9, 0.975


@dataclass(frozen=True)
class ForecastDay:
    """The forecast of a day; a number is None where it is too small to be shown."""

    day: str
    median: int | None
    # The 80 % and the 95 % interval.
    likely: tuple[int | None, int | None]
    possible: tuple[int | None, int | None]


@dataclass(frozen=True)
class HospitalForecast:
    """The coming days of one hospital, by its id."""

    hospital: str
    days: tuple[ForecastDay, ...]


@dataclass(frozen=True)
class Forecast:
    """The newest forecast of a task; `served` is the forecaster that made it."""

    model: Model
    version: ModelVersion
    made_at: str
    last_day: str
    served: str
    hospitals: tuple[HospitalForecast, ...]

    @property
    def title(self) -> str:
        """What is forecast, to be translated."""
        return FORECAST_TITLES.get(self.model.task, self.model.task)

    @property
    def is_reference(self) -> bool:
        """Whether the reference is served, since what was learnt missed a gate."""
        return not self.version.may_score


def find_served(model: Model) -> ModelVersion | None:
    """Return the newest version that makes forecasts and is whole; None of other models."""
    return next(
        (
            version
            for version in model.versions
            if any(file.name == CONTROLLED_FILE for file in version.files)
        ),
        None,
    )


def parse_forecast(model: Model, version: ModelVersion, content: bytes) -> Forecast:
    """Read the controlled file of a version."""
    read = orjson.loads(content)
    columns = {level: name for name, level in read["levels"].items()}
    hospitals: dict[str, list[ForecastDay]] = {}
    for row in read["rows"]:
        hospitals.setdefault(row["hospital"], []).append(_parse_day(row, columns))
    return Forecast(
        model=model,
        version=version,
        made_at=read["made_at"],
        last_day=read["last_day"],
        served=read["served"],
        hospitals=tuple(HospitalForecast(name, tuple(days)) for name, days in hospitals.items()),
    )


def _parse_day(row: Mapping[str, Any], columns: Mapping[float, str]) -> ForecastDay:
    def value(level: float) -> int | None:
        found = row.get(columns.get(level, ""))
        return None if found is None else int(found)

    return ForecastDay(
        day=row["day"],
        median=value(_MEDIAN),
        likely=(value(_LOW_80), value(_HIGH_80)),
        possible=(value(_LOW_95), value(_HIGH_95)),
    )
