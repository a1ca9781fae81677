"""Analyses as a study's file lists them: a kind, a name for the table, and its options."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ehr_analytics.analyses import (
    associations,
    descriptive,
    places_and_hours,
    survival,
    time_series,
)
from ehr_analytics.analyses.frame import CohortFrame
from ehr_analytics.cohorts.result import CohortResult
from ehr_analytics.disclosure.cells import Cell
from ehr_analytics.project import COUNT_DISTRICTS, COUNT_HOURS
from ehr_analytics.trusted_rows import TrustedRows
from ehr_fhir.errors import Unprocessable

__all__ = ["ANALYSES", "AnalysisPlan", "list_granted_items", "parse_analyses", "run_analyses"]

Options = Mapping[str, Any]  # Any: TOML's values, whose types are checked against KINDS
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
# Chosen: more tables than a paper has.
_MAX_ANALYSES = 40
TEXT, TEXTS = "text", "list of texts"
NUMBER, DAYS = "whole number", "list of whole numbers"


@dataclass(frozen=True)
class Analysis:
    """A kind of analysis: the function, what it must be told, and what it may."""

    run: Callable[..., list[Cell]]
    required: Mapping[str, str]
    optional: Mapping[str, str]
    # The data item by which a project is granted what it counts of identified records.
    item: str | None = None


@dataclass(frozen=True)
class AnalysisPlan:
    """One analysis of a study."""

    kind: str
    name: str
    options: Options


_BY = {"by": TEXTS}
ANALYSES: Mapping[str, Analysis] = MappingProxyType(
    {
        "attrition": Analysis(descriptive.attrition, {}, {}),
        "counts": Analysis(descriptive.counts, {}, _BY),
        "prevalence": Analysis(descriptive.prevalence, {"column": TEXT}, _BY),
        "sums": Analysis(descriptive.sums, {"column": TEXT, "unit": TEXT}, _BY),
        "distribution": Analysis(descriptive.distribution, {"column": TEXT, "unit": TEXT}, _BY),
        "table_one": Analysis(descriptive.table_one, {"columns": TEXTS}, {"group": TEXT}),
        "incidence": Analysis(survival.incidence, {"outcome": TEXT}, _BY),
        "kaplan_meier": Analysis(survival.kaplan_meier, {"outcome": TEXT, "days": DAYS}, _BY),
        "cox": Analysis(survival.cox, {"outcome": TEXT, "columns": TEXTS}, {}),
        "drug_outcome_pairs": Analysis(
            associations.drug_outcome_pairs, {"drugs": TEXTS, "outcomes": TEXTS}, {}
        ),
        "propensity": Analysis(
            associations.propensity, {"treatment": TEXT, "outcome": TEXT, "columns": TEXTS}, {}
        ),
        "interrupted_time_series": Analysis(
            time_series.interrupted_time_series,
            {"period": TEXT, "interrupted": TEXT},
            {"harmonics": NUMBER},
        ),
        "people_by_district": Analysis(
            places_and_hours.people_by_district, {}, {"column": TEXT}, COUNT_DISTRICTS
        ),
        "attendances_by_hour": Analysis(places_and_hours.attendances_by_hour, {}, {}, COUNT_HOURS),
    }
)


def parse_analyses(tables: object) -> tuple[AnalysisPlan, ...]:
    """Return the analyses of a study's file; Unprocessable names what is wrong."""
    if not isinstance(tables, list) or not 0 < len(tables) <= _MAX_ANALYSES:
        raise Unprocessable(f"A study has 1 to {_MAX_ANALYSES} analyses.")
    plans = tuple(map(_parse, tables))
    if len({plan.name for plan in plans}) < len(plans):
        raise Unprocessable("Two analyses have the same name.")
    return plans


def list_granted_items(plans: Sequence[AnalysisPlan]) -> frozenset[str]:
    """Return the data items, beside columns of views, that a project needs for its analyses."""
    items = {ANALYSES[plan.kind].item for plan in plans}
    return frozenset(item for item in items if item is not None)


def run_analyses(
    result: CohortResult, plans: Sequence[AnalysisPlan], trusted: TrustedRows | None = None
) -> list[Cell]:
    """Return the cells of all analyses of a cohort, each under the name of its analysis.

    `trusted` are the rows of identified records that the project was granted to count.
    """
    frame = CohortFrame(result, trusted)
    return [
        cell for plan in plans for cell in ANALYSES[plan.kind].run(frame, plan.name, **plan.options)
    ]


def _parse(table: Any) -> AnalysisPlan:  # Any: TOML's value
    if not isinstance(table, dict):
        raise Unprocessable("An analysis is a table.")
    options = dict(table)
    kind, name = options.pop("kind", None), options.pop("name", None)
    if kind not in ANALYSES:
        raise Unprocessable(f"The kind of an analysis is one of {', '.join(ANALYSES)}.")
    # The name becomes that of a file.
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Unprocessable("The name of an analysis is small letters, digits and hyphens.")
    analysis = ANALYSES[kind]
    known = {**analysis.required, **analysis.optional}
    for option, value in options.items():
        if option not in known or not _is_of(value, known[option]):
            raise Unprocessable(f"{name} has no option {option} of this type.")
    missing = analysis.required.keys() - options.keys()
    if missing:
        raise Unprocessable(f"{name} lacks {', '.join(sorted(missing))}.")
    return AnalysisPlan(kind, name, options)


def _is_of(value: object, kind: str) -> bool:
    if kind == TEXT:
        return isinstance(value, str) and len(value) <= 40
    if kind == NUMBER:
        return type(value) is int
    item = int if kind == DAYS else str
    return isinstance(value, list) and all(type(each) is item for each in value)
