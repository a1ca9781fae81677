"""Mondrian multidimensional k-anonymity (LeFevre, DeWitt and Ramakrishnan, ICDE 2006).

Rows are cut in two at the median of the quasi-identifier that spreads widest, as long as both parts
meet the terms; then each part's values become the range or the set of what is in it. Strict: equal
values stay in one part, so that a class is told by its values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehr_fhir.errors import Unprocessable

__all__ = ["AnonymityTerms", "Cut", "Domain", "Mondrian", "Part", "anonymize", "encode"]

# A set of more values than these is written as `*`: it tells little and would be long. Chosen.
_MOST_LISTED = 5
# Below what 64 bits hold: a key of more is made shorter first.
_MOST_KEYS = 1 << 62

Numbers = np.ndarray[Any, Any]


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


@dataclass(frozen=True)
class Domain:
    """The values of a column in order, a missing one last; `is_ordered` if they make ranges."""

    values: list[Any]
    is_ordered: bool

    @property
    def span(self) -> int:
        """Return how far the first and the last value are apart, by their ranks."""
        return max(len(self.values) - 1, 1)


@dataclass(frozen=True)
class Cut:
    """A cut of some cells: those whose rank in a column is at most `last` are the lower part."""

    column: int
    last: int


def anonymize(table: pa.Table, quasi: Sequence[str], terms: AnonymityTerms) -> pa.Table:
    """Return a table whose quasi-identifiers are generalised; the other columns stay.

    Raise Unprocessable where even all rows together do not meet the terms.

    >>> table = pa.table({"year": [1950, 1951, 1990, 1991], "sex": ["f", "f", "m", "m"]})
    >>> anonymize(table, ["year", "sex"], AnonymityTerms(k=2)).to_pydict()
    {'year': ['1950-1951', '1950-1951', '1990-1991', '1990-1991'], 'sex': ['f', 'f', 'm', 'm']}
    """
    if not table.num_rows:
        return table
    domains = [encode(table.column(name)) for name in quasi]
    codes = [code for _, code in domains]
    sensitive = np.zeros(table.num_rows, dtype=np.int32)
    if terms.sensitive is not None:
        _, sensitive = encode(table.column(terms.sensitive))
    method = Mondrian(terms, [domain for domain, _ in domains], np.bincount(sensitive))
    method.require_met()
    # Equal rows stay together, so that one of them stands for all.
    first, cell_of, counts = _find_cells([*codes, sensitive])
    texts = method.generalize([code[first] for code in codes], sensitive[first], counts)
    for name, text in zip(quasi, texts, strict=True):
        number = table.column_names.index(name)
        table = table.set_column(number, name, text.take(pa.array(cell_of)))
    return table


def encode(column: pa.ChunkedArray) -> tuple[Domain, Numbers]:
    """Return the values of a column in order, and the rank of each of its rows."""
    values = pc.unique(column)
    ordered = values.take(pc.sort_indices(values))
    codes = pc.index_in(column, value_set=ordered, skip_nulls=False)
    is_ordered = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    is_ordered = is_ordered or pa.types.is_temporal(column.type)
    domain = Domain(ordered.to_pylist(), is_ordered)
    return domain, np.asarray(codes.to_numpy(zero_copy_only=False), dtype=np.int32)


def _find_cells(codes: Sequence[Numbers]) -> tuple[Numbers, Numbers, Numbers]:
    """Return a row of each combination of ranks, the combination of each row, and their rows."""
    keys = codes[0].astype(np.int64)
    for code in codes[1:]:
        size = int(code.max()) + 1
        if int(keys.max()) + 1 > _MOST_KEYS // size:
            keys = np.unique(keys, return_inverse=True)[1]
        keys = keys * size + code
    _, first, cell_of, counts = np.unique(
        keys, return_index=True, return_inverse=True, return_counts=True
    )
    return first, cell_of, counts


@dataclass(frozen=True)
class Mondrian:
    """Cuts cells: combinations of ranks of the quasi-identifiers and of the sensitive column.

    `sensitive` has how many rows of the whole table have each sensitive value, by its rank.
    """

    terms: AnonymityTerms
    domains: Sequence[Domain]
    sensitive: Numbers

    def require_met(self) -> None:
        """Raise Unprocessable where all rows together do not meet the terms."""
        if not self.is_met(self.sensitive):
            raise Unprocessable("All rows together do not meet the terms: nothing can be released.")

    def is_met(self, counts: Numbers) -> bool:
        """Say whether rows may be a class, by how many have each sensitive value."""
        rows = counts.sum()
        if rows < self.terms.k:
            return False
        if self.terms.sensitive is None:
            return True
        if np.count_nonzero(counts) < self.terms.l:
            return False
        distance = np.abs(counts / rows - self.sensitive / self.sensitive.sum()).sum() / 2
        return bool(distance <= self.terms.t + 1e-12)

    def find_cut(self, part: Part) -> Cut | None:
        """Return the cut at the median of the column that spreads widest and can be cut.

        None where no cut leaves two parts that meet the terms.
        """
        bounds = [part.find_bounds(column) for column in range(len(self.domains))]
        widths = [
            (most - least) / domain.span
            for (least, most), domain in zip(bounds, self.domains, strict=True)
        ]
        for column in sorted(range(len(widths)), key=lambda at: -widths[at]):
            if not widths[column]:
                break
            ranks, rows = part.count_ranks(column)
            reached = np.cumsum(rows)
            middle = int(np.searchsorted(reached, reached[-1] // 2, side="right"))
            # The median itself is in the upper part, or in the lower one where that would be all.
            for place in (middle - 1, middle):
                if 0 <= place < len(ranks) - 1:
                    cut = Cut(column, int(ranks[place]))
                    low, high = part.count_sides(cut)
                    if self.is_met(low) and self.is_met(high):
                        return cut
        return None

    def cut(self, codes: Sequence[Numbers], sensitive: Numbers, counts: Numbers) -> list[Numbers]:
        """Return the cells of each class; `counts` has the rows of each cell."""
        done: list[Numbers] = []
        waiting = [np.arange(len(counts))]
        while waiting:
            cells = waiting.pop()
            of_part = [code[cells] for code in codes]
            found = self.find_cut(
                _Cells(of_part, sensitive[cells], counts[cells], len(self.sensitive))
            )
            if found is None:
                done.append(cells)
                continue
            is_low = of_part[found.column] <= found.last
            waiting += [cells[is_low], cells[~is_low]]
        return done

    def generalize(
        self, codes: Sequence[Numbers], sensitive: Numbers, counts: Numbers
    ) -> list[pa.Array]:
        """Return the texts of the cells, column by column, their class's."""
        parts = self.cut(codes, sensitive, counts)
        return [
            _write_texts(domain, code, parts)
            for domain, code in zip(self.domains, codes, strict=True)
        ]


