"""Features of a flat table's cells: numbers, categories, groups of codes, side by side.

Each is a float, NaN where the cell is empty. A category or a group of codes is 1 or 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ehr_models.imports.code_groups import CODE_READERS, Code, find_groups
from ehr_models.imports.mapping import (
    CategoryFeature,
    CharlsonFeature,
    CodeFeature,
    MappedFeature,
    NumberFeature,
)
from ehr_models.imports.source_table import refuse_rows
from ehr_models.scores.charlson import get_weights, list_worse
from ehr_models.task import Feature

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.intp]

# A count, a share, a yes or no in UCUM.
_UNITY = "1"


@dataclass(frozen=True)
class FeatureBlock:
    """Features, and their values: a row per row of the table, a column per feature."""

    features: Sequence[Feature]
    values: npt.NDArray[np.float64]


def build_features(
    columns: pd.DataFrame,
    mapped: MappedFeature,
    people: IntArray,
    kept: BoolArray,
) -> FeatureBlock:
    """Return what a mapping's feature is in each row.

    `people` numbers the persons of the rows; of categories and codes only those of enough people
    become features, counted among the rows that are `kept`.
    """
    match mapped:
        case NumberFeature():
            return _build_number(columns, mapped)
        case CategoryFeature():
            return _build_categories(columns, mapped, people, kept)
        case CodeFeature():
            return _build_code_groups(columns, mapped, people, kept)
        case CharlsonFeature():
            return _build_charlson(columns, mapped)


def map_texts(columns: pd.DataFrame, mapped: CategoryFeature) -> pd.Series[str]:
    """Return a category's text of each row; Unprocessable where the mapping lists no such text."""
    texts = columns[mapped.column]
    if mapped.values is None:
        return texts
    is_listed = texts.isin(mapped.values)
    refuse_rows(texts.notna() & ~is_listed, mapped.column, _describe_unlisted(mapped.name))
    return texts.map(mapped.values)


def _build_number(columns: pd.DataFrame, mapped: NumberFeature) -> FeatureBlock:
    texts = columns[mapped.column]
    if mapped.values is not None:
        # A listed text may say that the number is not known: its value is nan.
        numbers, is_read = texts.map(mapped.values).astype(float), texts.isin(mapped.values)
        fault = _describe_unlisted(mapped.name)
        if mapped.otherwise is not None:
            numbers = numbers.mask(texts.notna() & ~is_read, mapped.otherwise)
            is_read |= True
    else:
        numbers = pd.to_numeric(texts, errors="coerce").astype(float)
        is_read, fault = numbers.abs() < np.inf, "not a number"
    refuse_rows(texts.notna() & ~is_read, mapped.column, fault)
    if mapped.low is not None:
        refuse_rows(numbers < mapped.low, mapped.column, f"below {mapped.low:g}, which cannot be")
    if mapped.high is not None:
        refuse_rows(numbers > mapped.high, mapped.column, f"above {mapped.high:g}, which cannot be")
    feature = Feature(mapped.name, mapped.title, mapped.unit or _UNITY, mapped.column)
    return FeatureBlock([feature], np.asarray(numbers, dtype=np.float64).reshape(-1, 1))


def _build_categories(
    columns: pd.DataFrame, mapped: CategoryFeature, people: IntArray, kept: BoolArray
) -> FeatureBlock:
    texts = map_texts(columns, mapped)
    rows = texts[kept].value_counts()
    # In no more rows than this, a value is in no more people.
    values = sorted(rows.index[rows >= mapped.least_people])
    places = pd.Categorical(texts, categories=values).codes
    # A cell that is empty, or has another value, is in none: its place, -1, is the last row.
    has = np.eye(len(values) + 1, len(values), dtype=bool)[places]
    return _select_frequent(mapped, values, has, texts.isna().to_numpy(), people, kept)


