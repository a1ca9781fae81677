"""People by district, emergency attendances by hour: of identified records, in cells alone."""

from __future__ import annotations

import numpy as np

from ehr_analytics.analyses.frame import CohortFrame
from ehr_analytics.cohorts.labels import NOT_RECORDED
from ehr_analytics.disclosure.cells import Cell
from ehr_analytics.trusted_rows import TrustedRows
from ehr_fhir.errors import Fault, Unprocessable
from ehr_fhir.jurisdiction import JURISDICTION

__all__ = ["attendances_by_hour", "people_by_district"]


def people_by_district(frame: CohortFrame, table: str, column: str | None = None) -> list[Cell]:
    """Count the cohort's people by district of residence; with a column of yes and no, its share.

    Districts are those of the jurisdiction, named by the first address that names one.
    """
    homes = _require_rows(frame).districts
    names = tuple(dict.fromkeys(JURISDICTION.districts.values()))
    if not names:
        raise Unprocessable("The jurisdiction has no districts.")
    own = np.array([homes.get(person, NOT_RECORDED) for person in frame.index.persons], object)
    has = frame.flags(column) if column is not None else None
    cells = []
    for name in (*names, NOT_RECORDED):
        mask, place = np.asarray(own == name, dtype=bool), ("district", name)
        cells.append(frame.count(table, (place, ("measure", "people")), mask))
        if has is None:
            continue
        cells.append(frame.count(table, (place, ("measure", str(column))), mask & has))
        share = has[mask].mean() if mask.any() else None
        labels = (place, ("measure", f"proportion with {column}"))
        amounts = has.astype(float)
        cells.append(frame.cell(table, labels, "proportion", share, "proportion", mask, amounts))
    return cells


def attendances_by_hour(frame: CohortFrame, table: str) -> list[Cell]:
    """Count the cohort's emergency attendances by the hour of day at which they began.

    The clock is that of the place. Each person's attendances at an hour are known to the control.
    """
    counts = _require_rows(frame).attendances
    nobody: dict[int, int] = {}
    own = [counts.get(person, nobody) for person in frame.index.persons]
    cells = []
    for hour in range(24):
        amounts = np.array([float(each.get(hour, 0)) for each in own])
        labels = (("hour", f"{hour:02}"), ("measure", "attendances"))
        mask = amounts > 0
        total = float(amounts.sum())
        cells.append(frame.cell(table, labels, "sum", total, "attendances", mask, amounts))
    return cells


def _require_rows(frame: CohortFrame) -> TrustedRows:
    if frame.trusted is None:
        raise Fault("The analysis was not given the rows that it counts.")
    return frame.trusted
