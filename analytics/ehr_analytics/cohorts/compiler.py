"""Compiler of cohorts to SQL: a list of steps, each one SELECT, for DuckDB or Spark.

Every table is read once per set of events, with typed columns alone. From there on there are dates,
numbers and codes under names of the compiler's own; the last step has one row per person.
"""

# ruff: noqa: S608 - names are the checks', values are `literal`'s
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ehr_analytics.cohorts.checks import check_cohort
from ehr_analytics.cohorts.conditions import AllOf, Condition
from ehr_analytics.cohorts.definition import (
    DERIVED_COLUMNS,
    Cohort,
    Events,
    FollowUp,
    Measure,
    MeasureKind,
    Window,
)
from ehr_analytics.cohorts.dialects import Dialect
from ehr_analytics.cohorts.sources import PERSON_SOURCES, Source
from ehr_analytics.cohorts.sql_expressions import (
    condition_sql,
    form_sql,
    literal,
    period_sql,
    typed_value,
)
from ehr_analytics.cohorts.usage import event_columns, person_columns

__all__ = ["INDEX_STEP", "CompiledCohort", "Step", "compile_cohort"]

# The step with a row for each person who has an index date.
INDEX_STEP = "index_day"

# A count of no events is none, not unknown.
_ZERO = (MeasureKind.COUNT, MeasureKind.DISTINCT, MeasureKind.TOTAL_DAYS)


@dataclass(frozen=True)
class Step:
    """A SELECT by the name that later steps know it by.

    A step with a `source` reads this table of the lake, under the name `source_` and its own.
    """

    name: str
    sql: str
    source: str | None = None


@dataclass(frozen=True)
class CompiledCohort:
    """Steps in order; `sql` then selects person, left_at, index_date and the columns."""

    steps: tuple[Step, ...]
    sql: str


def compile_cohort(
    cohort: Cohort, sources: Mapping[str, Source], dialect: Dialect
) -> CompiledCohort:
    """Return the SQL of a cohort; Unprocessable where it does not fit the tables."""
    check_cohort(cohort, sources)
    return _Compiler(cohort, sources, dialect).compile()


