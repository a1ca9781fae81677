"""Confidence limits, as wide as the counts that are shown make them.

An interval is a number of persons in other words: a rate of e events has limits that depend on
e alone, the error of a share goes with the root of its persons, that of a hazard ratio with the
root of its events. Exact limits beside rounded counts would tell the counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from scipy import stats

from ehr_analytics.disclosure.cells import Cell
from ehr_analytics.disclosure.primary import publish_value
from ehr_analytics.disclosure.two_by_two import NORMAL_975, find_table
from ehr_privacy.disclosure import Policy

__all__ = ["calculate_event_limits", "find_event_counts", "publish_limits"]

_Row = Mapping[str, int]


def calculate_event_limits(events: int) -> tuple[float, float]:
    """Return the exact 95 % limits of a Poisson count (Garwood 1936).

    >>> [round(limit, 2) for limit in calculate_event_limits(10)]
    [4.8, 18.39]
    """
    low = float(stats.chi2.ppf(0.025, 2 * events)) / 2 if events else 0.0
    return low, float(stats.chi2.ppf(0.975, 2 * events + 2)) / 2


def find_event_counts(cells: Sequence[Cell]) -> dict[str, int]:
    """Return the place of the count of events of each table that has a model of hazards."""
    models = {cell.table for cell in cells if cell.statistic == "hazard-ratio"}
    return {
        cell.table: place
        for place, cell in enumerate(cells)
        if cell.table in models
        and cell.statistic == "frequency"
        and ("measure", "with event") in cell.labels
    }


def publish_limits(cells: Sequence[Cell], policy: Policy) -> Mapping[int, float | None]:
    """Return by place the limits and p of rates, survival and hazards, of the rounded counts.

    None where a count that it needs may not be shown.
    """
    rows: dict[object, dict[str, int]] = {}
    for place, cell in enumerate(cells):
        if cell.statistic != "frequency":
            rows.setdefault(find_table(cell), {})[_find_measure(cell)] = place
    events = find_event_counts(cells)
    found: dict[int, float | None] = {}
    for row in rows.values():
        kinds = {cells[place].statistic: place for place in row.values()}
        if "rate" in kinds:
            found |= _publish_rate_limits(cells, row, kinds["rate"], policy)
        elif "survival" in kinds:
            found |= _publish_survival_limits(cells, row, kinds["survival"], policy)
        elif "hazard-ratio" in kinds:
            estimate = cells[kinds["hazard-ratio"]]
            counted = len(cells[events[estimate.table]].persons) if estimate.table in events else 0
            found |= _publish_hazard_limits(cells, row, estimate, counted, policy)
    return found


def _publish_rate_limits(
    cells: Sequence[Cell], row: _Row, estimate: int, policy: Policy
) -> dict[int, float | None]:
    amounts = cells[estimate].amounts
    events = 0 if amounts is None else int(amounts.sum())
    shown = policy.control(events)
    found: dict[int, float | None] = {}
    for side, name in enumerate(("rate, lower limit", "rate, upper limit")):
        if name not in row:
            continue
        value, exact = cells[row[name]].value, calculate_event_limits(events)[side]
        if value is None or shown is None:
            found[row[name]] = None
        else:
            rounded = calculate_event_limits(shown)[side]
            found[row[name]] = value * rounded / exact if exact else 0.0
    return found


def _publish_survival_limits(
    cells: Sequence[Cell], row: _Row, estimate: int, policy: Policy
) -> dict[int, float | None]:
    """Scale the error of the logarithm as that of a share of as many persons (Greenwood)."""
    cell = cells[estimate]
    places = [row[name] for name in ("lower limit", "upper limit") if name in row]
    survival, persons = cell.value, policy.control(len(cell.persons))
    shown = publish_value(cell, policy, digits=None)
    if len(places) < 2 or survival is None or shown is None or not persons:
        return dict.fromkeys(places)
    low = cells[places[0]].value
    if not low or not 0 < survival < 1 or not 0 < shown < 1:
        # Nobody, or everybody, had the event: no error is estimated.
        return dict.fromkeys(places, shown)
    exact_odds = (1 - survival) / survival / len(cell.persons)
    shown_odds = (1 - shown) / shown / persons
    half = math.log(survival / low) * math.sqrt(shown_odds / exact_odds)
    return {
        places[0]: shown * math.exp(-half),
        places[1]: min(1.0, shown * math.exp(half)),
    }


def _publish_hazard_limits(
    cells: Sequence[Cell], row: _Row, estimate: Cell, events: int, policy: Policy
) -> dict[int, float | None]:
    names = [name for name in ("lower limit", "upper limit", "p") if name in row]
    low = cells[row["lower limit"]].value if "lower limit" in row else None
    shown = policy.control(events)
    if not estimate.value or not low or not shown:
        return {row[name]: None for name in names}
    half = math.log(estimate.value / low) * math.sqrt(events / shown)
    z = abs(math.log(estimate.value)) * NORMAL_975 / half
    figures = {
        "lower limit": estimate.value * math.exp(-half),
        "upper limit": estimate.value * math.exp(half),
        "p": 2 * float(stats.norm.sf(z)),
    }
    return {row[name]: figures[name] for name in names}


def _find_measure(cell: Cell) -> str:
    return dict(cell.labels).get("measure", "")