def _build_code_groups(
    columns: pd.DataFrame, mapped: CodeFeature, people: IntArray, kept: BoolArray
) -> FeatureBlock:
    places, codes = _read_codes(columns, mapped)
    names, members = _group_codes(mapped.system, mapped.groups, codes)
    listed = np.zeros((len(columns), len(names)), dtype=bool)
    for of_column in places:
        listed |= members[of_column]
    is_empty = (places == -1).all(axis=0)
    blocks = [_select_frequent(mapped, names, listed, is_empty, people, kept)]
    if mapped.first:
        of_first = [f"first {name}" for name in names]
        is_empty = places[0] == -1
        blocks.append(
            _select_frequent(mapped, of_first, members[places[0]], is_empty, people, kept)
        )
    return FeatureBlock(
        [feature for block in blocks for feature in block.features],
        np.hstack([block.values for block in blocks]),
    )


def _build_charlson(columns: pd.DataFrame, mapped: CharlsonFeature) -> FeatureBlock:
    places, codes = _read_codes(columns, mapped)
    weights, worse = get_weights(mapped.weights), list_worse()
    names, members = _group_codes(mapped.system, ["charlson"], codes)
    has = dict(zip(names, np.logical_or.reduce(members[places]).T, strict=True))
    points = np.zeros(len(columns))
    for condition, found in has.items():
        name = condition.removeprefix("charlson ")
        # Of a pair the worse alone counts.
        outdone = has.get(f"charlson {worse.get(name)}", np.zeros(len(columns), dtype=bool))
        points += weights.get(name, 0) * (found & ~outdone)
    points[(places == -1).all(axis=0)] = np.nan
    feature = Feature(mapped.name, mapped.title, _UNITY, ", ".join(mapped.columns))
    return FeatureBlock([feature], points.reshape(-1, 1))


def _read_codes(
    columns: pd.DataFrame, mapped: CodeFeature | CharlsonFeature
) -> tuple[IntArray, list[Code]]:
    """Return the different codes, and of each column and row the place among them or -1."""
    cells = np.concatenate([columns[column].to_numpy() for column in mapped.columns])
    flat, texts = pd.factorize(cells)
    places = flat.reshape(len(mapped.columns), len(columns))
    codes = [CODE_READERS[mapped.system](text) for text in texts]
    is_wrong = np.array([code is None for code in codes] + [False])
    for column, of_column in zip(mapped.columns, places, strict=True):
        refuse_rows(
            pd.Series(is_wrong[of_column], columns.index), column, f"not a code of {mapped.system}"
        )
    return places, [code for code in codes if code is not None]


def _group_codes(
    system: str, kinds: Sequence[str], codes: Sequence[Code]
) -> tuple[list[str], BoolArray]:
    """Return the groups of some codes, and which code is in which; the last row is of no code."""
    groups = [
        [f"{kind} {group}" for kind in kinds for group in find_groups(system, kind, code)]
        for code in codes
    ]
    names = sorted({name for found in groups for name in found})
    column_of = {name: column for column, name in enumerate(names)}
    members = np.zeros((len(codes) + 1, len(names)), dtype=bool)
    for row, found in enumerate(groups):
        members[row, [column_of[name] for name in found]] = True
    return names, members


def _select_frequent(
    mapped: CategoryFeature | CodeFeature,
    names: Sequence[str],
    has: BoolArray,
    is_empty: BoolArray,
    people: IntArray,
    kept: BoolArray,
) -> FeatureBlock:
    """Keep the groups (columns of `has`) that at least so many people are in."""
    by_person = np.flatnonzero(kept)[np.argsort(people[kept], kind="stable")]
    starts = np.flatnonzero(np.diff(people[by_person], prepend=-1))
    frequent = np.flatnonzero(has[kept].sum(axis=0) >= mapped.least_people)
    counts = np.logical_or.reduceat(has[np.ix_(by_person, frequent)], starts, axis=0).sum(axis=0)
    chosen = frequent[counts >= mapped.least_people].tolist()
    values = has[:, chosen].astype(np.float64)
    values[is_empty] = np.nan
    return FeatureBlock([_describe_group(mapped, names[place]) for place in chosen], values)


def _describe_group(mapped: CategoryFeature | CodeFeature, group: str) -> Feature:
    words = re.findall(r"[^\W_]+", group.lower())
    columns = [mapped.column] if isinstance(mapped, CategoryFeature) else mapped.columns
    return Feature(
        name="_".join([mapped.name, *words]),
        title=f"{mapped.title}: {group}",
        unit=_UNITY,
        source=", ".join(columns),
    )


def _describe_unlisted(name: str) -> str:
    return f"a text that the values of {name} do not list"
