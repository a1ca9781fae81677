"""What a cohort gives: one row per person, the domains of its labels, and the attrition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ehr_analytics.cohorts.definition import AsTopCodes, Cohort
from ehr_analytics.cohorts.labels import (
    FIRST_STEP,
    NOT_RECORDED,
    OTHER,
    YES_NO,
    column_domain,
    list_steps,
)
from ehr_fhir.errors import Fault

__all__ = ["INDEX_DATE", "LEFT_AT", "PERSON", "AttritionStep", "CohortResult", "build_result"]

PERSON, INDEX_DATE, LEFT_AT = "person", "index_date", "left_at"
# Chosen: as ACRO's threshold. What fewer people of the cohort have is no label of its own.
_PEOPLE_OF_A_CODE = 10


@dataclass(frozen=True)
class AttritionStep:
    """How many people were left after a step."""

    name: str
    persons: int


@dataclass(frozen=True)
class CohortResult:
    """The cohort's people, and how all others left.

    `table` has a row for each person of the cohort: person, index_date, the declared columns.
    `people` has a row for everybody in the data: person, left_at (the number of the step at which
    they left, 0 for the cohort's). `domains` are the labels that a column may have.
    """

    cohort: Cohort
    table: pa.Table
    people: pa.Table
    domains: Mapping[str, tuple[str, ...]]

    @property
    def attrition(self) -> tuple[AttritionStep, ...]:
        """Return the people left after each step, everybody first."""
        leavers = {
            entry["values"]: entry["counts"]
            for entry in pc.value_counts(self.people.column(LEFT_AT)).to_pylist()
        }
        members = self.people.num_rows
        steps = [AttritionStep(FIRST_STEP, members)]
        for number, name in enumerate(list_steps(self.cohort), 1):
            members -= leavers.get(number, 0)
            steps.append(AttritionStep(name, members))
        return tuple(steps)


def build_result(cohort: Cohort, rows: pa.Table) -> CohortResult:
    """Return the result of a compiled cohort's rows: one for everybody in the data."""
    people = rows.select([PERSON, LEFT_AT])
    if pc.count_distinct(people.column(PERSON)).as_py() != people.num_rows:
        raise Fault("The table of persons has more than one row for somebody.")
    table = rows.filter(pc.equal(rows.column(LEFT_AT), 0)).drop_columns([LEFT_AT])
    domains: dict[str, tuple[str, ...]] = {}
    for column in cohort.columns:
        if isinstance(column.form, AsTopCodes):
            place = table.schema.get_field_index(column.name)
            values, domain = _keep_top_codes(table.column(place), column.form.most)
            table = table.set_column(place, column.name, values)
        else:
            domain = column_domain(cohort, column)
        if domain:
            domains[column.name] = domain
    for outcome in cohort.follow_up.outcomes if cohort.follow_up else ():
        domains[outcome.name] = YES_NO
    return CohortResult(cohort, table.combine_chunks(), people.combine_chunks(), domains)


def _keep_top_codes(values: pa.ChunkedArray, most: int) -> tuple[pa.Array, tuple[str, ...]]:
    """Return the labels of codes, and their domain: the most frequent first, then by code."""
    counts = [(entry["values"], entry["counts"]) for entry in pc.value_counts(values).to_pylist()]
    frequent = [entry for entry in counts if entry[0] is not None and entry[1] >= _PEOPLE_OF_A_CODE]
    frequent.sort(key=lambda entry: (-entry[1], entry[0]))
    codes = [code for code, _ in frequent[:most]]
    is_kept = pc.is_in(values, value_set=pa.array(codes, pa.string()))
    labels = pc.if_else(is_kept, values, OTHER)
    labels = pc.if_else(pc.is_null(values), NOT_RECORDED, labels)
    return labels, tuple(dict.fromkeys((*codes, OTHER, NOT_RECORDED)))
