"""Mondrian multidimensional k-anonymity (LeFevre, DeWitt and Ramakrishnan, ICDE 2006).

Rows are cut in two at the median of the quasi-identifier that spreads widest, as long as both parts
meet the terms; then each part's values become the range or the set of what is in it. Strict: equal
values stay in one part, so that a class is told by its values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehr_fhir.errors import Unprocessable

__all__ = ["AnonymityTerms", "anonymize"]

# A set of more values than these is written as `*`: it tells little and would be long. Chosen.
_MOST_LISTED = 5


@dataclass(frozen=True)
class AnonymityTerms:
    """What every class must meet: k rows, l different sensitive values, distance t at most."""

    k: int
    sensitive: str | None = None
    l: int = 1  # noqa: E741 - the field's own letter
    t: float = 1.0

    def __post_init__(self) -> None:
        if self.k < 1 or self.l < 1 or not 0 <= self.t <= 1:
            raise Unprocessable("k and l are 1 or more, t is from 0 to 1.")
        if self.sensitive is None and (self.l > 1 or self.t < 1):
            raise Unprocessable("l-diversity and t-closeness are of a sensitive column: name it.")


def anonymize(table: pa.Table, quasi: Sequence[str], terms: AnonymityTerms) -> pa.Table:
    """Return a table whose quasi-identifiers are generalised; the other columns stay.

    Raise Unprocessable where even all rows together do not meet the terms.

    >>> table = pa.table({"year": [1950, 1951, 1990, 1991], "sex": ["f", "f", "m", "m"]})
    >>> anonymize(table, ["year", "sex"], AnonymityTerms(k=2)).to_pydict()
    {'year': ['1950-1951', '1950-1951', '1990-1991', '1990-1991'], 'sex': ['f', 'f', 'm', 'm']}
    """
    if not table.num_rows:
        return table
    columns = [_encode(table.column(name)) for name in quasi]
    sensitive = None if terms.sensitive is None else _encode(table.column(terms.sensitive)).codes
    check = _Check(terms, sensitive)
    everybody = np.arange(table.num_rows)
    if not check.is_met(everybody):
        raise Unprocessable("All rows together do not meet the terms: nothing can be released.")
    parts = _cut(everybody, columns, check)
    for name, column in zip(quasi, columns, strict=True):
        number = table.column_names.index(name)
        table = table.set_column(number, name, _generalize(column, parts, table.num_rows))
    return table


@dataclass(frozen=True)
class _Column:
    """A column as the ranks of its values; a missing value has the last rank."""

    codes: np.ndarray[Any, Any]
    values: list[Any]
    is_ordered: bool


def _encode(column: pa.ChunkedArray) -> _Column:
    values = pc.unique(column)
    order = pc.sort_indices(values)
    ordered = values.take(order)
    codes = pc.index_in(column, value_set=ordered, skip_nulls=False)
    listed = ordered.to_pylist()
    is_ordered = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    is_ordered = is_ordered or pa.types.is_temporal(column.type)
    return _Column(np.asarray(codes.to_numpy(), dtype=np.int32), listed, is_ordered)


class _Check:
    """Says whether some rows may be a class."""

    def __init__(self, terms: AnonymityTerms, sensitive: np.ndarray[Any, Any] | None) -> None:
        self._terms, self._sensitive = terms, sensitive
        self._shares = (
            None if sensitive is None else np.bincount(sensitive) / max(len(sensitive), 1)
        )

    def is_met(self, rows: np.ndarray[Any, Any]) -> bool:
        if len(rows) < self._terms.k:
            return False
        if self._sensitive is None or self._shares is None:
            return True
        counts = np.bincount(self._sensitive[rows], minlength=len(self._shares))
        if np.count_nonzero(counts) < self._terms.l:
            return False
        distance = np.abs(counts / len(rows) - self._shares).sum() / 2
        return bool(distance <= self._terms.t + 1e-12)


def _cut(
    rows: np.ndarray[Any, Any], columns: Sequence[_Column], check: _Check
) -> list[np.ndarray[Any, Any]]:
    """Return the rows of each class."""
    spans = [max(len(column.values) - 1, 1) for column in columns]
    done: list[np.ndarray[Any, Any]] = []
    waiting = [rows]
    while waiting:
        part = waiting.pop()
        halves = _cut_once(part, columns, spans, check)
        if halves is None:
            done.append(part)
        else:
            waiting += halves
    return done


def _cut_once(
    part: np.ndarray[Any, Any], columns: Sequence[_Column], spans: Sequence[int], check: _Check
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None:
    """Return two halves of a part by the column that spreads widest and can be cut."""
    codes = [column.codes[part] for column in columns]
    widths = [
        (int(code.max()) - int(code.min())) / span for code, span in zip(codes, spans, strict=True)
    ]
    for number in sorted(range(len(columns)), key=lambda at: -widths[at]):
        if not widths[number]:
            break
        code = codes[number]
        middle = np.partition(code, len(code) // 2)[len(code) // 2]
        # The median itself is in the upper half, or in the lower one where that would be all.
        for below in (code < middle, code <= middle):
            low, high = part[below], part[~below]
            if len(low) and len(high) and check.is_met(low) and check.is_met(high):
                return low, high
    return None


def _generalize(column: _Column, parts: Sequence[np.ndarray[Any, Any]], rows: int) -> pa.Array:
    texts: dict[str, int] = {}
    numbers = np.empty(rows, dtype=np.int32)
    for part in parts:
        text = _describe(column, column.codes[part])
        numbers[part] = texts.setdefault(text, len(texts))
    return pa.DictionaryArray.from_arrays(pa.array(numbers), pa.array(list(texts))).cast(
        pa.string()
    )


def _describe(column: _Column, codes: np.ndarray[Any, Any]) -> str:
    """Return the range of ordered values, or the set of others.

    A range with a missing value says so.
    """
    least, most = int(codes.min()), int(codes.max())
    if least == most:
        value = column.values[least]
        return "" if value is None else str(value)
    if column.is_ordered:
        has_missing = column.values[most] is None
        values = [column.values[int(code)] for code in (least, most)]
        if has_missing:
            known = codes[codes < most]
            values = [column.values[int(known.min())], column.values[int(known.max())]]
        text = str(values[0]) if values[0] == values[1] else f"{values[0]}-{values[1]}"
        return f"{text} or none" if has_missing else text
    listed = [column.values[int(code)] for code in np.unique(codes)]
    if len(listed) > _MOST_LISTED:
        return "*"
    return "|".join("" if value is None else str(value) for value in listed)
