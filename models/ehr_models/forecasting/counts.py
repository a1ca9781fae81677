"""Counts by hospital from visits: attendances by hour and by day, beds in use at midnight.

Made inside the trusted zone: an hour and a hospital may be one person's alone. What goes on from
here are counts; what leaves the zone is in `release`.
"""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ehr_etl.trusted_zone.visits import EMERGENCY, INPATIENT

__all__ = ["count_attendances", "count_attendances_by_hour", "count_beds_at_midnight"]

# Columns of every table of counts by day.
_BY_DAY = ["hospital", "day", "count"]


def count_attendances_by_hour(visits: pa.Table, until: pd.Timestamp) -> pd.DataFrame:
    """Return the attendances that began in each hour, as hospital, hour and count.

    `visits` is a table of VISIT_SCHEMA; `until` is the first instant, on the wall clock of the
    place, that is left out. Hours without an attendance have no row; a visit whose beginning is not
    known to the hour is not counted.
    """
    own = _read_visits(visits, EMERGENCY)
    begun = own[own["start"] < until]
    hours = begun.assign(hour=begun["start"].dt.floor("h"))
    return (
        hours.groupby(["hospital", "hour"], as_index=False).size().rename(columns={"size": "count"})
    )


def count_attendances(visits: pa.Table, until: pd.Timestamp) -> pd.DataFrame:
    """Return the attendances of each day from a hospital's first to the day before `until`.

    Columns: hospital, day, count. The first day is left out: records may begin within it.
    """
    hours = count_attendances_by_hour(visits, until)
    days = hours.assign(day=hours["hour"].dt.normalize())
    return _fill_days(days.groupby(["hospital", "day"])["count"].sum(), until)


def count_beds_at_midnight(visits: pa.Table, until: pd.Timestamp) -> pd.DataFrame:
    """Return how many people were in hospital at the midnight that ends each day.

    Columns: hospital, day, count. A person takes one bed of a hospital, however many records tell
    of it; a stay without an end goes on. A stay that ends at midnight is over.
    """
    stays = _merge_stays(_read_visits(visits, INPATIENT))
    # In the census of the midnight after day d: who came before it, and left after it.
    came = stays["start"].dt.normalize()
    left = stays["end"].dt.ceil("D") - pd.Timedelta(days=1)
    change = pd.DataFrame(
        {
            "hospital": pd.concat([stays["hospital"], stays["hospital"]]),
            "day": pd.concat([came, left]),
            "count": [1] * len(stays) + [-1] * len(stays),
        }
    )
    change = change[change["day"] < until]
    return _fill_days(
        change.groupby(["hospital", "day"])["count"].sum(), until, is_running_total=True
    )


def _read_visits(visits: pa.Table, kind: str) -> pd.DataFrame:
    wanted = pc.and_(pc.equal(visits.column("kind"), kind), pc.is_valid(visits.column("start")))
    # Of a visit that names no organisation nobody knows the hospital.
    wanted = pc.and_(wanted, pc.not_equal(visits.column("provider"), ""))
    columns = ["person", "provider", "start", "end"]
    frame: pd.DataFrame = visits.filter(wanted).select(columns).to_pandas()
    return frame.rename(columns={"provider": "hospital"})


def _merge_stays(stays: pd.DataFrame) -> pd.DataFrame:
    """Return the stays of a person in a hospital with those that overlap or touch made one."""
    ordered = stays.sort_values(["hospital", "person", "start"], ignore_index=True)
    # A stay that ended as it began took no bed; one that ended before is an error of the record.
    ordered = ordered[~(ordered["end"] <= ordered["start"])]
    ends = ordered["end"].fillna(pd.Timestamp.max.floor("s"))
    latest = ends.groupby([ordered["hospital"], ordered["person"]]).cummax()
    before = latest.groupby([ordered["hospital"], ordered["person"]]).shift()
    spell = (before.isna() | (ordered["start"] > before)).cumsum()
    merged = (
        ordered.assign(end=latest)
        .groupby(spell)
        .agg(hospital=("hospital", "first"), start=("start", "first"), end=("end", "last"))
    )
    merged["end"] = merged["end"].where(merged["end"] < pd.Timestamp.max.floor("s"))
    return merged


def _fill_days(
    counts: pd.Series[int], until: pd.Timestamp, *, is_running_total: bool = False
) -> pd.DataFrame:
    """Return a row for each day of each hospital; days without a record count as zero."""
    filled = []
    for hospital, own in counts.groupby(level="hospital"):
        by_day = own.droplevel("hospital")
        days = pd.date_range(by_day.index.min(), until - pd.Timedelta(days=1), freq="D")
        values = by_day.reindex(days, fill_value=0)
        if is_running_total:
            values = values.cumsum()
        filled.append(
            pd.DataFrame({"hospital": hospital, "day": days, "count": values.to_numpy()})[1:]
        )
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=_BY_DAY)
