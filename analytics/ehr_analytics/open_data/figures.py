"""Figures of open datasets: cells of one period, each with the persons behind it.

Every table has a row for all hospitals together. It is a margin of the others and of those of other
sets, so that the control sees what a reader could subtract.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

import numpy as np

from ehr_analytics.disclosure.cells import Cell
from ehr_analytics.open_data.periods import Period
from ehr_etl.trusted_zone.health_events import CONDITION, VACCINATION
from ehr_etl.trusted_zone.visits import EMERGENCY, INPATIENT

__all__ = ["ALL", "FIGURES", "MEASURE", "Figures"]

Visit = Mapping[str, Any]
Labels = tuple[tuple[str, str], ...]

# The label of a row of all hospitals, or of all hours.
ALL = "all"
# The dimension that tells the columns of a row apart; the others are columns of labels.
MEASURE = "measure"


@dataclass(frozen=True)
class Figures:
    """How the numbers of a dataset are made: columns of labels and of numbers, and the cells.

    A column for the period comes before those of the labels.
    """

    kind: str
    labels: tuple[str, ...]
    numbers: tuple[str, ...]
    # Of the numbers: those that shorter periods add up to, with the unit of their cells.
    additive: Mapping[str, str]
    # Table name, period, visits of the kind that touch it.
    make: Callable[[str, Period, list[Visit]], list[Cell]]
    # Columns that are worked out from shown numbers alone: name -> (numbers, period) -> value.
    derived: Mapping[str, Callable[[Mapping[str, float | None], Period], float | None]] = field(
        default_factory=lambda: MappingProxyType({})
    )


def _count_by_hospital(table: str, period: Period, visits: list[Visit]) -> list[Cell]:
    begun = _list_begun(period, visits)
    groups = _group_by_hospital(begun)
    return [
        _count(table, ((period.kind, str(period)), ("hospital", hospital)), own)
        for hospital, own in groups.items()
    ]


def _count_by_hour(table: str, period: Period, visits: list[Visit]) -> list[Cell]:
    begun = _list_begun(period, visits)
    by_hour = _group(begun, lambda visit: f"{visit['start'].hour:02d}")
    groups = {ALL: begun, **{f"{hour:02d}": by_hour.get(f"{hour:02d}", []) for hour in range(24)}}
    return [
        _count(table, ((period.kind, str(period)), ("hour", hour)), own)
        for hour, own in groups.items()
    ]


def _count_people_by_code(table: str, period: Period, events: list[Visit]) -> list[Cell]:
    """Return how many people have each code, and any; one person may have several."""
    begun = _list_begun(period, events)
    groups = {ALL: begun} | _group(begun, lambda event: event["code"])
    cells = []
    for code, own in groups.items():
        persons = frozenset(event["person"] for event in own)
        labels = ((period.kind, str(period)), ("code", code), (MEASURE, "people"))
        cells.append(Cell(table, labels, "frequency", len(persons), "persons", persons))
    return cells


def _describe_waits(table: str, period: Period, visits: list[Visit]) -> list[Cell]:
    """Return median and 95th centile of each person's first wait of the period.

    One wait a person: so that hospitals have nobody in common, and add up to all of them.
    """
    first: dict[str, Visit] = {}
    for visit in sorted(_list_begun(period, visits), key=lambda visit: visit["start"]):
        if visit["waited_minutes"] is not None:
            first.setdefault(visit["person"], visit)
    groups = _group_by_hospital([*first.values()])
    cells: list[Cell] = []
    for hospital, own in groups.items():
        waits = {visit["person"]: float(visit["waited_minutes"]) for visit in own}
        values, persons = list(waits.values()), frozenset(waits)
        place = ((period.kind, str(period)), ("hospital", hospital))
        cells.append(
            Cell(table, (*place, (MEASURE, "people")), "frequency", len(waits), "persons", persons)
        )
        for statistic, name, share in (
            ("median", "median_minutes", 0.5),
            ("quantile", "p95_minutes", 0.95),
        ):
            value = float(np.quantile(values, share)) if values else None
            labels = (*place, (MEASURE, name))
            # The unit keeps the two apart: a median is not compared with a 95th centile.
            cells.append(Cell(table, labels, statistic, value, f"minutes: {name}", persons, waits))
    return cells


def _add_up_bed_days(table: str, period: Period, visits: list[Visit]) -> list[Cell]:
    cells = []
    for hospital, own in _group_by_hospital(visits).items():
        spans: defaultdict[tuple[str, str], list[tuple[datetime, datetime]]] = defaultdict(list)
        for visit in own:
            span = max(visit["start"], period.begin), min(visit["end"] or period.end, period.end)
            spans[visit["person"], visit["provider"]].append(span)
        days: defaultdict[str, float] = defaultdict(float)
        for (person, _), stays in spans.items():
            days[person] += _measure_union(stays) / timedelta(days=1)
        labels = ((period.kind, str(period)), ("hospital", hospital), (MEASURE, "bed_days"))
        given = dict(days)
        total = float(np.sum(list(given.values())))
        cells.append(Cell(table, labels, "sum", total, "bed days", frozenset(given), given))
    return cells


def _mean_beds(numbers: Mapping[str, float | None], period: Period) -> float | None:
    bed_days = numbers["bed_days"]
    return None if bed_days is None else round(bed_days / period.days, 1)


FIGURES: Mapping[str, Figures] = MappingProxyType(
    {
        "attendances-by-hospital": Figures(
            EMERGENCY,
            ("hospital",),
            ("attendances",),
            {"attendances": "attendances"},
            _count_by_hospital,
        ),
        "attendances-by-hour": Figures(
            EMERGENCY, ("hour",), ("attendances",), {"attendances": "attendances"}, _count_by_hour
        ),
        "vaccinations-by-code": Figures(
            VACCINATION, ("code",), ("people",), {}, _count_people_by_code
        ),
        "conditions-by-code": Figures(CONDITION, ("code",), ("people",), {}, _count_people_by_code),
        "waiting-times": Figures(
            EMERGENCY,
            ("hospital",),
            ("people", "median_minutes", "p95_minutes"),
            {"people": "persons"},
            _describe_waits,
        ),
        "bed-occupancy": Figures(
            INPATIENT,
            ("hospital",),
            ("bed_days",),
            {"bed_days": "bed days"},
            _add_up_bed_days,
            MappingProxyType({"mean_occupied_beds": _mean_beds}),
        ),
    }
)


def _list_begun(period: Period, visits: Iterable[Visit]) -> list[Visit]:
    return [visit for visit in visits if period.begin <= visit["start"] < period.end]


def _group_by_hospital(visits: list[Visit]) -> dict[str, list[Visit]]:
    """Return all visits, and those of each hospital; one whose id is that of the total has none."""
    groups = _group(visits, lambda visit: visit["provider"])
    return {ALL: visits} | {name: own for name, own in groups.items() if name != ALL}


def _group(visits: Iterable[Visit], name: Callable[[Visit], str]) -> dict[str, list[Visit]]:
    groups: defaultdict[str, list[Visit]] = defaultdict(list)
    for visit in visits:
        groups[name(visit)].append(visit)
    return dict(sorted(groups.items()))


def _count(table: str, labels: Labels, visits: Iterable[Visit]) -> Cell:
    """Return the number of visits, with how many of them are each person's."""
    given: defaultdict[str, float] = defaultdict(float)
    for visit in visits:
        given[visit["person"]] += 1
    return Cell(
        table,
        (*labels, (MEASURE, "attendances")),
        "frequency",
        float(sum(given.values())),
        "attendances",
        frozenset(given),
        dict(given),
    )


def _measure_union(spans: Iterable[tuple[datetime, datetime]]) -> timedelta:
    """Return for how long at least one of some spans goes on."""
    total, reached = timedelta(), datetime.min
    for begin, end in sorted(spans):
        if end > reached:
            total += end - max(begin, reached)
            reached = end
    return total
