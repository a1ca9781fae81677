"""Dates and numbers as intervals."""

from __future__ import annotations

from decimal import Decimal

import pytest

from ehr_fhir.errors import Invalid
from ehr_fhir.intervals import (
    BEGINNING,
    END,
    date_interval,
    instant,
    number_interval,
    period_interval,
    timing_interval,
)  # fmt: skip

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


@pytest.mark.parametrize("text", ["", "20", "2020-13", "2020-02-30", "x", "2020-01-01T25:00:00Z"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        date_interval(text)


def test_the_last_year_ends_at_the_end() -> None:
    assert date_interval("9999")[1] == END


def test_an_instant_has_milliseconds() -> None:
    assert instant(1_500) == "1970-01-01T00:00:01.500Z"


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


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [("100", "99.5", "100.5"), ("100.00", "99.995", "100.005"), ("1e2", "50", "150")],
)
def test_a_number_is_as_wide_as_its_precision(text: str, low: str, high: str) -> None:
    assert number_interval(text)[1:] == (Decimal(low), Decimal(high))


@pytest.mark.parametrize("text", ["", "x", "NaN", "Infinity", "1e999"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        number_interval(text)
