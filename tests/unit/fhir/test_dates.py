"""Dates as parts and as intervals, in the jurisdiction's zone or another."""

from __future__ import annotations

from datetime import UTC, date, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from ehr_fhir.dates import (
    BEGINNING,
    END,
    date_interval,
    datetime_interval,
    day_start_ms,
    format_instant,
    local_day,
    period_interval,
    read_date,
    read_time,
    timing_interval,
)
from ehr_fhir.errors import Invalid
from ehr_fhir.fhirpath.temporal import parse_datetime

HONG_KONG = ZoneInfo("Asia/Hong_Kong")
HOUR = 3_600_000
DAY = 24 * HOUR


@pytest.mark.parametrize(
    ("text", "low", "length"),
    [
        ("1970", -8 * HOUR, 365 * DAY),
        ("1972-02", 761 * DAY - 8 * HOUR, 29 * DAY),
        ("1970-12", 334 * DAY - 8 * HOUR, 31 * DAY),
        ("1970-01-01", -8 * HOUR, DAY),
        ("1970-01-01T08:00", 0, 60_000),
        ("1970-01-01T00:00:00Z", 0, 1000),
        ("1970-01-01T08:00:00+08:00", 0, 1000),
        ("1969-12-31T19:00:00.5-05:00", 500, 1),
        ("1970-01-01T00:00:00.123Z", 123, 1),
    ],
)
def test_a_date_is_as_long_as_its_precision(text: str, low: int, length: int) -> None:
    assert date_interval(text) == (low, low + length)


@pytest.mark.parametrize(
    "text",
    ["", "20", "2020-13", "2020-02-30", "x", "2020-01-01T25:00:00Z", "２０２０", "2020-01-01\n"],
)
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        date_interval(text)
    with pytest.raises(Invalid):
        datetime_interval(text)
    assert read_date(text) is None
    assert local_day(text) is None
    assert parse_datetime(text) is None


@pytest.mark.parametrize(
    ("text", "offset", "length"),
    [
        # Local mean time until 1904, then summer time, Japan's time, and summer time again.
        ("1900-01-01", timedelta(hours=7, minutes=36, seconds=42), DAY),
        ("1941-06-30", timedelta(hours=9), DAY),
        ("1941-12-25", timedelta(hours=8, minutes=30), DAY - HOUR // 2),
        ("1942-01-01", timedelta(hours=9), DAY),
        ("1950-07-01", timedelta(hours=9), DAY),
        ("1976-10-17", timedelta(hours=9), DAY + HOUR),
        ("1980-01-01", timedelta(hours=8), DAY),
    ],
)
def test_a_day_is_one_of_the_zone_by_its_history(text: str, offset: timedelta, length: int) -> None:
    low, high = date_interval(text, HONG_KONG)

    assert low == date_interval(text, UTC)[0] - offset // timedelta(milliseconds=1)
    assert high - low == length
    assert (low, high) == datetime_interval(text, HONG_KONG)
    assert low == day_start_ms(date.fromisoformat(text), HONG_KONG)


def test_the_zone_is_a_parameter() -> None:
    new_york = ZoneInfo("America/New_York")

    assert date_interval("1970-01-01T00:00", new_york) == (5 * HOUR, 5 * HOUR + 60_000)
    assert local_day("1970-01-01T00:00:00Z", new_york) == date(1969, 12, 31)
    assert date_interval("2026-03-08", new_york)[1] - date_interval("2026-03-08", new_york)[0] == (
        23 * HOUR
    )


def test_a_leap_second_is_the_second_after_it() -> None:
    leap, after = "2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"

    assert date_interval(leap) == datetime_interval(leap) == date_interval(after)
    assert date_interval("2017-01-01T07:59:60", HONG_KONG) == date_interval(after)
    assert local_day(leap, UTC) == date(2017, 1, 1)
    with pytest.raises(Invalid):
        date_interval("9999-12-31T23:59:60Z")


@pytest.mark.parametrize("zone", [HONG_KONG, UTC, timezone(timedelta(hours=-12))])
def test_the_last_year_ends_as_every_year(zone: ZoneInfo | timezone) -> None:
    _, end = date_interval("9999-12-31", zone)

    assert date_interval("9999", zone)[1] == date_interval("9999-12", zone)[1] == end
    assert end - date_interval("9999-12-31", zone)[0] == DAY
    assert format_instant(end) <= "9999-12-31T23:59:59.999Z"


def test_the_first_day_is_one() -> None:
    assert date_interval("0001-01-01", HONG_KONG)[0] < date_interval("0001-01-02", HONG_KONG)[0]


@pytest.mark.parametrize(
    "text",
    ["2020-01-01T10:00Z", "2020-01-01T10:00:00", "2020-01-01T10:00"],
)
def test_a_time_without_seconds_or_zone_is_for_search_alone(text: str) -> None:
    low, high = date_interval(text)

    assert low < high
    assert local_day(text) is None
    with pytest.raises(Invalid):
        datetime_interval(text)


def test_parts_are_as_far_as_they_are_written() -> None:
    assert read_date("2020-02-03T04:05:06.70-01:30") == ((2020, 2, 3, 4, 5, 6), 700_000_000, 2, -90)
    assert read_date("2020-02-03T04") == ((2020, 2, 3, 4), 0, 0, None)
    assert read_time("04:05:06.7") == ((4, 5, 6), 700_000_000, 1, None)
    assert read_time("4:05") is None


def test_an_instant_has_milliseconds() -> None:
    assert format_instant(1_500) == "1970-01-01T00:00:01.500Z"


def test_a_period_is_open_where_it_says_nothing() -> None:
    assert period_interval({"end": "1970-01-01T00:00:00Z"}) == (BEGINNING, 1000)
    assert period_interval({"start": "1970-01-01T00:00:00Z"}) == (0, END)
    assert period_interval({}) is None


def test_a_timing_reaches_from_its_first_event_to_its_last() -> None:
    events = ["1970-01-01T00:00:05Z", "1970-01-01T00:00:00Z"]

    assert timing_interval({"event": events}) == (0, 6000)
    assert timing_interval({"repeat": {"boundsPeriod": {"start": "1970-01-01T00:00:00Z"}}}) == (
        0,
        END,
    )
    assert timing_interval({"code": {"text": "daily"}}) is None
