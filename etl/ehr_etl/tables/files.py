"""Files of a Delta table written in parallel by many processes, and switched by one commit.

Whoever makes a part of a table writes its Parquet files beside the old ones, where no reader sees
them, and returns what Delta's log needs to know of them. One commit puts all of them in the place
of the files that were there.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import Schema
from deltalake.transaction import AddAction

from ehr_etl.lake import BUCKET, TABLES, Lake

__all__ = [
    "read_bucket_files",
    "replace_table",
    "split_by_number",
    "write_bucket_files",
    "write_file",
]


def write_bucket_files(
    lake: Lake, name: str, rows: pa.Table, *, column: str = BUCKET
) -> list[AddAction]:
    """Write rows to files of a table, one for each bucket; return what the commit needs."""
    actions = []
    rows = rows.sort_by(column)
    for bucket, part in split_by_number(rows, rows.column(column).to_pylist()):
        values = {column: str(bucket)}
        part = part.drop_columns([column])
        actions.append(_write(lake, name, part, f"{column}={bucket}", values))
    return actions


def split_by_number(rows: pa.Table, numbers: Sequence[int]) -> Iterator[tuple[int, pa.Table]]:
    """Yield the rows of each number; `numbers` has that of each row, equal ones side by side.

    >>> rows = pa.table({"letter": ["a", "b", "c"]})
    >>> [(number, part.num_rows) for number, part in split_by_number(rows, [4, 4, 7])]
    [(4, 2), (7, 1)]
    """
    start = 0
    for number, run in groupby(numbers):
        length = sum(1 for _ in run)
        yield number, rows.slice(start, length)
        start += length


def read_bucket_files(
    lake: Lake, name: str, schema: pa.Schema, actions: Iterable[AddAction], *, column: str = BUCKET
) -> pa.Table:
    """Return the rows of files that were written and are in no commit yet."""
    filesystem, root = lake.open_storage()
    tables = [schema.empty_table()]
    for action in actions:
        with filesystem.open_input_file(f"{root}{name}/{action.path}") as source:
            rows = pq.read_table(source)
        bucket = pa.scalar(int(action.partition_values[column] or 0), schema.field(column).type)
        rows = rows.append_column(column, pa.repeat(bucket, rows.num_rows))
        tables.append(rows.select(schema.names).cast(schema))
    return pa.concat_tables(tables)


def write_file(lake: Lake, name: str, rows: pa.Table) -> list[AddAction]:
    """Write rows to one file of a table without buckets; return what the commit needs."""
    return [_write(lake, name, rows, "", {})] if rows.num_rows else []


def replace_table(
    lake: Lake, name: str, schema: pa.Schema, actions: Iterable[AddAction], column: str | None
) -> None:
    """Put files in the place of all that a table has, with their schema, in one commit."""
    lake.open_table(name).create_write_transaction(
        list(actions),
        mode="overwrite",
        schema=Schema.from_arrow(schema),
        partition_by=None if column is None else [column],
    )


def _write(lake: Lake, name: str, rows: pa.Table, folder: str, values: dict[str, str]) -> AddAction:
    path = f"{folder}/{uuid.uuid4()}.parquet".lstrip("/")
    # Statistics of columns that the log may not have are kept out of the files' footers too.
    statistics = [field for field in _statistics_of(name) if field in rows.column_names]
    out = pa.BufferOutputStream()
    pq.write_table(rows, out, compression="zstd", write_statistics=statistics or False)
    content = out.getvalue()
    lake.write_file(f"{name}/{path}", content)
    return AddAction(
        path=path,
        size=content.size,
        partition_values=values,
        modification_time=time.time_ns() // 1_000_000,
        data_change=True,
        stats=json.dumps(_summarize(rows, statistics)),
    )


def _statistics_of(name: str) -> Sequence[str]:
    spec = TABLES.get(name)
    return spec.statistics if spec else ()


def _summarize(rows: pa.Table, columns: Sequence[str]) -> dict[str, Any]:
    """Return the statistics of a file in Delta's form, of those columns alone."""
    statistics: dict[str, Any] = {"numRecords": rows.num_rows}
    if not columns:
        return statistics
    ends = {name: pc.min_max(rows.column(name)).as_py() for name in columns}
    known = {name: end for name, end in ends.items() if end["min"] is not None}
    return {
        **statistics,
        "minValues": {name: end["min"] for name, end in known.items()},
        "maxValues": {name: end["max"] for name, end in known.items()},
        "nullCount": {name: rows.column(name).null_count for name in columns},
    }
