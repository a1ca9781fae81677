"""Results of cohorts made of plain columns, for tests of analyses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from ehr_analytics.analyses.frame import CohortFrame
from ehr_analytics.cohorts import CohortResult, parse_cohort

COHORT = parse_cohort({
    "name": "made-up",
    "events": {"visits": {"table": "encounter_flat", "date": "start"}},
    "index": {"events": "visits"},
})  # fmt: skip


def frame_of(
    columns: Mapping[str, Sequence[Any]], domains: Mapping[str, tuple[str, ...]]
) -> CohortFrame:
    """Return a cohort of these columns; people are called p0, p1, ..."""
    size = len(next(iter(columns.values())))
    people = [f"p{number}" for number in range(size)]
    table = pa.table({"person": people, "index_date": [None] * size, **columns})
    left = pa.table({"person": people, "left_at": [0] * size})
    return CohortFrame(CohortResult(COHORT, table, left, domains))
