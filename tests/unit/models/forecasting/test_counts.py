"""Counts from visits: attendances by hour and day, beds at midnight."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_etl.trusted_zone.visits import EMERGENCY, INPATIENT, VISIT_SCHEMA
from ehr_models.forecasting.counts import (
    count_attendances,
    count_attendances_by_hour,
    count_beds_at_midnight,
)
from ehr_models.forecasting.tasks import get_task
from ehr_models.forecasting.visits_source import count_visits, find_end

UNTIL = pd.Timestamp("2026-03-10")


def visit(person: str, kind: str, start: str | None, end: str | None = None) -> dict[str, Any]:
    return {
        "person": person,
        "kind": kind,
        "provider": "ha-one",
        "start": datetime.fromisoformat(start) if start else None,
        "end": datetime.fromisoformat(end) if end else None,
        "waited_minutes": None,
    }


def table(*visits: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(visits), schema=VISIT_SCHEMA)


def test_attendances_are_counted_in_the_hour_they_began_and_days_without_one_are_zero() -> None:
    visits = table(
        visit("a", EMERGENCY, "2026-03-05T08:10"),
        visit("b", EMERGENCY, "2026-03-06T23:59"),
        visit("c", EMERGENCY, "2026-03-06T23:01"),
        visit("d", EMERGENCY, None),
        visit("e", INPATIENT, "2026-03-06T12:00"),
        visit("f", EMERGENCY, "2026-03-10T00:00"),
    )

    hours = count_attendances_by_hour(visits, UNTIL)
    days = count_attendances(visits, UNTIL)

    assert hours.astype(str).to_numpy().tolist() == [
        ["ha-one", "2026-03-05 08:00:00", "1"],
        ["ha-one", "2026-03-06 23:00:00", "2"],
    ]
    # From the day after the first, which records may begin within.
    assert days["day"].dt.day.tolist() == [6, 7, 8, 9]
    assert days["count"].tolist() == [2, 0, 0, 0]


def test_a_person_takes_one_bed_however_many_records_tell_of_it() -> None:
    visits = table(
        visit("first", INPATIENT, "2026-03-01T10:00", "2026-03-01T11:00"),
        visit("a", INPATIENT, "2026-03-03T10:00", "2026-03-06T09:00"),
        visit("a", INPATIENT, "2026-03-04T10:00", "2026-03-05T09:00"),
        visit("b", INPATIENT, "2026-03-05T10:00"),
        # Gone at the midnight itself; ended before it began.
        visit("c", INPATIENT, "2026-03-07T10:00", "2026-03-08T00:00"),
        visit("d", INPATIENT, "2026-03-07T10:00", "2026-03-06T00:00"),
    )

    beds = count_beds_at_midnight(visits, UNTIL)

    assert beds["day"].dt.day.tolist() == [2, 3, 4, 5, 6, 7, 8, 9]
    assert beds["count"].tolist() == [0, 1, 1, 2, 1, 1, 1, 1]


HOURS = st.integers(0, 9 * 24)


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), HOURS, st.none() | st.integers(0, 100)), min_size=1)
)
def test_beds_are_those_of_the_people_present_at_each_midnight(
    stays: list[tuple[str, int, int | None]],
) -> None:
    begin = datetime(2026, 3, 1)
    spans = [
        (who, begin + timedelta(hours=start), None if length is None else timedelta(hours=length))
        for who, start, length in stays
    ]
    visits = table(
        *(
            {
                **visit(who, INPATIENT, None),
                "start": start,
                "end": None if length is None else start + length,
            }
            for who, start, length in spans
        )
    )

    beds = count_beds_at_midnight(visits, UNTIL)

    for day, count in zip(beds["day"], beds["count"], strict=True):
        midnight = (day + pd.Timedelta(days=1)).to_pydatetime()
        real = [one for one in spans if one[2] is None or one[2]]
        present = {
            who
            for who, start, length in real
            if start < midnight and (length is None or start + length > midnight)
        }
        # One stay ends and the next begins at midnight itself: they are one.
        ends = {who for who, start, length in real if length and start + length == midnight}
        present |= ends & {who for who, start, _ in real if start == midnight}
        assert count == len(present)


def test_a_lake_that_has_not_followed_has_no_days_of_zero() -> None:
    visits = table(
        visit("a", EMERGENCY, "2026-03-05T08:10"), visit("b", EMERGENCY, "2026-03-02T08:10")
    )

    assert find_end(visits, datetime(2026, 4, 1, tzinfo=UTC)) == pd.Timestamp("2026-03-05")
    # Today is not whole, and a visit that is still to come is none. In UTC it is the 4th still.
    evening = datetime(2026, 3, 4, 23, tzinfo=UTC)
    assert find_end(visits, evening) == pd.Timestamp("2026-03-02")
    assert find_end(visits, evening + timedelta(hours=2)) == pd.Timestamp("2026-03-05")
    assert count_visits(get_task("attendances"), table(), datetime.now(UTC)).hospitals == ()
