"""A flat table as a task's frame, by a mapping: one row per prediction, features as numbers.

A row's features come from that row alone. A person's other rows are never looked at: without dates
nothing tells which of them came before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ehr_fhir.errors import Unprocessable
from ehr_models.imports.mapping import OutcomeColumn, TableMapping
from ehr_models.imports.source_table import refuse_rows
from ehr_models.imports.table_features import BoolArray, build_features, map_texts
from ehr_models.task import ENCOUNTER, GROUP_PREFIX, PATIENT, PREDICTED_AT, Feature, Frame


@dataclass(frozen=True)
class ImportedFrame:
    """A frame; how many rows each exclusion left out, and how many had no outcome."""

    frame: Frame
    excluded: Mapping[str, int]
    without_outcome: int


def build_frame(
    columns: pd.DataFrame, mapping: TableMapping, target: str, *, apply_exclusions: bool = True
) -> ImportedFrame:
    """Return the frame of a table whose cells are texts or missing.

    Rows whose outcome is not known are left out. Which values of categories and codes become
    features depends on how many people have them, never on the outcome.
    """
    for column in (mapping.person, mapping.index):
        refuse_rows(columns[column].isna(), column, "empty, and each row needs one")
    refuse_rows(columns[mapping.index].duplicated(), mapping.index, "the same as in a row before")
    outcome = _read_outcome(columns, mapping.outcome)
    excluded = _find_excluded(columns, mapping) if apply_exclusions else {}
    left_out = np.logical_or.reduce([np.zeros(len(columns), bool), *excluded.values()])
    has_outcome = outcome.notna().to_numpy()
    kept = ~left_out & has_outcome
    if not kept.any():
        raise Unprocessable("No row is left: each is excluded or has no outcome.")
    # The table's own rows until the end, so that a fault names the file's row.
    people = pd.factorize(columns[mapping.person])[0]
    blocks = [
        build_features(columns, mapped, people, kept)
        for mapped in (*mapping.features, *mapping.further)
    ]
    features = tuple(feature for block in blocks for feature in block.features)
    _check_names(features)
    keys = {
        PATIENT: columns[mapping.person],
        ENCOUNTER: columns[mapping.index],
        PREDICTED_AT: _read_days(columns, mapping.ended),
        **{GROUP_PREFIX + group.name: map_texts(columns, group) for group in mapping.groups},
        target: outcome,
    }
    values = pd.DataFrame(
        np.hstack([block.values for block in blocks]),
        index=columns.index,
        columns=[one.name for one in features],
    )
    rows = pd.concat([pd.DataFrame(keys), values], axis=1)[kept].reset_index(drop=True)
    return ImportedFrame(
        frame=Frame(rows, features, target),
        excluded={name: int(found.sum()) for name, found in excluded.items()},
        without_outcome=int((~left_out & ~has_outcome).sum()),
    )


def _read_outcome(columns: pd.DataFrame, outcome: OutcomeColumn) -> pd.Series[float]:
    texts = columns[outcome.column]
    is_listed = texts.isin(outcome.values)
    refuse_rows(
        texts.notna() & ~is_listed, outcome.column, "a text that outcome.values does not list"
    )
    return texts.map(outcome.values).astype(float)


def _find_excluded(columns: pd.DataFrame, mapping: TableMapping) -> dict[str, BoolArray]:
    return {
        exclusion.name: columns[exclusion.column].isin(exclusion.values).to_numpy()
        for exclusion in mapping.exclusions
    }


def _read_days(columns: pd.DataFrame, column: str | None) -> pd.Series[pd.Timestamp]:
    if column is None:
        return pd.Series(pd.NaT, index=columns.index, dtype="datetime64[ns, UTC]")
    days = pd.to_datetime(columns[column], format="ISO8601", utc=True, errors="coerce")
    refuse_rows(days.isna(), column, "not a day such as 2024-05-31")
    return days


def _check_names(features: Sequence[Feature]) -> None:
    names = [feature.name for feature in features]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Unprocessable(
            f"More than one feature would be called {', '.join(twice)}: give the features of the "
            "mapping other names."
        )
