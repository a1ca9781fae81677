"""Descriptive analyses: counts, prevalence, sums, distributions, table one, attrition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow.compute as pc

from ehr_analytics.analyses.estimation import Bools
from ehr_analytics.analyses.frame import CohortFrame
from ehr_analytics.cohorts.labels import list_steps
from ehr_analytics.cohorts.result import LEFT_AT, PERSON
from ehr_analytics.disclosure.cells import Cell, PersonIndex

__all__ = ["attrition", "counts", "distribution", "prevalence", "sums", "table_one"]

Labels = tuple[tuple[str, str], ...]
# Of a distribution: no minimum and no maximum, each of which is one person's value.
_QUANTILES = (
    ("quantile", 0.25, "lower quartile"),
    ("median", 0.5, "median"),
    ("quantile", 0.75, "upper quartile"),
)


def counts(frame: CohortFrame, table: str, by: Sequence[str] = ()) -> list[Cell]:
    """Count the people of each combination of labels."""
    return [frame.count(table, stratum.labels, stratum.mask) for stratum in frame.strata(by)]


def prevalence(frame: CohortFrame, table: str, column: str, by: Sequence[str] = ()) -> list[Cell]:
    """Count people, those with yes in a column, and the proportion of these."""
    has = frame.flags(column)
    cells = []
    for stratum in frame.strata(by):
        mask = stratum.mask
        cells += [
            frame.count(table, (*stratum.labels, ("measure", "people")), mask),
            frame.count(table, (*stratum.labels, ("measure", column)), mask & has),
            _build_proportion(
                frame, table, (*stratum.labels, ("measure", f"proportion with {column}")), mask, has
            ),
        ]
    return cells


def sums(
    frame: CohortFrame, table: str, column: str, unit: str, by: Sequence[str] = ()
) -> list[Cell]:
    """Add up a number column: stays, days, doses; each person's amount is known to the control."""
    amounts = np.nan_to_num(frame.numbers(column))
    return [
        frame.cell(
            table,
            (*stratum.labels, ("measure", column)),
            "sum",
            amounts[stratum.mask].sum(),
            unit,
            stratum.mask,
            amounts,
        )
        for stratum in frame.strata(by)
    ]


def distribution(
    frame: CohortFrame, table: str, column: str, unit: str, by: Sequence[str] = ()
) -> list[Cell]:
    """Return mean, standard deviation, median and quartiles of a number column."""
    cells: list[Cell] = []
    for stratum in frame.strata(by):
        cells += _describe(frame, table, stratum.labels, column, unit, stratum.mask)
    return cells


def table_one(
    frame: CohortFrame, table: str, columns: Sequence[str], group: str | None = None
) -> list[Cell]:
    """Return the characteristics of the cohort, by group if one is named.

    Categories as counts and proportions, numbers as means, deviations, medians and quartiles
    (Hayes-Larson et al., 2019).
    """
    cells: list[Cell] = []
    for stratum in frame.strata([group] if group else []):
        cells.append(frame.count(table, (*stratum.labels, ("row", "people")), stratum.mask))
        for column in columns:
            if column not in frame.result.domains:
                cells += _describe(frame, table, stratum.labels, column, "", stratum.mask)
                continue
            for category in frame.strata([column]):
                has = category.mask
                labels = (*stratum.labels, ("row", f"{column}: {category.labels[0][1]}"))
                cells += [
                    frame.count(table, (*labels, ("measure", "people")), stratum.mask & has),
                    _build_proportion(
                        frame, table, (*labels, ("measure", "proportion")), stratum.mask, has
                    ),
                ]
    return cells


def attrition(frame: CohortFrame, table: str = "attrition") -> list[Cell]:
    """Count the people left after each step, and those who left at it (CONSORT, RECORD 13.1)."""
    people = frame.result.people
    index = PersonIndex(people.column(PERSON).to_pylist())
    left_at = np.asarray(pc.cast(people.column(LEFT_AT), "int64").to_numpy())
    members = np.ones(len(left_at), dtype=bool)
    cells = [_count_in(index, table, "in the data", "left", members)]
    for number, name in enumerate(list_steps(frame.result.cohort), 1):
        if name == "population" and not frame.result.cohort.population:
            # Nobody can leave at a step without a condition: an empty cell would hide others.
            continue
        leavers = left_at == number
        members = members & ~leavers
        cells.append(_count_in(index, table, name, "taken out", leavers))
        cells.append(_count_in(index, table, name, "left", members))
    return cells


def _count_in(index: PersonIndex, table: str, step: str, measure: str, mask: Bools) -> Cell:
    labels = (("step", step), ("measure", measure))
    return Cell(table, labels, "frequency", int(mask.sum()), "persons", index.select(mask))


def _build_proportion(
    frame: CohortFrame, table: str, labels: Labels, mask: Bools, has: Bools
) -> Cell:
    """Return the share of the people of a mask who have something; none of nobody."""
    share = has[mask].mean() if mask.any() else None
    return frame.cell(table, labels, "proportion", share, "proportion", mask, has.astype(float))


def _describe(
    frame: CohortFrame, table: str, labels: Labels, column: str, unit: str, mask: Bools
) -> list[Cell]:
    amounts = frame.numbers(column)
    # Of those alone who have a value; how many these are is a cell too.
    known = mask & ~np.isnan(amounts)
    values = amounts[known]
    figures: list[tuple[str, str, float | None]] = [
        ("mean", "mean", values.mean() if values.size else None),
        (
            "standard-deviation",
            "standard deviation",
            values.std(ddof=1) if len(values) > 1 else None,
        ),
    ]
    for statistic, share, name in _QUANTILES:
        figures.append((statistic, name, np.quantile(values, share) if values.size else None))
    rows = [frame.count(table, (*labels, ("row", column), ("measure", "recorded")), known)]
    for statistic, name, value in figures:
        place = (*labels, ("row", column), ("measure", name))
        rows.append(frame.cell(table, place, statistic, value, unit, known, amounts))
    return rows
