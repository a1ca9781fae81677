"""A mapping: which column of a flat table is a task's person, outcome and features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ehr_models.scores import hospital, lace

# The inputs of each score, and the part of the score that each is: without it there is a lower
# bound.
SCORE_INPUTS: Mapping[str, Mapping[str, str]] = {
    "lace": {
        "days": lace.LENGTH,
        "acute": lace.ACUTE,
        "comorbidity": lace.COMORBIDITY,
        "visits": lace.EMERGENCY,
    },
    "hospital": {
        "haemoglobin": hospital.HAEMOGLOBIN,
        "oncology": hospital.ONCOLOGY,
        "sodium": hospital.SODIUM,
        "procedure": hospital.PROCEDURE,
        "urgent": hospital.TYPE,
        "admissions": hospital.ADMISSIONS,
        "days": hospital.LENGTH,
    },
}


@dataclass(frozen=True)
class NumberFeature:
    """A number of a column, or the number that `values` gives for its text.

    A text that `values` does not list is `otherwise`, or an error where that is not given. So is a
    number below `low` or above `high`: it cannot be what the column says.
    """

    name: str
    column: str
    title: str
    unit: str | None
    values: Mapping[str, float] | None
    otherwise: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class CategoryFeature:
    """A text of a column: one feature (1 or 0) for each value that `least_people` people have."""

    name: str
    column: str
    title: str
    values: Mapping[str, str] | None
    least_people: int


@dataclass(frozen=True)
class CodeFeature:
    """Codes of one or several columns, rolled up: one feature for each group that many people have.

    With `first`, what the first column says (the principal diagnosis) is told apart as well.
    """

    name: str
    columns: tuple[str, ...]
    title: str
    system: str
    groups: tuple[str, ...]
    first: bool
    least_people: int


@dataclass(frozen=True)
class CharlsonFeature:
    """Charlson's score of the codes that are there, in one of its weightings: a lower bound."""

    name: str
    columns: tuple[str, ...]
    title: str
    system: str
    weights: str


MappedFeature = NumberFeature | CategoryFeature | CodeFeature | CharlsonFeature


@dataclass(frozen=True)
class MappedComparator:
    """A published score, and the feature for each of its inputs that the table has."""

    name: str
    inputs: Mapping[str, str]


@dataclass(frozen=True)
class Exclusion:
    """Rows that are left out, and why."""

    name: str
    column: str
    values: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class OutcomeColumn:
    """The column of the outcome, what its texts mean (1, 0), and its window in days."""

    column: str
    values: Mapping[str, int]
    days: int


@dataclass(frozen=True)
class TableMapping:
    """Where a task finds its inputs in a flat table with one row per prediction.

    `ended` is the column of the day of the prediction; without it nothing can be split by time.
    """

    task: str
    title: str
    source: str
    licence: str
    person: str
    index: str
    ended: str | None
    missing: tuple[str, ...]
    outcome: OutcomeColumn
    exclusions: tuple[Exclusion, ...]
    features: tuple[NumberFeature, ...]
    further: tuple[MappedFeature, ...]
    comparators: tuple[MappedComparator, ...]
    groups: tuple[CategoryFeature, ...]
    # What a reader of the report must know of this table.
    notes: tuple[str, ...]

    def columns(self) -> tuple[str, ...]:
        """Return the columns that the mapping reads, each once."""
        found = [self.person, self.index, self.outcome.column]
        found += [self.ended] if self.ended is not None else []
        found += [exclusion.column for exclusion in self.exclusions]
        for feature in (*self.features, *self.further, *self.groups):
            if isinstance(feature, CodeFeature | CharlsonFeature):
                found += feature.columns
            else:
                found.append(feature.column)
        return tuple(dict.fromkeys(found))
