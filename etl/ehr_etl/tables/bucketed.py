"""Delta tables in buckets: rows are replaced by key, and only the files of their buckets are read.

A bucket is a partition of a few thousand rows. To change a row the files of its bucket are read,
changed and written in one commit, so the cost does not grow with the table. The condition of a
commit names numbers of buckets and no key: nothing of a record gets into Delta's log.

All records of a patient are in one bucket, so that what is decided about a patient touches few
files. Buckets are made with a secret: from a bucket's number nobody learns whose rows it has.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake

from ehr_etl.lake import BUCKET, LOG_PROPERTIES, TABLES, Lake

__all__ = [
    "WRITER",
    "Buckets",
    "KeyColumn",
    "Layout",
    "append_rows",
    "create_table",
    "create_tables",
    "cut_buckets",
    "delete_keys_and_add",
    "iterate_buckets",
    "read_buckets",
    "read_rows",
    "replace_buckets",
    "table_properties",
    "write_buckets",
]

# Buckets read and written in one commit: some dozens of MB of rows at once. Chosen.
_BUCKETS_PER_COMMIT = 64
WRITER = WriterProperties(compression="ZSTD")


@dataclass(frozen=True)
class Layout:
    """How many buckets the tables of a lake have, and the secret by which rows get theirs."""

    buckets: int
    secret: bytes

    def place(self, text: str) -> int:
        """Return the bucket of a text, such as `Patient/p1`."""
        digest = hmac.digest(self.secret, b"bucket " + text.encode(), "sha256")
        return int.from_bytes(digest[:8], "big") % self.buckets

    def record_place(self, patients: Collection[str], resource_type: str, resource_id: str) -> int:
        """Return the bucket of a record: that of its first patient, or its own."""
        first = min(patients, default=None)
        return self.place(f"{resource_type}/{resource_id}" if first is None else f"Patient/{first}")


Buckets = Mapping[int, Collection[str]]
# Returns the keys of some rows, as a column.
KeyColumn = Callable[[pa.Table], Any]  # Any: pyarrow ships no types


def table_properties(name: str, more: Mapping[str, str] | None = None) -> dict[str, str | None]:
    """Return the Delta properties of a table; gold tables have no statistics."""
    spec = TABLES.get(name)
    statistics: dict[str, str] = (
        {"delta.dataSkippingStatsColumns": ",".join(spec.statistics)}
        if spec and spec.statistics
        else {"delta.dataSkippingNumIndexedCols": "0"}
    )
    return {**LOG_PROPERTIES, **statistics, **(more or {})}


def create_tables(lake: Lake) -> None:
    """Create the registered tables that are not there yet, empty."""
    for name, spec in TABLES.items():
        if not lake.has_table(name):
            create_table(lake, name, spec.schema, spec.partitioned_by)


def create_table(lake: Lake, name: str, schema: pa.Schema, column: str | None) -> None:
    """Create a table, empty, in buckets by a column or without."""
    DeltaTable.create(
        lake.table_url(name),
        schema,
        partition_by=column,
        configuration=table_properties(name),
        storage_options=dict(lake.storage_options),
    )


def append_rows(
    lake: Lake, name: str, rows: pa.Table, progress: Mapping[str, int] | None = None
) -> None:
    """Append rows in one commit, and with them how far something is taken in."""
    transactions = [Transaction(app, number) for app, number in (progress or {}).items()]
    write_deltalake(
        lake.open_table(name),
        rows,
        mode="append",
        writer_properties=WRITER,
        commit_properties=CommitProperties(app_transactions=transactions),
    )


def read_buckets(table: DeltaTable, buckets: Iterable[int], *, column: str = BUCKET) -> pa.Table:
    """Return the rows of some buckets."""
    wanted = sorted(set(buckets))
    # Files of other buckets are left out first: a dataset of all 230 takes 15 ms, of three 2 ms.
    dataset = table.to_pyarrow_dataset(file_pruning_predicate=[(column, "in", wanted)])
    return pa.table(dataset.to_table(filter=pc.field(column).isin(pa.array(wanted, pa.int32()))))


def iterate_buckets(
    lake: Lake, name: str, buckets: Iterable[int], *, column: str = BUCKET
) -> Iterator[pa.Table]:
    """Yield the rows of some buckets, some dozens of buckets at a time."""
    remaining = set(buckets)
    if not remaining:
        return
    table = lake.open_table(name)
    for chosen in cut_buckets(remaining):
        yield read_buckets(table, chosen, column=column)


def cut_buckets(buckets: Collection[int]) -> Iterator[list[int]]:
    """Yield buckets in order, as many at a time as are read and written in one commit."""
    ordered = sorted(buckets)
    for start in range(0, len(ordered), _BUCKETS_PER_COMMIT):
        yield ordered[start : start + _BUCKETS_PER_COMMIT]


def read_rows(
    lake: Lake, name: str, buckets: Iterable[int], keys: Collection[str], key_of: KeyColumn
) -> Iterator[dict[str, Any]]:
    """Yield the rows of some keys, which are in some buckets."""
    wanted = pa.array(sorted(keys), pa.string())
    for table in iterate_buckets(lake, name, buckets):
        yield from table.filter(pc.is_in(key_of(table), wanted)).to_pylist()


def delete_keys_and_add(
    lake: Lake,
    name: str,
    removed: Buckets,
    added: pa.Table,
    key_of: KeyColumn,
    *,
    column: str = BUCKET,
) -> bool:
    """Take rows out of buckets by their key, put others in; return whether anything was written.

    `removed` has the keys by bucket; `key_of` returns the column of keys of some rows. What is as
    it was is not written.
    """
    buckets = set(added.column(column).to_pylist()) | set(removed)
    if not buckets:
        return False
    table = lake.open_table(name)
    is_changed = False
    for chosen in cut_buckets(buckets):
        old = read_buckets(table, chosen, column=column)
        new = added.filter(_is_in(added.column(column), chosen)).select(old.column_names)
        gone = {key for bucket in chosen for key in removed.get(bucket, ())}
        kept = old.filter(pc.invert(pc.is_in(key_of(old), pa.array(sorted(gone), pa.string()))))
        rows = pa.concat_tables([kept, new.cast(old.schema)])
        rows = rows.sort_by(_order(rows, column))
        if rows.equals(old.sort_by(_order(rows, column))):
            continue
        write_buckets(table, chosen, rows, column)
        is_changed = True
    return is_changed


def replace_buckets(
    lake: Lake, name: str, buckets: Iterable[int], rows: pa.Table, *, column: str = BUCKET
) -> bool:
    """Write rows as the whole of some buckets; return whether that was any change.

    Buckets whose rows are as they were are not written.
    """
    table = lake.open_table(name)
    old = read_buckets(table, buckets, column=column)
    order = _order(old, column)
    old = old.sort_by(order)
    new = rows.select(old.column_names).cast(old.schema).sort_by(order)
    changed = [
        bucket
        for bucket in sorted(set(buckets))
        if not new.filter(pc.equal(new.column(column), bucket)).equals(
            old.filter(pc.equal(old.column(column), bucket))
        )
    ]
    if changed:
        write_buckets(table, changed, new.filter(_is_in(new.column(column), changed)), column)
    return bool(changed)


def write_buckets(table: DeltaTable, buckets: Collection[int], rows: pa.Table, column: str) -> None:
    """Write rows as the whole of some buckets; the condition names buckets and no key."""
    write_deltalake(
        table,
        rows,
        mode="overwrite",
        predicate=f"{column} IN ({', '.join(map(str, buckets))})",
        writer_properties=WRITER,
    )


def _order(rows: pa.Table, column: str) -> list[tuple[str, str]]:
    names = [
        name
        for name in ("type", "id", "key", "patient", "place", "_key")
        if name in rows.column_names
    ]
    others = [
        field.name
        for field in rows.schema
        if field.name not in (*names, column) and not pa.types.is_nested(field.type)
    ]
    return [(name, "ascending") for name in (column, *names, *others)]


def _is_in(values: Any, chosen: Collection[int]) -> Any:
    return pc.is_in(values, pa.array(sorted(chosen), pa.int32()))
