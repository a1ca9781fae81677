"""Periods that lie within others: days that add up to a month, hours that add up to a day.

Who subtracts the shown days from a month learns the number of the days that are hidden. So what
shorter periods show is added up, and a longer one is held against the sum as against one earlier
release; and once a longer period is out, no shorter one within it is published any more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from ehr_analytics.disclosure.cells import EarlierCell
from ehr_analytics.open_data.declaration import Declaration
from ehr_analytics.open_data.figures import FIGURES
from ehr_analytics.open_data.periods import PERIOD_FORMS, Period
from ehr_analytics.open_data.publication import list_datasets, list_periods
from ehr_analytics.register import Register

__all__ = ["add_up_finer_periods", "list_closed", "name_release"]


def name_release(dataset: str, period: Period) -> str:
    """Return the name by which the history of releases knows a period of a dataset."""
    return f"open-data/{dataset}/{period}"


def list_closed(register: Register, declaration: Declaration) -> list[Period]:
    """Return the longer periods of the same visits that are published, of whatever dataset."""
    kind = FIGURES[declaration.figures].kind
    lengths = [*PERIOD_FORMS]
    longer = lengths[: lengths.index(declaration.period)]
    return [
        Period.parse(published.period, dataset.declaration.period)
        for dataset in list_datasets(register)
        if FIGURES[dataset.declaration.figures].kind == kind
        and dataset.declaration.period in longer
        for published in list_periods(register, dataset.declaration.id)
    ]


def add_up_finer_periods(
    register: Register, declaration: Declaration, period: Period, earlier: Sequence[EarlierCell]
) -> list[EarlierCell]:
    """Return what the shorter periods within a period show of each place, added up.

    `earlier` are all earlier releases. Sums and counts alone add up; of a place that no shorter
    period shows there is nothing.
    """
    kind = FIGURES[declaration.figures].kind
    released: defaultdict[str, list[EarlierCell]] = defaultdict(list)
    for cell in earlier:
        released[cell.release].append(cell)
    sums: list[EarlierCell] = []
    for dataset in list_datasets(register):
        finer = dataset.declaration
        figures = FIGURES[finer.figures]
        if figures.kind != kind or finer.id == declaration.id:
            continue
        found: defaultdict[tuple[str, ...], list[EarlierCell]] = defaultdict(list)
        for published in list_periods(register, finer.id):
            own = Period.parse(published.period, finer.period)
            if own not in period or own == period:
                continue
            cells = released[name_release(finer.id, own)]
            for column, unit in figures.additive.items():
                # The history keeps no labels: rows and cells that are shown are in one order.
                rows = [row for row in published.rows if row[column] is not None]
                shown = [cell for cell in cells if cell.unit == unit and cell.shown is not None]
                for row, cell in zip(rows, shown, strict=True):
                    place = tuple(str(row[name]) for name in figures.labels)
                    found[(column, *place)].append(cell)
        sums += [_add_up(cells) for cells in found.values()]
    return sums


def _add_up(cells: Sequence[EarlierCell]) -> EarlierCell:
    """Return the cells of disjoint periods as one: its persons, and what each gives in all."""
    numbers = np.concatenate([cell.persons for cell in cells])
    persons, places = np.unique(numbers, return_inverse=True)
    amounts = np.concatenate(
        [np.ones(len(cell.persons)) if cell.amounts is None else cell.amounts for cell in cells]
    )
    given = np.zeros(len(persons))
    np.add.at(given, places, amounts)
    return EarlierCell(
        release=cells[0].release,
        statistic=cells[0].statistic,
        unit=cells[0].unit,
        persons=persons,
        amounts=None if all(cell.amounts is None for cell in cells) else given,
        shown=float(sum(cell.shown or 0 for cell in cells)),
        # Of several periods the erased may be the same: fewer of them hide more.
        erased=max(cell.erased for cell in cells),
        policy=cells[0].policy,
    )
