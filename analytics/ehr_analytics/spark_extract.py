"""K-anonymous extracts on Spark: Mondrian's first cuts from counts, the rest part by part.

Rows that are alike are one cell with a count. As long as a part has too many cells for one process,
Spark counts each of its columns, and the cut is made from these counts; then every part is cut
further, and its values are generalised, where it lies. The cuts are those of
`ehr_privacy.risk.anonymize`: a test compares the two, row by row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_type, to_arrow_type
from pyspark.sql.types import LongType, StringType, StructField, StructType

from ehr_etl.spark.java_errors import translate_java_errors
from ehr_privacy.risk import AnonymityTerms, Cut, Domain, Mondrian, encode

__all__ = ["anonymize_on_spark"]

# Cells that one process cuts at once: some dozens of MB. Chosen.
_PART_CELLS = 500_000
_ROWS, _SENSITIVE, _PART = "_rows", "_sensitive", "_part"
_HISTOGRAM = ["part", "column", "rank", _SENSITIVE, "rows", "cells"]

Numbers = np.ndarray[Any, Any]


def anonymize_on_spark(
    frame: DataFrame,
    quasi: Sequence[str],
    terms: AnonymityTerms,
    *,
    part_cells: int = _PART_CELLS,
) -> DataFrame:
    """Return generalised quasi-identifiers, and the sensitive column, of the rows of a frame.

    Rows come in another order than they were. Unprocessable where all together do not meet the
    terms.
    """
    kept = [*quasi, *([terms.sensitive] if terms.sensitive else [])]
    with translate_java_errors("making the extract"):
        raw = frame.select(*kept).groupBy(*kept).agg(F.count("*").alias(_ROWS))
        domains = {name: _read_domain(raw, name) for name in kept}
        cells = _encode_cells(raw, quasi, terms.sensitive, domains).cache()
        sensitive = _count_sensitive(cells)
        method = Mondrian(terms, [domains[name] for name in quasi], sensitive)
        if sensitive.sum():
            method.require_met()
        tree = _cut_from_counts(cells, method, part_cells)
        values = None if terms.sensitive is None else _to_array(raw, terms.sensitive, domains)
        released = _generalize_parts(cells.withColumn(_PART, _render(tree)), quasi, method, values)
        # A group of cells is written as so many rows.
        copies = F.explode(F.expr(f"array_repeat(0, CAST({_ROWS} AS INT))"))
        return released.select(*kept, copies).select(*kept)


def _read_domain(raw: DataFrame, name: str) -> Domain:
    values = raw.select(name).distinct().toArrow().column(0)
    return encode(values)[0]


def _code(number: int) -> str:
    return f"c{number}"


def _encode_cells(
    raw: DataFrame, quasi: Sequence[str], sensitive: str | None, domains: Mapping[str, Domain]
) -> DataFrame:
    """Return cells by the ranks of their values: `c0`, `c1`, …, `_sensitive`, `_rows`."""
    values = {name: _to_array(raw, name, domains) for name in domains}

    def encode_batches(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        for batch in batches:
            ranks = {
                name: pc.index_in(batch[name], value_set=known, skip_nulls=False)
                for name, known in values.items()
            }
            none = pa.array(np.zeros(batch.num_rows, dtype=np.int32))
            yield pa.RecordBatch.from_pydict(
                {
                    **{_code(number): ranks[name] for number, name in enumerate(quasi)},
                    _SENSITIVE: none if sensitive is None else ranks[sensitive],
                    _ROWS: batch[_ROWS],
                }
            )

    codes = ", ".join(f"{_code(number)} int" for number, _ in enumerate(quasi))
    return raw.mapInArrow(encode_batches, f"{codes}, {_SENSITIVE} int, {_ROWS} long")


def _to_array(raw: DataFrame, name: str, domains: Mapping[str, Domain]) -> pa.Array:
    return pa.array(domains[name].values, to_arrow_type(raw.schema[name].dataType))


def _count_sensitive(cells: DataFrame) -> Numbers:
    rows = cells.groupBy(_SENSITIVE).agg(F.sum(_ROWS).alias("rows")).toArrow().to_pylist()
    counts = np.zeros(max((row[_SENSITIVE] for row in rows), default=0) + 1, dtype=np.int64)
    for row in rows:
        counts[row[_SENSITIVE]] = row["rows"]
    return counts


# The first cuts.


@dataclass
class _Node:
    """A part of the cells, by its number; cut in two, or not."""

    number: int
    cut: Cut | None = None
    low: _Node | None = None
    high: _Node | None = None


@dataclass(frozen=True)
class _Counts:
    """A part of which Spark counted each column: ranks in order, rows by sensitive value."""

    columns: Sequence[tuple[Numbers, Numbers]]
    cells: int

    def find_bounds(self, column: int) -> tuple[int, int]:
        ranks = self.columns[column][0]
        return int(ranks[0]), int(ranks[-1])

    def count_ranks(self, column: int) -> tuple[Numbers, Numbers]:
        ranks, rows = self.columns[column]
        return ranks, rows.sum(axis=1)

    def count_sides(self, cut: Cut) -> tuple[Numbers, Numbers]:
        ranks, rows = self.columns[cut.column]
        low = rows[ranks <= cut.last].sum(axis=0)
        return low, rows.sum(axis=0) - low


@dataclass
class _Tree:
    """The parts so far, and which of them may still be cut."""

    root: _Node = field(default_factory=lambda: _Node(0))
    numbers: int = 1

    def split(self, node: _Node, cut: Cut) -> list[_Node]:
        node.cut = cut
        node.low, node.high = _Node(self.numbers), _Node(self.numbers + 1)
        self.numbers += 2
        return [node.low, node.high]


def _cut_from_counts(cells: DataFrame, method: Mondrian, part_cells: int) -> _Node:
    tree = _Tree()
    waiting = [tree.root]
    while waiting:
        parts = _count_parts(cells.withColumn(_PART, _render(tree.root)), method, waiting)
        after = []
        for node in waiting:
            counts = parts[node.number]
            cut = method.find_cut(counts) if counts.cells > part_cells else None
            after += tree.split(node, cut) if cut is not None else []
        waiting = after
    return tree.root


def _count_parts(
    cells: DataFrame, method: Mondrian, nodes: Sequence[_Node]
) -> Mapping[int, _Counts]:
    """Count each column of some parts, in one pass."""
    columns = range(len(method.domains))
    pairs = F.array(
        *(F.struct(F.lit(number).alias("column"), F.col(_code(number)).alias("rank"))
          for number in columns)
    )  # fmt: skip
    table = (
        cells.where(F.col(_PART).isin([node.number for node in nodes]))
        .select(F.col(_PART).alias("part"), F.explode(pairs).alias("pair"), _SENSITIVE, _ROWS)
        .select("part", "pair.column", "pair.rank", _SENSITIVE, _ROWS)
        .groupBy("part", "column", "rank", _SENSITIVE)
        .agg(F.sum(_ROWS).alias("rows"), F.count("*").alias("cells"))
        .toArrow()
    )
    found = {name: table.column(name).to_numpy() for name in _HISTOGRAM}
    parts = {}
    for node in nodes:
        histograms, number_of_cells = [], 0
        for column in columns:
            chosen = (found["part"] == node.number) & (found["column"] == column)
            ranks, place = np.unique(found["rank"][chosen], return_inverse=True)
            rows = np.zeros((len(ranks), len(method.sensitive)), dtype=np.int64)
            rows[place, found[_SENSITIVE][chosen]] = found["rows"][chosen]
            histograms.append((ranks, rows))
            number_of_cells = int(found["cells"][chosen].sum())
        parts[node.number] = _Counts(histograms, number_of_cells)
    return parts


def _render(node: _Node) -> Column:
    """Return the expression of the number of a cell's part."""
    if node.cut is None or node.low is None or node.high is None:
        return F.lit(node.number)
    is_low = F.col(_code(node.cut.column)) <= node.cut.last
    return F.when(is_low, _render(node.low)).otherwise(_render(node.high))


# The rest.


def _generalize_parts(
    cells: DataFrame, quasi: Sequence[str], method: Mondrian, values: pa.Array | None
) -> DataFrame:
    """Return each cell with the texts of its class; `values` are the sensitive ones by rank."""
    sensitive = method.terms.sensitive

    def generalize(part: pa.Table) -> pa.Table:
        codes = [part.column(_code(number)).to_numpy() for number, _ in enumerate(quasi)]
        of_cell, rows = part.column(_SENSITIVE).to_numpy(), part.column(_ROWS).to_numpy()
        columns = dict(zip(quasi, method.generalize(codes, of_cell, rows), strict=True))
        if values is not None:
            columns[str(sensitive)] = values.take(pa.array(of_cell))
        return pa.table({**columns, _ROWS: part.column(_ROWS)})

    fields = [StructField(name, StringType()) for name in quasi]
    if values is not None:
        fields.append(StructField(str(sensitive), from_arrow_type(values.type)))
    schema = StructType([*fields, StructField(_ROWS, LongType())])
    return cells.groupBy(_PART).applyInArrow(generalize, schema)