class Part(Protocol):
    """What a cut asks of a part: of columns by their number, of rows by their sensitive value."""

    def find_bounds(self, column: int) -> tuple[int, int]:
        """Return the least and the greatest rank that is there."""

    def count_ranks(self, column: int) -> tuple[Numbers, Numbers]:
        """Return the ranks that are there, in order, and the rows of each."""

    def count_sides(self, cut: Cut) -> tuple[Numbers, Numbers]:
        """Return how many rows of the lower and of the upper side have each sensitive value."""


@dataclass(frozen=True)
class _Cells:
    """A part whose cells are at hand."""

    codes: Sequence[Numbers]
    sensitive: Numbers
    counts: Numbers
    width: int

    def find_bounds(self, column: int) -> tuple[int, int]:
        code = self.codes[column]
        return int(code.min()), int(code.max())

    def count_ranks(self, column: int) -> tuple[Numbers, Numbers]:
        code = self.codes[column]
        least = int(code.min())
        rows = np.bincount(code - least, weights=self.counts)
        ranks = np.flatnonzero(rows)
        return ranks + least, rows[ranks]

    def count_sides(self, cut: Cut) -> tuple[Numbers, Numbers]:
        is_low = self.codes[cut.column] <= cut.last
        return self._count(is_low), self._count(~is_low)

    def _count(self, chosen: Numbers) -> Numbers:
        counts = self.counts[chosen]
        if self.width == 1:
            return np.array([counts.sum()])
        return np.bincount(self.sensitive[chosen], weights=counts, minlength=self.width)


def _write_texts(domain: Domain, code: Numbers, parts: Sequence[Numbers]) -> pa.Array:
    texts: dict[str, int] = {}
    numbers = np.empty(len(code), dtype=np.int32)
    for part in parts:
        text = _describe(domain, code[part])
        numbers[part] = texts.setdefault(text, len(texts))
    return pa.array(list(texts), pa.string()).take(pa.array(numbers))


def _describe(column: Domain, codes: Numbers) -> str:
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
