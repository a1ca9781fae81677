"""Refresh of open data: periods that ended are made, controlled against all releases, published.

A period is made once. It is never made again with the records that came later: two versions of one
number would tell of the few persons between them. Shorter periods go first, and what they add up to
is held against a longer one: its number less theirs must not be about few persons.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from ehr_analytics.disclosure.control import ControlledCell, ControlledRelease, control_release
from ehr_analytics.disclosure.release_history import ReleaseHistory, lock_releases
from ehr_analytics.open_data.figures import MEASURE, Figures
from ehr_analytics.open_data.finer_periods import (
    add_up_finer_periods,
    list_closed,
    name_release,
)
from ehr_analytics.open_data.periods import Period
from ehr_analytics.open_data.publication import (
    OpenDataset,
    find_figures,
    list_datasets,
    list_periods,
)
from ehr_analytics.register import Register
from ehr_etl.lake import Lake
from ehr_etl.trusted_zone.health_events import CONDITION, VACCINATION, read_health_events
from ehr_etl.trusted_zone.visits import EMERGENCY, INPATIENT, read_visits
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_privacy.disclosure import POLICIES

__all__ = ["RefreshedPeriod", "refresh"]

# As the platform itself, not as a person.
_WHO = "ehr-commons"
# How far back a dataset goes: a live one shows what is now, and of long ago there are few records.
_MOST_PERIODS = {"month": 24, "day": 7, "hour": 48}
# Chosen, in seconds: nobody waits for the job, and what people ask for goes first.
_PATIENCE = 600.0


@dataclass(frozen=True)
class RefreshedPeriod:
    """A period that was published now: how many numbers it has, and how many of them are hidden."""

    dataset: str
    period: str
    numbers: int
    hidden: int


def refresh(
    register: Register,
    lake: Lake,
    key: bytes,
    find_withheld: Callable[[], Collection[str]],
) -> list[RefreshedPeriod]:
    """Publish every period that is due of every published dataset; return these.

    `key` is that of the lake's pseudonyms, and `find_withheld` tells whom of them it leaves
    out. The rows of visits stay in memory.
    """
    due = [
        (dataset, periods)
        for dataset in list_datasets(register)
        if dataset.state == "published" and (periods := _list_due(register, dataset))
    ]
    if not due:
        return []
    now_ms = int(register.clock().timestamp() * 1000)
    # First: the lake may follow in between.
    withheld = find_withheld()
    kinds = {find_figures(dataset.declaration).kind for dataset, _ in due}
    visits = [
        visit
        for table in _read_tables(lake, key, now_ms, kinds)
        for visit in table.to_pylist()
        if visit["start"] and visit["person"] not in withheld
    ]
    refreshed = []
    # The shorter ones first: those of a longer period are closed once it is published.
    for dataset, periods in sorted(due, key=lambda each: each[1][0].days):
        figures = find_figures(dataset.declaration)
        own = [visit for visit in visits if visit["kind"] == figures.kind]
        begins = min((visit["start"] for visit in own), default=datetime.max)
        for period in periods:
            if period.end <= begins:
                # Before the first record: it may be loaded yet.
                continue
            touching: list[Mapping[str, Any]] = [
                visit
                for visit in own
                if visit["start"] < period.end
                and (visit["end"] is None or visit["end"] >= period.begin)
            ]
            with lock_releases(register, patience=_PATIENCE):
                if not _is_published(register, dataset, period):
                    refreshed.append(_publish(register, dataset, figures, period, touching))
    return refreshed


def _read_tables(lake: Lake, key: bytes, now_ms: int, kinds: Collection[str]) -> Iterator[pa.Table]:
    """Yield the tables of the rows that figures of some kinds are made of."""
    if {EMERGENCY, INPATIENT} & {*kinds}:
        yield read_visits(lake, key, now_ms)
    for kind in sorted({VACCINATION, CONDITION} & {*kinds}):
        yield read_health_events(lake, key, now_ms, kind)


def _is_published(register: Register, dataset: OpenDataset, period: Period) -> bool:
    """Say whether another process has published a period since it was found to be due."""
    published = list_periods(register, dataset.declaration.id)
    return str(period) in {each.period for each in published}


def _list_due(register: Register, dataset: OpenDataset) -> list[Period]:
    """Return the periods that ended long enough ago, and were not published yet, oldest first."""
    declaration = dataset.declaration
    published = {each.period for each in list_periods(register, declaration.id)}
    now = register.clock().astimezone(JURISDICTION.zone).replace(tzinfo=None)
    last = Period.around(now - declaration.settling, declaration.period).before
    # What was left out between published periods stays out: its numbers would be compared in vain.
    newest = max(published, default="")
    closed = list_closed(register, declaration)
    due: list[Period] = []
    for _ in range(_MOST_PERIODS[declaration.period]):
        if str(last) > newest and not any(last in period for period in closed):
            due.append(last)
        last = last.before
    return due[::-1]


def _publish(
    register: Register,
    dataset: OpenDataset,
    figures: Figures,
    period: Period,
    visits: list[Mapping[str, Any]],
) -> RefreshedPeriod:
    """Control a period against all releases, keep it for comparison, then publish it."""
    declaration = dataset.declaration
    run = name_release(declaration.id, period)
    # Of a period without visits there is nothing to show; it is made all the same, and not again.
    cells = figures.make(declaration.id, period, visits) if visits else []
    history = ReleaseHistory(register)
    persons = sorted({person for cell in cells for person in cell.persons})
    numbers = dict(zip(persons, history.number_persons(persons).tolist(), strict=True))
    earlier = [cell for cell in history.read() if cell.release != run]
    earlier += add_up_finer_periods(register, declaration, period, earlier)
    release = control_release(
        cells,
        POLICIES[declaration.policy],
        earlier,
        lambda names: np.array([numbers[name] for name in names], np.uint32),
    )
    controlled = _hide_unprotected(release)
    # Before it leaves: what left without having been kept could never be compared.
    history.add(run, controlled, numbers, declaration.policy)
    rows = _build_rows(figures, period, controlled)
    hidden = sum(cell.shown is None for cell in controlled)
    with register.transaction() as connection:
        connection.execute(
            "INSERT INTO open_month VALUES (?, ?, ?, ?, ?)",
            (
                declaration.id, str(period), json.dumps(rows), json.dumps(dict(release.record)),
                register.timestamp(),
            ),
        )  # fmt: skip
        register.append_event(
            connection, f"open-data/{declaration.id}", _WHO, "refresh-dataset",
            run=run, before="published", after="published",
            detail={declaration.period: str(period), "numbers": len(controlled), "hidden": hidden},
        )  # fmt: skip
    return RefreshedPeriod(declaration.id, str(period), len(controlled), hidden)


def _hide_unprotected(release: ControlledRelease) -> tuple[ControlledCell, ...]:
    """Return the cells, all hidden where a reader could still work out one of them.

    No person looks at a refresh: what a checker would send back is not published at all.
    """
    if release.is_protected:
        return release.cells
    return tuple(ControlledCell(cell.cell, None, cell.reason) for cell in release.cells)


def _build_rows(
    figures: Figures, period: Period, cells: Sequence[ControlledCell]
) -> list[dict[str, object]]:
    """Return the rows of a period; a hidden number is null.

    A row of which all is hidden is left out, like one of nobody: its being there would tell that
    somebody came.
    """
    columns = (period.kind, *figures.labels)
    rows: dict[tuple[str, ...], dict[str, float | None]] = {}
    for controlled in cells:
        labels = dict(controlled.cell.labels)
        place = tuple(labels[name] for name in columns)
        rows.setdefault(place, {})[labels[MEASURE]] = controlled.shown
    return [
        {
            **dict(zip(columns, place, strict=True)),
            **shown,
            **{name: work_out(shown, period) for name, work_out in figures.derived.items()},
        }
        for place, shown in rows.items()
        if any(number is not None for number in shown.values())
    ]
