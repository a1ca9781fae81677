"""Time to an event: incidence with person-time, Kaplan-Meier curves, Cox's regression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ehr_analytics.analyses.estimation import Bools, Floats
from ehr_analytics.analyses.frame import CohortFrame
from ehr_analytics.analyses.model_matrix import build_model_matrix
from ehr_analytics.analyses.survival_curves import fit_cox, kaplan_meier_curve, logrank_test
from ehr_analytics.disclosure.cells import Cell
from ehr_analytics.disclosure.published_limits import calculate_event_limits
from ehr_fhir.errors import Unprocessable

__all__ = ["cox", "incidence", "kaplan_meier"]

_DAYS_OF_YEAR = 365.25
# Chosen: a curve as a table. Every step of a whole curve is one person's day.
_MAX_TIMES = 60
# Chosen: as ACRO's threshold for survival. Beyond it a step shows single people.
_MIN_AT_RISK = 10


def incidence(frame: CohortFrame, table: str, outcome: str, by: Sequence[str] = ()) -> list[Cell]:
    """Return events, person-years and the rate per 1,000 of them with its exact 95 % interval.

    A person counts until their first event (Rothman, Modern Epidemiology; Garwood 1936).
    """
    happened = frame.flags(outcome)
    years = frame.numbers(f"{outcome}_days") / _DAYS_OF_YEAR
    cells = []
    for stratum in frame.strata(by):
        mask, events = stratum.mask, int((stratum.mask & happened).sum())
        time = float(years[mask].sum())
        thousand = time / 1000
        low, high = calculate_event_limits(events)
        flags = happened.astype(float)
        figures: list[tuple[str, str, float, str, Floats]] = [
            ("rate", "rate", events, "per 1,000 person-years", flags),
            ("confidence-limit", "rate, lower limit", low, "per 1,000 person-years", flags),
            ("confidence-limit", "rate, upper limit", high, "per 1,000 person-years", flags),
        ]
        cells += [
            frame.count(table, (*stratum.labels, ("measure", "people")), mask),
            frame.count(table, (*stratum.labels, ("measure", "with event")), mask & happened),
            frame.cell(
                table,
                (*stratum.labels, ("measure", "person-years")),
                "sum",
                time,
                "years",
                mask,
                years,
            ),
        ]
        for statistic, name, figure, unit, amounts in figures:
            value = figure / thousand if thousand else None
            place = (*stratum.labels, ("measure", name))
            cells.append(frame.cell(table, place, statistic, value, unit, mask, amounts))
    return cells


def kaplan_meier(
    frame: CohortFrame, table: str, outcome: str, days: Sequence[int], by: Sequence[str] = ()
) -> list[Cell]:
    """Return survival without the outcome at the given days, those at risk, the median, and a test.

    The curve is given at declared days alone, and as long as ten people are at risk.
    """
    if not 0 < len(days) <= _MAX_TIMES or list(days) != sorted(set(days)):
        raise Unprocessable(f"A curve is shown at 1 to {_MAX_TIMES} rising days.")
    happened, times = frame.flags(outcome), frame.numbers(f"{outcome}_days")
    groups = np.full(len(times), -1)
    cells = []
    for number, stratum in enumerate(frame.strata(by)):
        mask = stratum.mask
        groups[mask] = number
        if not mask.any():
            continue
        curve = kaplan_meier_curve(times[mask], happened[mask])
        for day in days:
            at_risk = mask & np.greater_equal(times, day)
            if at_risk.sum() < _MIN_AT_RISK:
                break
            place = (*stratum.labels, ("day", str(day)))
            cells.append(frame.count(table, (*place, ("measure", "at risk")), at_risk))
            before = (happened & (times <= day)).astype(float)
            low, high = curve.interval_at(day)
            for statistic, name, value, amounts in (
                ("survival", "survival", curve.survival_at(day), before),
                ("confidence-limit", "lower limit", low, before),
                ("confidence-limit", "upper limit", high, before),
            ):
                labels = (*place, ("measure", name))
                cells.append(
                    frame.cell(table, labels, statistic, value, "proportion", mask, amounts)
                )
        labels = (*stratum.labels, ("day", "all"), ("measure", "median"))
        cells.append(frame.cell(table, labels, "median", curve.median, "days", mask, times))
    if by:
        cells += _compare_curves(frame, table, times, happened, groups, by)
    return cells


def cox(frame: CohortFrame, table: str, outcome: str, columns: Sequence[str]) -> list[Cell]:
    """Return hazard ratios of columns: each label against the first, or of one unit of a number.

    People without a value of a number are left out; how many are in the model is a cell.
    """
    happened, times = frame.flags(outcome), frame.numbers(f"{outcome}_days")
    matrix = build_model_matrix(frame, columns)
    known = matrix.complete
    if not matrix.terms:
        raise Unprocessable("The columns of the model do not vary.")
    model = fit_cox(times[known], happened[known], matrix.values[known])
    ones = np.ones(len(times))
    cells = [
        frame.count(table, (("term", "all"), ("measure", "people")), known),
        frame.count(table, (("term", "all"), ("measure", "with event")), known & happened),
    ]
    for place, term in enumerate(matrix.terms):
        low, high = model.interval(place)
        for statistic, measure, value in (
            ("hazard-ratio", "hazard ratio", float(np.exp(model.coefficients[place]))),
            ("confidence-limit", "lower limit", low),
            ("confidence-limit", "upper limit", high),
            ("p-value", "p", model.p_value(place)),
        ):
            labels = (("term", term), ("measure", measure))
            cells.append(frame.cell(table, labels, statistic, value, "ratio", known, ones))
    return cells


def _compare_curves(
    frame: CohortFrame,
    table: str,
    times: Floats,
    happened: Bools,
    groups: NDArray[np.int64],
    by: Sequence[str],
) -> list[Cell]:
    """Return the log-rank test of a number of a group per person; no cell of a single group."""
    if len(np.unique(groups)) < 2:
        return []
    chi_square, free, p_value = logrank_test(times, happened, groups)
    ones, everybody = np.ones(len(times)), frame.everybody
    place = (*((column, "all") for column in by), ("day", "all"))
    return [
        frame.cell(table, (*place, ("measure", name)), statistic, value, "", everybody, ones)
        for statistic, name, value in (
            ("test-statistic", f"log-rank chi-square, {free} df", chi_square),
            ("p-value", "log-rank p", p_value),
        )
    ]
