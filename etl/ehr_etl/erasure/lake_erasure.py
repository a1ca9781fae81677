"""Erase patients from every table of the lake, its old files, logs and statistics.

The patients come as keyed hashes and are found in bronze, which has every line of the feed, so
bronze is written last and in one commit: an erasure that was cut short finds the same lines when it
is run again. Of half of bronze it would not: what a steward decided of a record names no patient.
No condition on a patient gets into Delta's log: rows are filtered here, and a table's commit names
buckets, or the range of numbers of whole files. Files without the patient's rows stay.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake

from ehr_etl.erasure.erased_lines import BATCH_ROWS, LakeErasure
from ehr_etl.erasure.erased_rows import ChangeRows, choose_row_change
from ehr_etl.erasure.table_files import drop_old_files
from ehr_etl.gold.promotion import forget_held
from ehr_etl.gold.tables import list_gold_views
from ehr_etl.lake import BUCKET, GOLD_BUCKET, TABLES, Lake, gold_table_name
from ehr_etl.omop.cdm import VOCABULARY_TABLES, table_name
from ehr_etl.tables.bucketed import WRITER, cut_buckets, read_buckets, write_buckets

__all__ = ["erase_from_bronze", "erase_from_lake", "list_lake_tables"]

# Tables without buckets, and the number by which their files are apart: of the lines and versions
# in the order in which they came, so that no number tells of anybody.
_NUMBERED_BY = {"bronze": "sequence", "silver_history": "position"}
_VOCABULARY = frozenset(map(table_name, VOCABULARY_TABLES))
# Ranges in the condition of one commit. Measured: delta-rs takes 0.4 s for a condition of 16, 3 s
# for one of 64, and the more ranges the faster it grows.
_MOST_RANGES = 16


def list_lake_tables(lake: Lake) -> list[str]:
    """Return the tables of a lake that there are, bronze last."""
    names = [*map(gold_table_name, list_gold_views(lake)), *reversed(tuple(TABLES))]
    # Tables that no view makes any more hold rows all the same.
    for folder in ("gold", "omop", "omop_etl"):
        names += [f"{folder}/{name}" for name in lake.list_folders(folder)]
    unique = [name for name in dict.fromkeys(names) if name != "bronze" and lake.has_table(name)]
    return [*unique, "bronze"] if lake.has_table("bronze") else unique


def erase_from_lake(lake: Lake, erasure: LakeErasure, deid_key: bytes) -> None:
    """Take what was found out of every table but bronze, and out of what is held from gold.

    Old files stay. Call `erase_from_bronze` when all that is made of bronze is as it shall be.
    """
    if erasure.patients:
        for name in list_lake_tables(lake):
            if name != "bronze":
                _rewrite_table(lake, name, choose_row_change(name, erasure, deid_key))
        forget_held(lake, erasure.pseudonyms(deid_key))


def erase_from_bronze(lake: Lake, erasure: LakeErasure) -> None:
    """Take what was found out of bronze, then delete every old file of every table."""
    if erasure.patients:
        _rewrite_table(lake, "bronze", choose_row_change("bronze", erasure, b""))
    for name in list_lake_tables(lake):
        drop_old_files(lake, name)


def _rewrite_table(lake: Lake, name: str, change: ChangeRows) -> None:
    """Write a table without what is erased; where nothing of it is there, leave it as it is."""
    if name in _VOCABULARY:
        # From the user's vocabulary, of nobody.
        return
    table = lake.open_table(name)
    partitions = table.metadata().partition_columns
    column = next((item for item in (BUCKET, GOLD_BUCKET) if item in partitions), None)
    dataset = table.to_pyarrow_dataset()
    number = _NUMBERED_BY.get(name)
    is_changed = False
    buckets: set[int] = set()
    numbers: set[int | None] = set()
    for batch in dataset.to_batches(batch_size=BATCH_ROWS):
        if batch.num_rows and change(batch) is not batch:
            is_changed = True
            if column is not None:
                buckets |= set(batch[column].to_pylist())
            elif number is not None:
                numbers |= set(batch[number].to_pylist())
    if not is_changed:
        return
    if column is not None:
        for chosen in cut_buckets(buckets):
            _overwrite_buckets(table, column, chosen, change)
    elif number is None or (ranges := _find_ranges(table, number, numbers)) is None:
        _overwrite(table, dataset, [None], change)
    else:
        field = pc.field(number)
        _overwrite(
            table,
            dataset,
            [(field >= first) & (field <= last) for first, last in ranges],
            change,
            " OR ".join(f"({number} >= {first} AND {number} <= {last})" for first, last in ranges),
        )


def _find_ranges(
    table: DeltaTable, column: str, numbers: set[int | None]
) -> list[tuple[int, int]] | None:
    """Return the ranges of a column whose files hold some numbers; None if files do not tell.

    Files whose ranges overlap are one range, so that a file is written whole or not at all.
    """
    actions = pa.table(table.get_add_actions(flatten=True))
    names = (f"min.{column}", f"max.{column}")
    if None in numbers or not set(names) <= set(actions.column_names):
        return None
    ends = [tuple(row.values()) for row in actions.select(names).to_pylist()]
    if any(None in pair for pair in ends):
        return None
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ends):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    ordered = sorted(number for number in numbers if number is not None)
    return _join_ranges(
        [
            (first, last)
            for first, last in merged
            if bisect_left(ordered, first) < bisect_right(ordered, last)
        ],
        _MOST_RANGES,
    )


def _join_ranges(ranges: list[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """Join ranges, in order, over the smallest gaps between them until there are not too many.

    >>> _join_ranges([(1, 4), (9, 12), (15, 15), (40, 41)], 2)
    [(1, 15), (40, 41)]
    """
    gaps = [
        (after[0] - before[1], number) for number, (before, after) in enumerate(pairwise(ranges))
    ]
    kept = {number for _, number in sorted(gaps, reverse=True)[: most - 1]}
    joined = ranges[:1]
    for number, (first, last) in enumerate(ranges[1:]):
        if number in kept:
            joined.append((first, last))
        else:
            joined[-1] = (joined[-1][0], last)
    return joined


def _overwrite(
    table: DeltaTable,
    dataset: Any,
    conditions: Sequence[Any],
    change: ChangeRows,
    predicate: str | None = None,
) -> None:
    """Write the rows that meet a condition anew, in one commit; the predicate says it to Delta."""
    batches = chain.from_iterable(
        dataset.to_batches(batch_size=BATCH_ROWS, filter=condition) for condition in conditions
    )
    reader = pa.RecordBatchReader.from_batches(dataset.schema, _change_batches(batches, change))
    write_deltalake(table, reader, mode="overwrite", predicate=predicate, writer_properties=WRITER)


def _overwrite_buckets(
    table: DeltaTable, column: str, buckets: list[int], change: ChangeRows
) -> None:
    before = read_buckets(table, buckets, column=column)
    batches = _change_batches(before.to_batches(), change)
    rows = pa.Table.from_batches(list(batches), schema=before.schema)
    write_buckets(table, buckets, rows, column)


def _change_batches(
    batches: Iterable[pa.RecordBatch], change: ChangeRows
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield change(batch) if batch.num_rows else batch
