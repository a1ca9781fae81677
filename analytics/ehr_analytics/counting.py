"""Counts of a cohort: people, rows and outcomes by stratum, all measures in one Spark job."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from ehr_analytics.study import Measure, Study, people_column

Row = dict[str, object]

_GROUPING_SET = "grouping_set"


def count_measures(cohort: DataFrame, study: Study) -> dict[str, list[Row]]:
    """Count all measures in one job: per person and stratum first, then per stratum.

    Counting people so, as rows, costs one pass for all measures; count(DISTINCT) would copy every
    row once per count and measure.
    """
    strata = sorted({column for measure in study.measures for column in measure.by})
    columns = [*strata, study.person]
    sets = [[*measure.by, study.person] for measure in study.measures]
    per_person = (
        cohort.where(F.col(study.person).isNotNull())
        .groupingSets(sets, *columns)
        .agg(
            F.grouping_id().alias(_GROUPING_SET),
            F.count(F.lit(1)).alias(study.unit),
            *(F.count_if(F.col(column)).alias(name) for name, column in study.outcomes),
        )
    )
    table = per_person.groupBy(_GROUPING_SET, *strata).agg(
        F.count(F.lit(1)).alias("people"),
        F.sum(study.unit).alias(study.unit),
        *(F.sum(name).alias(name) for name, _ in study.outcomes),
        *(F.count_if(F.col(name) > 0).alias(people_column(name)) for name, _ in study.outcomes),
    )
    rows = [row.asDict() for row in table.collect()]
    return {
        measure.name: _select_measure_rows(rows, study, measure, columns)
        for measure in study.measures
    }


def _select_measure_rows(
    rows: Sequence[Row], study: Study, measure: Measure, columns: Sequence[str]
) -> list[Row]:
    """Return a measure's rows ordered by stratum; with `top`, the largest first and no more."""
    kept_columns = {*measure.by, study.person}
    # grouping_id() has one bit per column, the last column lowest: set where it is summed over.
    grouping_id = sum(
        1 << place for place, c in enumerate(reversed(columns)) if c not in kept_columns
    )
    fields = (*measure.by, *study.count_columns())
    measure_rows = [
        {name: row[name] for name in fields} for row in rows if row[_GROUPING_SET] == grouping_id
    ]
    measure_rows.sort(key=lambda row: [str(row[name]) for name in measure.by])
    if measure.top is not None:
        measure_rows.sort(key=lambda row: -int(str(row[study.unit])))
        measure_rows = measure_rows[: measure.top]
    return measure_rows
