"""A row of a frame from one person's resources, at an instant: for a request that waits.

It is worked out in plain Python by the cohort language's reference, and is the row that the frame
of tables has of this person on this day (a test holds one against the other over many people).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from typing import Any

import numpy as np

from ehr_analytics.cohorts.conditions import AllOf
from ehr_analytics.cohorts.definition import Cohort
from ehr_analytics.cohorts.reference import (
    Event,
    EventSets,
    evaluate_sets,
    is_known,
    read_event_sets,
    satisfies,
)
from ehr_analytics.cohorts.sources import Source, ValueType
from ehr_fhir.dates import local_day
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_models.frames.codes import CodeGroup, Codes, measure_recency, roll_up
from ehr_models.frames.declaration import DeclaredFeature, FrameDeclaration
from ehr_models.frames.measurements import Measurement, explain_left_out, find_scale
from ehr_models.frames.view_rows import Resource, open_reader
from ehr_models.task import PersonRow

__all__ = ["PersonFrame", "find_current"]

_Rows = Mapping[str, list[dict[str, Any]]]  # Any: a value of a view


@dataclass(frozen=True)
class PersonFrame:
    """Reads persons one by one, with features of the codes of a model."""

    declaration: FrameDeclaration
    codes: Codes

    def find_current(self, resources: Sequence[Resource], at: datetime) -> PersonRow | None:
        """Return what is known of one person's latest index event at an instant.

        None where there is none, where they are not of the cohort, or where another such event has
        begun since. `resources` are this person's, their Patient among them.
        """
        tables = self._read_tables(resources, at)
        cohort = self._as_of(local_date(at))
        sets = read_event_sets(cohort, self._sources, tables)
        evaluated = evaluate_sets(cohort, self._sources, tables, sets)
        rows = [row for row in evaluated if row["left_at"] == 0]
        if len(rows) != 1:
            return None
        person, day = rows[0]["person"], rows[0]["index_date"]
        found = self._find_encounter(tables, day)
        if found is None or self._has_begun_again(tables, sets, person, day, local_date(at)):
            return None
        features, reasons, unknown = [], [], 0
        for declared in self.declaration.features:
            features.append(_to_number(declared, rows[0]))
            if declared.is_required and np.isnan(features[-1]):
                reasons.append(f"{declared.feature.title} is not known")
        for measurement in self.declaration.measurements:
            events = sets[measurement.events].get(person, ())
            value, left_out = _measure(measurement, events, day)
            features.append(value)
            reasons += left_out
        for group in self.declaration.codes:
            uncoded = _count_uncoded(group, sets[group.events].get(person, ()), day)
            if uncoded:
                reasons.append(f"{group.title}: records without a code: {uncoded}")
            known = self.codes.get(group.name, ())
            features += _list_code_values(group, known, sets, person, day)
            unknown += _count_unknown_codes(group, known, sets[group.events].get(person, ()), day)
        encounter, ended = found
        return PersonRow(encounter, ended, np.array(features, dtype=float), tuple(reasons), unknown)

    def _as_of(self, day: date) -> Cohort:
        """Return the cohort of the latest index date up to a day, without its groups."""
        cohort = self.declaration.cohort
        until = min(cohort.index.until or day, day)
        wanted = {name for declared in self.declaration.features for name in declared.columns}
        return replace(
            cohort,
            index=replace(cohort.index, pick="last", until=until),
            columns=tuple(column for column in cohort.columns if column.name in wanted),
            follow_up=None,
        )

    @property
    def _sources(self) -> Mapping[str, Source]:
        return self.declaration.narrow_sources

    def _read_tables(self, resources: Iterable[Resource], at: datetime) -> _Rows:
        """Return the rows of the views, with whole days for dates; nothing ends after the instant.

        What has an end keeps the instant of it, under the column's name and `.instant`.
        """
        by_type: dict[str, list[Resource]] = {}
        for resource in resources:
            by_type.setdefault(str(resource.get("resourceType")), []).append(resource)
        tables = {}
        for name, columns in self.declaration.columns.items():
            reader = open_reader(name, columns)
            rows = reader.read(by_type.get(reader.resource, ()))
            kinds = self.declaration.sources[name].columns
            dates = [column for column in columns if kinds[column] is ValueType.DATE_TEXT]
            ends = {e.end for e in self.declaration.cohort.events if e.table == name and e.end}
            for row in rows:
                for column in dates:
                    text = row[column]
                    if column in ends and text is not None:
                        instant = _find_instant(text)
                        row[f"{column}.instant"] = instant
                        if instant is not None and instant > at:
                            row[column] = None
                            continue
                    row[column] = self._find_day(name, column, text)
            tables[name] = rows
        return tables

    def _find_day(self, table: str, column: str, text: str | None) -> str | None:
        if text is None or len(text) == len("2020-01-01"):
            return text
        if len(text) < len("2020-01-01"):
            is_single = (table, column) in self.declaration.single_dates
            return f"{text[:4]}-12-31" if is_single else text
        day = local_day(text)
        return None if day is None else day.isoformat()

    def _find_encounter(self, tables: _Rows, day: date) -> tuple[str, datetime] | None:
        """Return the encounter that ended last on the index date, and the instant of its end."""
        index = self.declaration.cohort.index
        events = self.declaration.cohort.base_events(index.events)
        column = (events.end if index.at == "end" else events.date) or ""
        found = [
            (row.get(f"{column}.instant") or _find_instant(row[column]), row["id"])
            for row in tables[events.table or ""]
            if row[column] == day.isoformat() and satisfies(AllOf(events.where), row)
        ]
        known = [(instant, key) for instant, key in found if instant is not None]
        if not known:
            return None
        instant, key = max(known)
        return key, instant

    def _has_begun_again(
        self, tables: _Rows, sets: EventSets, person: str, day: date, today: date
    ) -> bool:
        """Say whether an event like the index event's is going on."""
        cohort = self.declaration.cohort
        if cohort.index.at != "end":
            return False
        events = cohort.base_events(cohort.index.events)
        own = sets[cohort.index.events][person]
        began = min(event.start for event in own if event.finish == day).isoformat()
        return any(
            row[events.end or ""] is None
            and began <= (row[events.date or ""] or "") <= today.isoformat()
            and satisfies(AllOf(events.where), row)
            for row in tables[events.table or ""]
        )


