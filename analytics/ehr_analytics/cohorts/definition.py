"""The cohort language: population, index event, inclusion, exclusion, columns and follow-up.

A cohort says which people it wants and what is to be known of each. It names no person, holds no
SQL and computes no text: every label is one that the definition lists, a band, or a code that many
people share. `docs/reference/cohorts.md` describes the same as TOML.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from ehr_analytics.cohorts.conditions import Condition

__all__ = [
    "DERIVED_COLUMNS",
    "AsBands",
    "AsBoolean",
    "AsCategories",
    "AsNumber",
    "AsTopCodes",
    "Cohort",
    "Column",
    "Criterion",
    "Events",
    "FollowUp",
    "Form",
    "Index",
    "Measure",
    "MeasureKind",
    "Outcome",
    "Window",
]

# What the platform knows of an event beside the table's own columns, in whole days.
# days: from start to end. days_to_next: from its end to the start of the person's next event of
# the set. days_since_previous: from the end of the one before. days_to_last: from its end to the
# latest start of anybody's event of the set, the end of what the data can tell.
DERIVED_COLUMNS = ("days", "days_to_next", "days_since_previous", "days_to_last")


@dataclass(frozen=True)
class Events:
    """A set of dated events: rows of a table, or those of another set (`of`) that are kept.

    With `merge_gap` rows of a person that overlap, or are at most so many days apart, are one
    event with the columns of its first row: a stay of several encounters. `keep` is a condition on
    events, on their own columns and on DERIVED_COLUMNS.

    Of a cohort that is `point_in_time`: a row is known from its date on, and not before its `end`;
    it counts no more from the day in its column `until`.
    """

    name: str
    table: str | None = None
    date: str | None = None
    end: str | None = None
    where: tuple[Condition, ...] = ()
    merge_gap: int | None = None
    of: str | None = None
    keep: tuple[Condition, ...] = ()
    until: str | None = None
    # Columns that nothing of the cohort reads, and whoever reads the set after it does.
    further: tuple[str, ...] = ()


@dataclass(frozen=True)
class Index:
    """The event that puts a person into the cohort, and the date from which days are counted.

    It is the first (or last) event of the set that starts from `since` to `until`, has no other of
    the set in the `washout_days` before, and, with `lookback_days`, was preceded by an event of
    the set `observed` at least so many days before. Where events of that set have an end, one of
    them spans from the start of the look-back to the index date (an observation period).

    Of a cohort that is `point_in_time`, `pick` may be `each`: a row for each day on which such an
    event starts; and `at` may be `end`: the index date is the day on which the event ends.
    """

    events: str
    pick: str = "first"
    at: str = "start"
    since: date | None = None
    until: date | None = None
    washout_days: int = 0
    lookback_days: int = 0
    observed: str | None = None


@dataclass(frozen=True)
class Window:
    """Days counted from the index date, both included; None is without a bound.

    With `from_start` they are counted from the start of an index event whose end is the index date.
    """

    from_days: int | None = None
    to_days: int | None = None
    from_start: bool = False


class MeasureKind(StrEnum):
    """What is measured of a person."""

    AGE = "age"
    PERSON = "person"
    INDEX = "index"
    INDEX_PERIOD = "index_period"
    COUNT = "count"
    DISTINCT = "distinct"
    FIRST_DAY = "first_day"
    LAST_DAY = "last_day"
    TOTAL_DAYS = "total_days"
    SMALLEST = "smallest"
    LARGEST = "largest"
    EARLIEST = "earliest"
    LATEST = "latest"


@dataclass(frozen=True)
class Measure:
    """One value of a person.

    age: whole years at the index date, from the year of birth. person: a column of the person's
    row. index: a column of the index event. index_period: year, quarter or month of the index date.
    count: events in the window. distinct: different values of a column among them. first_day,
    last_day: days from the index date to the first or last. total_days: their days together.
    smallest, largest: of a number column. earliest, latest: a column's value of the first or last
    event that has one; of several on one day the smallest, or the largest.
    """

    kind: MeasureKind
    column: str | None = None
    events: str | None = None
    window: Window = Window()


@dataclass(frozen=True)
class AsNumber:
    """Shown as it is, for sums and models; it can never be a label."""


@dataclass(frozen=True)
class AsBoolean:
    """True where the measure fulfils a condition (on the column called `value`)."""

    condition: Condition


@dataclass(frozen=True)
class AsBands:
    """A band between edges, each edge the least number of its band."""

    edges: tuple[int, ...]


@dataclass(frozen=True)
class AsCategories:
    """One of these categories; any other value is `other`."""

    values: tuple[str, ...]


@dataclass(frozen=True)
class AsTopCodes:
    """One of the codes that most people of the cohort have, at most so many; others are `other`."""

    most: int


Form = AsNumber | AsBoolean | AsBands | AsCategories | AsTopCodes


@dataclass(frozen=True)
class Column:
    """A column of the result: a measure, and the form in which it is shown."""

    name: str
    measure: Measure
    form: Form


@dataclass(frozen=True)
class Criterion:
    """A condition on a measure (the column called `value`), by which people are in or out."""

    name: str
    measure: Measure
    condition: Condition


@dataclass(frozen=True)
class Outcome:
    """What may happen in the follow-up: the first event of a set from so many days after index."""

    name: str
    events: str
    from_days: int = 1


@dataclass(frozen=True)
class FollowUp:
    """How long people are followed after the index date, and what for.

    It ends after `days`, at `data_until` (a date, or `latest`: the latest start of anybody's index
    event), or with the first event of one of the `censor` sets after the index date. With `whole`
    only people whose `days` lie within the data are in the cohort.
    """

    days: int
    data_until: date | str | None = None
    censor: tuple[str, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    whole: bool = False


@dataclass(frozen=True)
class Cohort:
    """A cohort over the project's views (`views`) or its OMOP tables (`omop`).

    With `point_in_time`, as prediction models need it, a measure sees what was known on the index
    date, and a person may have several rows. Research never has: its results count one row for
    each person.
    """

    name: str
    title: str
    model: str
    events: tuple[Events, ...]
    index: Index
    population: tuple[Condition, ...] = ()
    include: tuple[Criterion, ...] = ()
    exclude: tuple[Criterion, ...] = ()
    columns: tuple[Column, ...] = ()
    follow_up: FollowUp | None = None
    point_in_time: bool = False

    def find_events(self, name: str) -> Events:
        """Return the set of events of a name; KeyError without one."""
        return {events.name: events for events in self.events}[name]

    def base_events(self, name: str) -> Events:
        """Return the set of a table's rows that a set is made of: itself, unless it has an `of`."""
        events = self.find_events(name)
        return self.base_events(events.of) if events.of else events

    def measures(self) -> tuple[Measure, ...]:
        """Return every measure of the cohort, each once."""
        measures = (
            *(criterion.measure for criterion in (*self.include, *self.exclude)),
            *(column.measure for column in self.columns),
        )
        return tuple(dict.fromkeys(measures))
