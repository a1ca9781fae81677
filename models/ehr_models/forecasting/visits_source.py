"""Counts from the lake: read inside the trusted zone, of those whose records research may use."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ehr_etl.lake import Lake
from ehr_etl.trusted_zone.visits import read_visits
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_models.forecasting.panel import Panel, build_panel
from ehr_models.forecasting.tasks import ForecastTask

__all__ = ["count_visits", "find_end", "read_panel"]


def read_panel(
    task: ForecastTask, lake: Lake, key: bytes, now: datetime, withheld: Collection[str]
) -> Panel:
    """Return the daily counts of a task from the lake's visits, people in `withheld` left out.

    `key` is that of the lake's pseudonyms, by which `withheld` names people.
    """
    visits = read_visits(lake, key, int(now.timestamp() * 1000))
    allowed = pc.invert(pc.is_in(visits.column("person"), pa.array(list(withheld), pa.string())))
    return count_visits(task, visits.filter(allowed), now)


def count_visits(task: ForecastTask, visits: pa.Table, now: datetime) -> Panel:
    """Return the daily counts of a task, up to the last whole day that the lake knows."""
    end = find_end(visits, now)
    return (
        build_panel(task.count(visits, end))
        if end is not None
        else build_panel(pd.DataFrame(columns=["hospital", "day", "count"]))
    )


def find_end(visits: pa.Table, now: datetime) -> pd.Timestamp | None:
    """Return the first day that is not whole: today, or the day of the last visit if it is earlier.

    A lake that has not followed for a week has no visits of that week, which is not a week of no
    visits. A visit with a date to come is an error of the record. None where there are no visits.
    """
    clock = now.astimezone(JURISDICTION.zone).replace(tzinfo=None)
    starts = visits.column("start")
    past = starts.filter(pc.less_equal(starts, pa.scalar(clock, pa.timestamp("us"))))
    last = pc.max(past).as_py()
    return None if last is None else pd.Timestamp(last).normalize()