@dataclass(frozen=True)
class _Compiler:
    cohort: Cohort
    sources: Mapping[str, Source]
    dialect: Dialect

    def compile(self) -> CompiledCohort:
        steps = [self._people()]
        first = self._index_sets()
        for events in self.cohort.events:
            steps += self._events(events) if events.name in first else ()
        steps += self._index()
        for events in self.cohort.events:
            steps += self._events(events) if events.name not in first else ()
        steps += self._measure_steps()
        steps.append(Step("person_rows", self._person_rows()))
        columns = [f"q_{number}" for number, _ in enumerate(self.cohort.columns)]
        shown = [
            f"{form_sql(self.dialect, column.form, self._value(column.measure))} AS {name}"
            for name, column in zip(columns, self.cohort.columns, strict=True)
        ]
        results = ", ".join(
            f"{name} AS {self.dialect.name(column.name)}"
            for name, column in zip(columns, self.cohort.columns, strict=True)
        )
        inner = ", ".join(
            ["person", f"{self._left_at()} AS left_at", "index_date", *shown, *self._outcomes()]
        )
        follow_up = ", ".join(self._follow_up_columns())
        selected = ", ".join(
            part for part in ("person", "left_at", "index_date", results, follow_up) if part
        )
        return CompiledCohort(
            tuple(steps), f"SELECT {selected} FROM (SELECT {inner} FROM person_rows) result"
        )

    def _index_sets(self) -> frozenset[str]:
        """Return the sets of events that the index date depends on, with what they are made of."""
        names = set()
        for name in (self.cohort.index.events, self.cohort.index.observed):
            while name is not None:
                names.add(name)
                name = self.cohort.find_events(name).of
        return frozenset(names)

    def _reads_index_people_only(self, events: Events) -> bool:
        """Say whether rows of people without an index date are left out before they are read.

        Nobody else's events are measured, unless the end of the data is read of the set.
        """
        is_later = events.name not in self._index_sets()
        return is_later and "days_to_last" not in event_columns(self.cohort, events.name)

    def _people(self) -> Step:
        source = self.sources[PERSON_SOURCES[self.cohort.model].table]
        columns = self._typed_columns(source, person_columns(self.cohort))
        person = self.dialect.name(source.person)
        selected = ", ".join([f"{person} AS person", *columns])
        sql = f"SELECT {selected} FROM source_people WHERE {person} IS NOT NULL"
        return Step("people", sql, source.name)

    def _events(self, events: Events) -> Iterable[Step]:
        name = _events_name(events.name)
        keep = self._all(events.keep)
        if events.of is not None:
            of = _events_name(events.of)
            yield Step(name, f"SELECT * FROM {of} WHERE {keep}")
            return
        columns = event_columns(self.cohort, events.name)
        own = [name for name in columns if name not in DERIVED_COLUMNS]
        yield from self._rows(events, own)
        previous = f"rows_{events.name}"
        if events.merge_gap is not None:
            yield Step(f"merged_{events.name}", self._merge(previous, own, events.merge_gap))
            previous = f"merged_{events.name}"
        derived = [name for name in columns if name in DERIVED_COLUMNS]
        if derived:
            yield Step(f"derived_{events.name}", self._derive(previous, own, derived))
            previous = f"derived_{events.name}"
        yield Step(name, f"SELECT * FROM {previous} WHERE {keep}")

    def _rows(self, events: Events, own: list[str]) -> Iterable[Step]:
        source = self.sources[events.table or ""]
        types = source.columns
        start = typed_value(
            self.dialect, self.dialect.name(events.date or ""), types[events.date or ""]
        )
        finish = "start"
        if events.end is not None:
            end = typed_value(self.dialect, self.dialect.name(events.end), types[events.end])
            # The ends that are known; where they come before the start it is the start.
            finish = "CASE WHEN known_end IS NOT NULL THEN greatest(start, known_end) END"
        else:
            end = "CAST(NULL AS DATE)"
        typed = self._typed_columns(source, own)
        person = self.dialect.name(source.person)
        inner_columns = [f"{person} AS person", f"{start} AS start", f"{end} AS known_end", *typed]
        outer_columns = ["person", "start", f"{finish} AS finish", *map(_column, own)]
        if self.cohort.point_in_time:
            until = "CAST(NULL AS DATE)"
            if events.until is not None:
                column = self.dialect.name(events.until)
                until = typed_value(self.dialect, column, types[events.until])
            inner_columns.append(f"{until} AS until")
            # greatest() ignores NULL on both engines.
            outer_columns += ["greatest(start, known_end) AS known", "until"]
        inner, outer = ", ".join(inner_columns), ", ".join(outer_columns)
        needed = "person IS NOT NULL AND start IS NOT NULL"
        needed += " AND known_end IS NOT NULL" if events.end is not None else ""
        rows, read_from = f"rows_{events.name}", f"source_rows_{events.name}"
        source_name: str | None = source.name
        if self._reads_index_people_only(events):
            # A step of its own: DuckDB would read every date before it leaves rows out, 1.8 s of
            # CPU for three million rows in place of 0.35 s (tests/perf/bench_cohort.py).
            dates = (events.date, events.end, events.until)
            names = [name for name in (*dates, *own) if name]
            raw = ", ".join(map(self.dialect.name, dict.fromkeys((source.person, *names))))
            near = f"near_{events.name}"
            yield Step(
                near,
                f"SELECT {raw} FROM source_{near} WHERE {person} IN (SELECT person FROM index_day)",
                source.name,
            )
            read_from, source_name = near, None
        yield Step(
            rows,
            f"SELECT {outer} FROM (SELECT {inner} FROM {read_from}) typed"
            f" WHERE {needed} AND {self._all(events.where)}",
            source_name,
        )

    def _merge(self, rows: str, own: list[str], gap: int) -> str:
        order = _order(own)
        columns = ", ".join(["person", "start", "finish", *map(_column, own)])
        merged = ", ".join(["person", "start", "stay_finish AS finish", *map(_column, own)])
        if self.cohort.point_in_time:
            columns += ", known, until"
            merged += ", stay_finish AS known, until"
        days = self.dialect.days_between("reach", "start")
        return (
            f"WITH reached AS (SELECT {columns}, max(finish) OVER (PARTITION BY person ORDER BY"
            f" {order} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reach FROM {rows}),"
            f" numbered AS (SELECT {columns}, sum(CASE WHEN reach IS NULL OR {days} > {gap}"
            f" THEN 1 ELSE 0 END) OVER (PARTITION BY person ORDER BY {order}"
            " ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS stay FROM reached),"
            f" placed AS (SELECT {columns}, max(finish) OVER (PARTITION BY person, stay)"
            " AS stay_finish, row_number() OVER (PARTITION BY person, stay"
            f" ORDER BY {order}) AS place FROM numbered)"
            f" SELECT {merged} FROM placed WHERE place = 1"
        )

    def _derive(self, rows: str, own: list[str], derived: list[str]) -> str:
        between = self.dialect.days_between
        window = f"OVER (PARTITION BY person ORDER BY {_order(own)})"
        expressions = {
            "days": between("start", "finish"),
            "days_to_next": between("finish", f"lead(start) {window}"),
            "days_since_previous": between(f"lag(finish) {window}", "start"),
            "days_to_last": between("finish", f"(SELECT max(start) FROM {rows})"),
        }
        selected = ", ".join(f"{expressions[name]} AS {_column(name)}" for name in derived)
        return f"SELECT *, {selected} FROM {rows}"

    def _index(self) -> Iterable[Step]:
        index = self.cohort.index
        events = _events_name(index.events)
        tests = ["true"]
        tests += [f"day >= {literal(index.since)}"] if index.since else []
        tests += [f"day <= {literal(index.until)}"] if index.until else []
        day = "start" if index.at == "start" else "finish"
        days = (
            f"SELECT person, {day} AS day, min(start) AS began FROM {events} GROUP BY person, {day}"
        )
        if index.washout_days:
            days = (
                "SELECT person, day, began, lag(day) OVER (PARTITION BY person ORDER BY day)"
                f" AS previous FROM ({days}) event_days"
            )
            since = self.dialect.days_between("previous", "day")
            tests.append(f"(previous IS NULL OR {since} > {index.washout_days})")
        if index.observed is not None:
            observed = _events_name(index.observed)
            since = self.dialect.days_between("o.start", "c.day")
            spans = ""
            if self.cohort.base_events(index.observed).end is not None:
                spans = " AND o.finish >= c.day"
            tests.append(
                f"EXISTS (SELECT 1 FROM {observed} o WHERE o.person = c.person"
                f" AND {since} >= {index.lookback_days}{spans})"
            )
        found = f"FROM ({days}) c WHERE {' AND '.join(tests)}"
        if index.pick == "each":
            index_day = f"SELECT person, day AS index_date, began {found}"
        else:
            pick = "min" if index.pick == "first" else "max"
            index_day = (
                f"SELECT person, {pick}(day) AS index_date, {pick}_by(began, day) AS began {found}"
                " GROUP BY person"
            )
        yield Step(INDEX_STEP, index_day)
        columns = self._index_columns()
        if columns:
            own = event_columns(self.cohort, self.cohort.base_events(index.events).name)
            selected = ", ".join(f"{_column(name)} AS i{_column(name)}" for name in columns)
            yield Step(
                "index_row",
                f"SELECT person, index_date, {selected} FROM (SELECT e.*, row_number()"
                f" OVER (PARTITION BY e.person{', e.' + day if self._is_each else ''}"
                f" ORDER BY {_order(own, 'e.')})"
                f" AS place, i.index_date FROM {events} e JOIN index_day i"
                f" ON i.person = e.person AND i.index_date = e.{day}) placed WHERE place = 1",
            )

    def _index_columns(self) -> tuple[str, ...]:
        return tuple(
            dict.fromkeys(
                measure.column
                for measure in self.cohort.measures()
                if measure.kind is MeasureKind.INDEX and measure.column is not None
            )
        )

    def _measure_steps(self) -> Iterable[Step]:
        """Aggregate each set of events once, for all measures of it."""
        aggregates: dict[str, list[str]] = {}
        for number, measure in enumerate(self.cohort.measures()):
            if measure.events is not None:
                sql = self._aggregate(measure)
                aggregates.setdefault(measure.events, []).append(f"{sql} AS m_{number}")
        for number, (name, from_days) in enumerate(self._follow_up_events()):
            test = f"CASE WHEN day >= {from_days} THEN day END"
            aggregates.setdefault(name, []).append(f"min({test}) AS f_{number}")
        near = f"{self.dialect.days_between('b.index_date', 'e.start')} AS day"
        if self.cohort.point_in_time:
            near += (
                f", b.index_date, {self.dialect.days_between('b.began', 'e.start')} AS start_day,"
                " (e.known <= b.index_date AND coalesce(e.until > b.index_date, true)) AS is_known"
            )
        keys = "person, index_date" if self._is_each else "person"
        for name, columns in aggregates.items():
            yield Step(
                f"measured_{name}",
                f"SELECT {keys}, {', '.join(columns)} FROM (SELECT e.*, {near}"
                f" FROM {_events_name(name)} e JOIN index_day b ON b.person = e.person) near"
                f" GROUP BY {keys}",
            )

    @property
    def _is_each(self) -> bool:
        """Say whether a person has a row for each index date."""
        return self.cohort.index.pick == "each"

    def _aggregate(self, measure: Measure) -> str:
        seen = _within(measure.window)
        if self.cohort.point_in_time:
            seen = f"is_known AND {seen}"
        column = _column(measure.column or "")
        pair = f"CASE WHEN {seen} AND {column} IS NOT NULL THEN "
        pair += f"{self.dialect.pair('day', column)} END"
        match measure.kind:
            case MeasureKind.COUNT:
                return f"count(CASE WHEN {seen} THEN 1 END)"
            case MeasureKind.DISTINCT:
                return f"count(DISTINCT CASE WHEN {seen} THEN {column} END)"
            case MeasureKind.FIRST_DAY:
                return f"min(CASE WHEN {seen} THEN day END)"
            case MeasureKind.LAST_DAY:
                return f"max(CASE WHEN {seen} THEN day END)"
            case MeasureKind.TOTAL_DAYS:
                return f"CAST(sum(CASE WHEN {seen} THEN {_column('days')} ELSE 0 END) AS BIGINT)"
            case MeasureKind.SMALLEST:
                return f"min(CASE WHEN {seen} THEN {column} END)"
            case MeasureKind.LARGEST:
                return f"max(CASE WHEN {seen} THEN {column} END)"
            case MeasureKind.EARLIEST:
                return f"min({pair}).b"
            case _:
                return f"max({pair}).b"

    def _follow_up_events(self) -> tuple[tuple[str, int], ...]:
        """Return the events that a follow-up waits for, each with its first day."""
        follow_up = self.cohort.follow_up
        if follow_up is None:
            return ()
        return (
            *((outcome.events, outcome.from_days) for outcome in follow_up.outcomes),
            *((name, 0) for name in follow_up.censor),
        )

    def _person_rows(self) -> str:
        """Return one row for everybody in the data, with all measures and the end of follow-up."""
        selected = ["p.person", f"{self._all(self.cohort.population, 'p.')} AS eligible"]
        selected.append("i.index_date")
        joins = ["LEFT JOIN index_day i ON i.person = p.person"]
        if self._index_columns():
            joins.append(f"LEFT JOIN index_row r ON r.person = p.person{self._same_date('r')}")
        read: list[str] = []
        for number, measure in enumerate(self.cohort.measures()):
            selected.append(f"{self._measure_value(number, measure)} AS v_{number}")
            read += [measure.events] if measure.events else []
        for number, (name, _) in enumerate(self._follow_up_events()):
            selected.append(f"m_{name}.f_{number}")
            read.append(name)
        joins += [
            f"LEFT JOIN measured_{name} m_{name} ON m_{name}.person = p.person"
            f"{self._same_date(f'm_{name}')}"
            for name in dict.fromkeys(read)
        ]
        if self.cohort.follow_up is not None:
            selected.append(f"{self._data_days(self.cohort.follow_up)} AS data_days")
        return f"SELECT {', '.join(selected)} FROM people p {' '.join(joins)}"

    def _same_date(self, table: str) -> str:
        return f" AND {table}.index_date = i.index_date" if self._is_each else ""

    def _measure_value(self, number: int, measure: Measure) -> str:
        if measure.events is not None:
            value = f"m_{measure.events}.m_{number}"
            return f"coalesce({value}, 0)" if measure.kind in _ZERO else value
        if measure.kind is MeasureKind.AGE:
            born = _column(PERSON_SOURCES[self.cohort.model].birth_year)
            age = f"(CAST(year(i.index_date) AS BIGINT) - p.{born})"
            # Born after the index date: a mistake of the record, and no age.
            return f"CASE WHEN {age} >= 0 THEN {age} END"
        if measure.kind is MeasureKind.INDEX_PERIOD:
            return period_sql("i.index_date", measure.column or "")
        column = _column(measure.column or "")
        return f"p.{column}" if measure.kind is MeasureKind.PERSON else f"r.i{column}"

    def _data_days(self, follow_up: FollowUp) -> str:
        """Return the days from the index date to the end of the data, NULL where it has none."""
        if follow_up.data_until is None:
            return "CAST(NULL AS BIGINT)"
        if isinstance(follow_up.data_until, str):
            until = f"(SELECT max(start) FROM {_events_name(self.cohort.index.events)})"
        else:
            until = literal(follow_up.data_until)
        return self.dialect.days_between("i.index_date", until)

    def _left_at(self) -> str:
        """Return the number of the step at which a person left, as `list_steps` counts; else 0."""
        tests = ["NOT eligible", "index_date IS NULL"]
        for criterion in self.cohort.include:
            tests.append(f"NOT {self._test(criterion.condition, criterion.measure)}")
        for criterion in self.cohort.exclude:
            tests.append(self._test(criterion.condition, criterion.measure))
        if self.cohort.follow_up is not None and self.cohort.follow_up.whole:
            tests.append(f"data_days < {self.cohort.follow_up.days}")
        cases = " ".join(f"WHEN {test} THEN {number}" for number, test in enumerate(tests, 1))
        return f"CASE {cases} ELSE 0 END"

    def _outcomes(self) -> list[str]:
        follow_up = self.cohort.follow_up
        if follow_up is None:
            return []
        first_censor = len(follow_up.outcomes)
        ends = ["data_days", *(f"f_{first_censor + n}" for n, _ in enumerate(follow_up.censor))]
        days = str(follow_up.days)
        # least() ignores NULL on both engines.
        end = f"CAST(greatest(0, least({', '.join([days, *ends])})) AS BIGINT)"
        columns = [f"{end} AS follow_end"]
        columns += [f"f_{number}" for number, _ in enumerate(follow_up.outcomes)]
        return columns

    def _follow_up_columns(self) -> list[str]:
        follow_up = self.cohort.follow_up
        if follow_up is None:
            return []
        columns = ["follow_end AS follow_up_days"]
        for number, outcome in enumerate(follow_up.outcomes):
            happened = f"f_{number} <= follow_end"
            name = self.dialect.name
            columns += [
                f"CASE WHEN {happened} THEN 'yes' ELSE 'no' END AS {name(outcome.name)}",
                f"CASE WHEN {happened} THEN f_{number} ELSE follow_end END"
                f" AS {name(outcome.name + '_days')}",
            ]
        return columns

    def _value(self, measure: Measure) -> str:
        return f"v_{self.cohort.measures().index(measure)}"

    def _test(self, condition: Condition, measure: Measure) -> str:
        return condition_sql(self.dialect, condition, lambda _: self._value(measure))

    def _all(self, conditions: tuple[Condition, ...], prefix: str = "") -> str:
        return condition_sql(
            self.dialect, AllOf(conditions), lambda name: f"{prefix}{_column(name)}"
        )

    def _typed_columns(self, source: Source, names: Iterable[str]) -> list[str]:
        return [
            f"{typed_value(self.dialect, self.dialect.name(name), source.columns[name])}"
            f" AS {_column(name)}"
            for name in names
        ]


def _events_name(name: str) -> str:
    return f"events_{name}"


def _column(name: str) -> str:
    return f"c_{name}"


def _order(columns: Iterable[str], prefix: str = "") -> str:
    """Return an order in which only rows that are the same in all that is read are equal."""
    names = ["start", "finish", *map(_column, columns)]
    return ", ".join(f"{prefix}{name} ASC NULLS LAST" for name in names)


def _within(window: Window) -> str:
    day = "start_day" if window.from_start else "day"
    tests = [] if window.from_days is None else [f"{day} >= {window.from_days}"]
    tests += [] if window.to_days is None else [f"{day} <= {window.to_days}"]
    return " AND ".join(tests) or "true"
