"""What a frame is made of: a cohort that is point in time, features, groups, and the outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

from ehr_analytics.cohorts.definition import Cohort
from ehr_analytics.cohorts.labels import list_steps
from ehr_analytics.cohorts.sources import Source, list_omop_sources, source_of_view
from ehr_analytics.cohorts.usage import required_columns
from ehr_etl.gold.library import (
    iterate_definitions,
    list_library_names,
    list_view_names,
    load_library_view,
    load_view,
)
from ehr_etl.sql_on_fhir import ViewDefinition, parse_view
from ehr_fhir.errors import Unprocessable
from ehr_models.frames.codes import CodeGroup
from ehr_models.frames.measurements import Measurement
from ehr_models.task import Feature

__all__ = ["IN_PROGRESS", "DeclaredFeature", "FrameDeclaration", "find_exact_view", "find_view"]

# What makes a number of another in a view.
_WORKED_OUT = "canonicalValue("
# The set of events like the index event that have not ended.
IN_PROGRESS = "in_progress"


@dataclass(frozen=True)
class DeclaredFeature:
    """A feature made by hand: the first of some columns of the cohort that is known, in bounds."""

    feature: Feature
    columns: tuple[str, ...]
    least: float | None = None
    most: float | None = None
    # Without it a row is incomplete.
    is_required: bool = False


@dataclass(frozen=True)
class FrameDeclaration:
    """What a task's file says of its frame.

    The cohort has a column for each of the features' columns and of the groups.

    Its follow-up has one outcome, and is whole: of an index date whose days are not within the
    data the outcome is not known.
    """

    cohort: Cohort
    features: tuple[DeclaredFeature, ...]
    groups: tuple[str, ...]
    codes: tuple[CodeGroup, ...] = ()
    measurements: tuple[Measurement, ...] = ()

    @property
    def own_features(self) -> tuple[Feature, ...]:
        """Return the features that the file names: made by hand, then measured."""
        return (
            *(declared.feature for declared in self.features),
            *(measurement.feature for measurement in self.measurements),
        )

    @property
    def target(self) -> str:
        """Return the name of the outcome."""
        outcomes = self.cohort.follow_up.outcomes if self.cohort.follow_up else ()
        return outcomes[0].name

    @property
    def unlabelled_step(self) -> int:
        """Return the number of the step at which rows leave whose outcome is not known."""
        return len(list_steps(self.cohort))

    @cached_property
    def sources(self) -> Mapping[str, Source]:
        """Return the tables it reads, with the types of their columns."""
        if self.cohort.model == "omop":
            return list_omop_sources()
        names = {"patient_demographics", *(e.table for e in self.cohort.events if e.table)}
        return {name: source_of_view(find_view(name)) for name in sorted(names)}

    @cached_property
    def columns(self) -> Mapping[str, tuple[str, ...]]:
        """Return the columns it reads of each table, the person's first."""
        return required_columns(self.cohort, self.sources)

    @cached_property
    def narrow_sources(self) -> Mapping[str, Source]:
        """Return the tables with the columns that are read, and no others."""
        return {
            name: replace(source, columns={c: source.columns[c] for c in columns})
            for name, columns in self.columns.items()
            for source in (self.sources[name],)
        }

    @cached_property
    def single_dates(self) -> frozenset[tuple[str, str]]:
        """Return the columns, by table, that date events and not the begin or end of a period."""
        sets = [events for events in self.cohort.events if events.table is not None]
        spans = {
            (events.table, column)
            for events in sets
            if events.end is not None
            for column in (events.date, events.end)
        }
        single = {(e.table or "", e.date or "") for e in sets if e.end is None}
        return frozenset(single - spans)


@cache
def find_exact_view(name: str) -> ViewDefinition:
    """Return a view whose numbers are texts with the digits as written; a frame reads them.

    A view's decimals have twelve places, and one number with more of them in anybody's record would
    stop the view for all. Those that a view works out are left out: a frame converts by itself.
    """
    written = next((one for one in iterate_definitions() if one["name"] == name), None)
    if written is None:
        raise Unprocessable(f"There is no view {name!r}.")
    return parse_view({**written, "select": [_as_written(one) for one in written["select"]]})


def _as_written(select: Mapping[str, Any]) -> dict[str, Any]:
    columns = [
        {**column, "type": "string"} if column.get("type") == "decimal" else column
        for column in select.get("column", ())
        if _WORKED_OUT not in column["path"]
    ]
    return {**select, "column": columns} if columns else dict(select)


@cache
def find_view(name: str) -> ViewDefinition:
    """Return a view of the lake's own or of its library; its file is read once."""
    if name in list_view_names():
        return load_view(name)
    if name in list_library_names():
        return load_library_view(name)
    raise Unprocessable(f"There is no view {name!r}.")
