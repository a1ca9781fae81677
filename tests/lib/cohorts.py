"""Cohorts and tables drawn by Hypothesis: every part of the language, on few people and days."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from ehr_analytics.cohorts import definition as d
from ehr_analytics.cohorts.conditions import (
    AllOf,
    AnyOf,
    Between,
    Condition,
    IsRecorded,
    Not,
    OneOf,
    StartsWith,
)
from ehr_analytics.cohorts.labels import list_periods
from ehr_analytics.cohorts.sources import Source, ValueType

T = ValueType
SOURCES = {
    "patient_demographics": Source(
        "patient_demographics", "id",
        {"id": T.KEY, "gender": T.CODE, "birth_year": T.INTEGER, "region": T.TEXT,
         "deceased": T.BOOLEAN},
    ),
    "encounter_flat": Source(
        "encounter_flat", "patient_id",
        {"id": T.KEY, "patient_id": T.KEY, "class": T.CODE, "start": T.DATE_TEXT,
         "end": T.DATE_TEXT, "dose": T.NUMBER, "times": T.INTEGER},
    ),
    "drug_exposure": Source(
        "drug_exposure", "person_id",
        {"person_id": T.KEY, "drug_concept_id": T.CONCEPT, "day": T.DATE, "until": T.DATE},
    ),
}  # fmt: skip
PEOPLE = tuple("abcdef")
CODES = ("I21", "I21.9", "J45", "é急", "A")
FIRST = date(2020, 1, 28)
DAYS = st.integers(0, 40).map(lambda n: FIRST + timedelta(n))
MAYBE = st.none


def fhir_days() -> st.SearchStrategy[str | None]:
    """Return FHIR dates and dateTimes: whole, partial, absent and impossible."""
    odd = ("2020", "2020-02", "2020-02-30", "2021-02-29T00:00:00Z", "2020-2-3", "0001-01-01",
           "2020-02-03x", "", "2020-02-03\n", "9999-12-31", "1000-01-01")  # fmt: skip
    times = st.sampled_from(("", "T", "T23:30:00+08:00", "T00:00:00Z"))
    whole = st.builds(lambda day, time: day.isoformat() + time, DAYS, times)
    return st.one_of(whole, whole, whole, whole, st.none(), st.sampled_from(odd))


def tables() -> st.SearchStrategy[dict[str, list[dict[str, Any]]]]:
    """Return rows of the tables of SOURCES."""
    person = st.sampled_from((*PEOPLE, None, "nobody"))
    encounter = st.fixed_dictionaries({
        "id": st.none(), "patient_id": person, "class": st.sampled_from((*CODES, None)),
        "start": fhir_days(), "end": fhir_days(),
        "dose": st.sampled_from((None, 0.1, 0.5, 2.5, -1.0, float("nan"), 1e9)),
        "times": st.one_of(st.none(), st.integers(-3, 12)),
    })  # fmt: skip
    drug = st.fixed_dictionaries({
        "person_id": person, "drug_concept_id": st.sampled_from((None, 0, 1, 2, 40_000_000)),
        "day": st.one_of(st.none(), DAYS),
        "until": st.one_of(st.none(), DAYS.map(lambda d: datetime(d.year, d.month, d.day, 23))),
    })  # fmt: skip
    patients = st.tuples(*(
        st.fixed_dictionaries({
            "id": st.just(name), "gender": st.sampled_from(("female", "male", None)),
            "birth_year": st.one_of(st.none(), st.integers(1930, 2021)),
            "region": st.sampled_from(("Kowloon", "", None, "Sha Tin")),
            "deceased": st.sampled_from((True, False, None)),
        })
        for name in PEOPLE
    ))  # fmt: skip
    return st.fixed_dictionaries({
        "patient_demographics": patients.map(list),
        "encounter_flat": st.lists(encounter, max_size=25),
        "drug_exposure": st.lists(drug, max_size=12),
    })  # fmt: skip


def comparison(column: str, kind: ValueType) -> st.SearchStrategy[Condition]:
    """Return comparisons that a column of this type may be in."""
    recorded = st.just(IsRecorded(column))
    if kind in (T.TEXT, T.CODE):
        texts = st.sampled_from((*CODES, "female", "Kowloon", "2020-02"))
        some = st.lists(texts, min_size=1, max_size=3).map(tuple)
        return st.one_of(
            recorded,
            some.map(lambda v: OneOf(column, v)),
            some.map(lambda v: StartsWith(column, v)),
        )
    if kind is T.BOOLEAN:
        return st.one_of(recorded, st.booleans().map(lambda v: OneOf(column, (v,))))
    if kind.is_date:
        return st.one_of(recorded, st.builds(lambda v: Between(column, v), DAYS))
    if kind is T.KEY:
        return recorded
    whole = st.sampled_from((-3, 0, 1, 2, 5, 40))
    bounds = st.one_of(whole, st.sampled_from((Decimal("0.1"), Decimal("2.5"))))
    ranged = st.one_of(
        bounds.map(lambda v: Between(column, v)),
        bounds.map(lambda v: Between(column, None, v)),
        st.builds(lambda v, w: Between(column, v, w), bounds, bounds),
    )
    if kind is T.CONCEPT:
        return st.one_of(recorded, whole.map(lambda v: OneOf(column, (v,))))
    if kind is T.INTEGER:
        return st.one_of(recorded, ranged, whole.map(lambda v: OneOf(column, (v, 7))))
    return st.one_of(recorded, ranged)


def condition(types: dict[str, ValueType]) -> st.SearchStrategy[Condition]:
    """Return conditions on columns of these types."""
    leaf = st.sampled_from(sorted(types)).flatmap(lambda name: comparison(name, types[name]))
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            inner.map(Not),
            st.lists(inner, max_size=2).map(lambda v: AnyOf(tuple(v))),
            st.lists(inner, max_size=2).map(lambda v: AllOf(tuple(v))),
        ),
        max_leaves=3,
    )


DERIVED = dict.fromkeys(d.DERIVED_COLUMNS, T.INTEGER)
ENCOUNTER = dict(SOURCES["encounter_flat"].columns)
# What is known of an event at its end: nothing of those that come after.
SETS_OF_INDEX = ("visits", "stays", "some")
PAST_AT_START = {"days_since_previous": T.INTEGER}
PAST = {"days": T.INTEGER, "days_since_previous": T.INTEGER}
DRUG = dict(SOURCES["drug_exposure"].columns)
SETS = {"visits": ENCOUNTER, "stays": ENCOUNTER, "drugs": DRUG, "some": ENCOUNTER}


def few(types: dict[str, ValueType]) -> st.SearchStrategy[tuple[Condition, ...]]:
    """Return no condition, or one or two."""
    return st.one_of(st.just(()), st.lists(condition(types), max_size=2).map(tuple))


@st.composite
def measures(draw: Any, point_in_time: bool = False) -> tuple[d.Measure, ValueType]:
    """Return a measure and the type of its values."""
    kind = draw(st.sampled_from(d.MeasureKind))
    if kind is d.MeasureKind.AGE:
        return d.Measure(kind), T.INTEGER
    if kind is d.MeasureKind.INDEX_PERIOD:
        return d.Measure(kind, draw(st.sampled_from(("year", "quarter", "month")))), T.TEXT
    if kind is d.MeasureKind.PERSON:
        types = dict(SOURCES["patient_demographics"].columns)
    elif kind is d.MeasureKind.INDEX:
        types = ENCOUNTER | (PAST_AT_START if point_in_time else DERIVED)
    else:
        from_start = point_in_time and draw(st.booleans())
        events = draw(st.sampled_from(sorted(SETS)))
        last = 0 if point_in_time else 30
        low, high = draw(st.tuples(*(st.none() | st.integers(-30, most) for most in (30, last))))
        window = d.Window(low, high, from_start)
        if kind in (d.MeasureKind.COUNT, d.MeasureKind.FIRST_DAY, d.MeasureKind.LAST_DAY):
            return d.Measure(kind, None, events, window), T.INTEGER
        if kind is d.MeasureKind.TOTAL_DAYS:
            return d.Measure(kind, None, "stays", window), T.INTEGER
        types = SETS[events] | (PAST if point_in_time else DERIVED)
        if kind in (d.MeasureKind.SMALLEST, d.MeasureKind.LARGEST):
            types = {n: t for n, t in types.items() if t in (T.INTEGER, T.NUMBER)}
        if kind is d.MeasureKind.DISTINCT:
            types = {n: t for n, t in types.items() if t is not T.NUMBER}
    usable = sorted(n for n, t in types.items() if t is not T.KEY and not t.is_date)
    if kind is d.MeasureKind.DISTINCT:
        usable = [name for name in usable if types[name] is not T.BOOLEAN]
    column = draw(st.sampled_from(usable))
    if kind in (d.MeasureKind.PERSON, d.MeasureKind.INDEX):
        return d.Measure(kind, column), types[column]
    value = T.INTEGER if kind is d.MeasureKind.DISTINCT else types[column]
    return d.Measure(kind, column, events, window), value


@st.composite
def forms(draw: Any, measure: d.Measure, value: ValueType) -> d.Form:
    """Return a form in which a value of this type may be shown."""
    if measure.kind is d.MeasureKind.INDEX_PERIOD:
        return d.AsCategories(list_periods(FIRST, FIRST + timedelta(40), measure.column or ""))
    options: list[d.Form] = [d.AsBoolean(draw(condition({"value": value})))]
    if value in (T.INTEGER, T.NUMBER):
        options += [d.AsNumber(), d.AsBands((0, 18, 65)), d.AsBands((3,))]
    if value in (T.TEXT, T.CODE, T.CONCEPT):
        options.append(d.AsCategories(("I21", "female", "Kowloon", "1", "other")))
    if value in (T.CODE, T.CONCEPT):
        options.append(d.AsTopCodes(3))
    chosen: d.Form = draw(st.sampled_from(options))
    return chosen


@st.composite
def cohorts(draw: Any, point_in_time: bool = False) -> d.Cohort:
    """Return a cohort over SOURCES that passes the checks, of research or of a model."""
    gap = draw(st.sampled_from((None, 0, 2)))
    derived = PAST if point_in_time else DERIVED
    at, until = "start", None
    if point_in_time:
        at = draw(st.sampled_from(("start", "end")))
        until = draw(st.sampled_from((None, "until")))
    sets = (
        d.Events("visits", "encounter_flat", "start", where=draw(few(ENCOUNTER))),
        d.Events(
            "stays", "encounter_flat", "start", "end", where=draw(few(ENCOUNTER)),
            merge_gap=gap, keep=draw(few(ENCOUNTER | derived)),
        ),
        d.Events(
            "drugs", "drug_exposure", "day", "until", keep=draw(few(DRUG | derived)),
            until=until,
        ),
        d.Events("some", of="stays", keep=draw(few(ENCOUNTER | derived))),
    )  # fmt: skip
    observed = draw(st.sampled_from((None, None, None, "visits", "drugs", "some")))
    index = d.Index(
        events=draw(st.sampled_from(("stays", "some") if at == "end" else SETS_OF_INDEX)),
        pick=draw(st.sampled_from(("first", "last", *(("each", "each") if point_in_time else ())))),
        at=at,
        since=draw(st.sampled_from((None, FIRST + timedelta(3)))),
        until=draw(st.sampled_from((None, FIRST + timedelta(30)))),
        washout_days=draw(st.sampled_from((0, 0, 1, 10))),
        lookback_days=draw(st.integers(1, 9)) if observed else 0,
        observed=observed,
    )
    columns = []
    for number in range(draw(st.integers(0, 5))):
        measure, value = draw(measures(point_in_time))
        columns.append(d.Column(f"c{number}", measure, draw(forms(measure, value))))
    criteria = []
    for number in range(draw(st.integers(0, 2))):
        measure, value = draw(measures(point_in_time))
        criteria.append(d.Criterion(f"n{number}", measure, draw(condition({"value": value}))))
    data_until = draw(st.sampled_from((None, "latest", FIRST + timedelta(20))))
    follow_up = d.FollowUp(
        days=draw(st.integers(1, 30)),
        data_until=data_until,
        censor=draw(st.sampled_from(((), ("drugs",), ("drugs", "stays")))),
        outcomes=(d.Outcome("ill", "some", draw(st.integers(0, 3))), d.Outcome("ward", "stays")),
        whole=draw(st.booleans()) and data_until is not None,
    )
    return d.Cohort(
        name="drawn", title="Drawn", model="views", events=sets, index=index,
        population=draw(few(dict(SOURCES["patient_demographics"].columns))),
        include=tuple(criteria[:1]), exclude=tuple(criteria[1:]), columns=tuple(columns),
        follow_up=draw(st.sampled_from((None, follow_up, follow_up))),
        point_in_time=point_in_time,
    )  # fmt: skip