def find_current(
    declaration: FrameDeclaration, resources: Sequence[Resource], at: datetime, codes: Codes
) -> PersonRow | None:
    """Return the row of one person at an instant (`PersonFrame.find_current`)."""
    return PersonFrame(declaration, codes).find_current(resources, at)


def local_date(at: datetime) -> date:
    """Return the day of an instant in the jurisdiction's calendar."""
    return at.astimezone(JURISDICTION.zone).date()


def _find_instant(text: str | None) -> datetime | None:
    """Return the instant at which a FHIR date begins; a day begins in the jurisdiction's zone."""
    if text is None:
        return None
    try:
        if len(text) == len("2020-01-01"):
            return datetime.combine(date.fromisoformat(text), time.min, JURISDICTION.zone)
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return instant if instant.tzinfo else instant.replace(tzinfo=JURISDICTION.zone)


def _to_number(declared: DeclaredFeature, row: Mapping[str, Any]) -> float:
    values = (row[name] for name in declared.columns)
    value = next((value for value in values if value is not None), None)
    if value is None:
        return float("nan")
    number = float(value == "yes") if isinstance(value, str) else float(value)
    least = -np.inf if declared.least is None else declared.least
    most = np.inf if declared.most is None else declared.most
    return float(min(max(number, least), most))


def _measure(
    measurement: Measurement, events: Sequence[Event], day: date
) -> tuple[float, list[str]]:
    """Return the latest value that can be true, and why a newer one was left out."""
    taken: tuple[date, float] | None = None
    wrong, unitless = date.min, date.min
    for event in events:
        code, value = (
            event.values[name] for name in (measurement.code_column, measurement.value_column)
        )
        is_near = (day - event.start).days <= measurement.days and is_known(event, day)
        if code not in measurement.codes or value is None or not is_near:
            continue
        scale = find_scale(
            code,
            event.values[measurement.unit_column],
            measurement.feature.unit,
            measurement.molar_mass,
        )
        if scale is None:
            unitless = max(unitless, event.start)
        elif not scale.is_plausible(scale.convert(value)):
            wrong = max(wrong, event.start)
        else:
            found = (event.start, scale.convert(value))
            taken = found if taken is None else max(taken, found)
    last = date.min if taken is None else taken[0]
    reasons = explain_left_out(
        measurement, is_implausible=wrong > last, is_without_unit=unitless > last
    )
    return float("nan") if taken is None else taken[1], list(reasons)


def _count_uncoded(group: CodeGroup, events: Sequence[Event], day: date) -> int:
    """Return how many events had no code in the days before."""
    return sum(
        event.values[group.column] is None
        and (day - event.start).days <= group.days
        and is_known(event, day)
        for event in events
    )


def _count_unknown_codes(
    group: CodeGroup, codes: tuple[str, ...], events: Sequence[Event], day: date
) -> int:
    """Return how many codes of the days before are none that the model has a feature of."""
    found = {
        _roll_up(group, event)
        for event in events
        if event.values[group.column] is not None
        and (day - event.start).days <= group.days
        and is_known(event, day)
    }
    return len(found - {*codes})


def _roll_up(group: CodeGroup, event: Event) -> str:
    system = None if group.system is None else event.values[group.system]
    return roll_up(str(event.values[group.column]), system)


def _list_code_values(
    group: CodeGroup, codes: tuple[str, ...], sets: EventSets, person: str, day: date
) -> list[float]:
    """Return days and recency of each code of a group."""
    days_by_code: dict[str, set[int]] = {}
    for event in sets[group.events].get(person, ()):
        if event.values[group.column] is not None and is_known(event, day):
            days_by_code.setdefault(_roll_up(group, event), set()).add((day - event.start).days)
    values = []
    for code in codes:
        days = days_by_code.get(code)
        values += (
            [0.0, 0.0]
            if days is None
            else [float(sum(since <= group.days for since in days)), measure_recency(min(days))]
        )
    return values
