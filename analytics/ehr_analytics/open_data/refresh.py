"""Refresh of open data: months that ended are made, controlled against all releases, and published.

A month is made once. It is never made again with the records that came later: two versions of one
number would tell of the few persons between them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from ehr_analytics.disclosure.control import ControlledCell, ControlledRelease, control_release
from ehr_analytics.disclosure.release_history import ReleaseHistory, lock_releases
from ehr_analytics.open_data.figures import MEASURE, Figures, Month
from ehr_analytics.open_data.publication import (
    OpenDataset,
    find_figures,
    list_datasets,
    list_months,
)
from ehr_analytics.register import Register
from ehr_etl.lake import Lake
from ehr_etl.trusted_zone.visits import read_visits
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_privacy.disclosure import POLICIES

__all__ = ["RefreshedMonth", "refresh"]

# As the platform itself, not as a person.
_WHO = "ehr-commons"
# Months before the first one with visits are none; of those long ago there are few records.
_MOST_MONTHS = 24
# Chosen, in seconds: nobody waits for the job, and what people ask for goes first.
_PATIENCE = 600.0


@dataclass(frozen=True)
class RefreshedMonth:
    """A month that was published now: how many numbers it has, and how many of them are hidden."""

    dataset: str
    month: str
    numbers: int
    hidden: int


def refresh(
    register: Register,
    lake: Lake,
    key: bytes,
    find_withheld: Callable[[], Collection[str]],
) -> list[RefreshedMonth]:
    """Publish every month that is due of every published dataset; return these.

    `key` is that of the lake's pseudonyms, and `find_withheld` tells whom of them it leaves
    out. The rows of visits stay in memory.
    """
    due = [
        (dataset, months)
        for dataset in list_datasets(register)
        if dataset.state == "published" and (months := _list_due(register, dataset))
    ]
    if not due:
        return []
    now_ms = int(register.clock().timestamp() * 1000)
    # First: the lake may follow in between.
    withheld = find_withheld()
    visits = [
        visit
        for visit in read_visits(lake, key, now_ms).to_pylist()
        if visit["start"] and visit["person"] not in withheld
    ]
    refreshed = []
    for dataset, months in due:
        figures = find_figures(dataset.declaration)
        own = [visit for visit in visits if visit["kind"] == figures.kind]
        begins = min((visit["start"] for visit in own), default=datetime.max)
        for month in months:
            if month.end <= begins:
                # Before the first record: it may be loaded yet.
                continue
            touching: list[Mapping[str, Any]] = [
                visit
                for visit in own
                if visit["start"] < month.end
                and (visit["end"] is None or visit["end"] >= month.begin)
            ]
            with lock_releases(register, patience=_PATIENCE):
                if not _is_published(register, dataset, month):
                    refreshed.append(_publish(register, dataset, figures, month, touching))
    return refreshed


def _is_published(register: Register, dataset: OpenDataset, month: Month) -> bool:
    """Say whether another process has published a month since it was found to be due."""
    published = list_months(register, dataset.declaration.id)
    return str(month) in {each.month for each in published}


def _list_due(register: Register, dataset: OpenDataset) -> list[Month]:
    """Return the months that ended long enough ago, and were not published yet, oldest first."""
    published = {month.month for month in list_months(register, dataset.declaration.id)}
    now = register.clock().astimezone(JURISDICTION.zone).replace(tzinfo=None)
    settled = now - timedelta(days=dataset.declaration.settle_days)
    months: list[Month] = []
    last = _month_before(Month(settled.year, settled.month))
    for _ in range(_MOST_MONTHS):
        months.append(last)
        last = _month_before(last)
    # What was left out between published months stays out: its numbers would be compared in vain.
    newest = max(published, default="")
    return [month for month in reversed(months) if str(month) > newest]


def _month_before(month: Month) -> Month:
    before: datetime = month.begin - timedelta(days=1)
    return Month(before.year, before.month)


def _publish(
    register: Register,
    dataset: OpenDataset,
    figures: Figures,
    month: Month,
    visits: list[Mapping[str, Any]],
) -> RefreshedMonth:
    """Control a month against all releases, keep it for comparison, then publish it."""
    declaration = dataset.declaration
    run = f"open-data/{declaration.id}/{month}"
    # Of a month without visits there is nothing to show; it is made all the same, and not again.
    cells = figures.make(declaration.id, month, visits) if visits else []
    history = ReleaseHistory(register)
    persons = sorted({person for cell in cells for person in cell.persons})
    numbers = dict(zip(persons, history.number_persons(persons).tolist(), strict=True))
    earlier = [cell for cell in history.read() if cell.release != run]
    release = control_release(
        cells,
        POLICIES[declaration.policy],
        earlier,
        lambda names: np.array([numbers[name] for name in names], np.uint32),
    )
    controlled = _hide_unprotected(release)
    # Before it leaves: what left without having been kept could never be compared.
    history.add(run, controlled, numbers, declaration.policy)
    rows = _build_rows(figures, month, controlled)
    hidden = sum(cell.shown is None for cell in controlled)
    with register.transaction() as connection:
        connection.execute(
            "INSERT INTO open_month VALUES (?, ?, ?, ?, ?)",
            (
                declaration.id, str(month), json.dumps(rows), json.dumps(dict(release.record)),
                register.timestamp(),
            ),
        )  # fmt: skip
        register.append_event(
            connection, f"open-data/{declaration.id}", _WHO, "refresh-dataset",
            run=run, before="published", after="published",
            detail={"month": str(month), "numbers": len(controlled), "hidden": hidden},
        )  # fmt: skip
    return RefreshedMonth(declaration.id, str(month), len(controlled), hidden)


def _hide_unprotected(release: ControlledRelease) -> tuple[ControlledCell, ...]:
    """Return the cells, all hidden where a reader could still work out one of them.

    No person looks at a refresh: what a checker would send back is not published at all.
    """
    if release.is_protected:
        return release.cells
    return tuple(ControlledCell(cell.cell, None, cell.reason) for cell in release.cells)


def _build_rows(
    figures: Figures, month: Month, cells: Sequence[ControlledCell]
) -> list[dict[str, object]]:
    """Return the rows of a month; a hidden number is null.

    A row of which all is hidden is left out, like one of nobody: its being there would tell that
    somebody came.
    """
    rows: dict[tuple[str, ...], dict[str, float | None]] = {}
    for controlled in cells:
        labels = dict(controlled.cell.labels)
        place = tuple(labels[name] for name in figures.labels)
        rows.setdefault(place, {})[labels[MEASURE]] = controlled.shown
    return [
        {
            **dict(zip(figures.labels, place, strict=True)),
            **shown,
            **{name: work_out(shown, month) for name, work_out in figures.derived.items()},
        }
        for place, shown in rows.items()
        if any(number is not None for number in shown.values())
    ]
