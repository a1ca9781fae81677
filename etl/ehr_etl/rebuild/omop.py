"""OMOP tables made anew, part by part: first the records of no person, then the persons.

Records of no person are in buckets of their own, by the name that others refer to them by, so they
are sent there through scratch files. A part of the persons is made by the function that a batch
calls, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import orjson
import pyarrow as pa
from deltalake.transaction import AddAction

from ehr_etl.jobs import RunParts, cut_into_parts
from ehr_etl.lake import GOLD_BUCKET, Lake
from ehr_etl.omop.cdm import build_table, concatenate_lists, table_name, table_schema
from ehr_etl.omop.shared_records import IS_SHARED_RECORD, build_shared_rows
from ehr_etl.omop.split_persons import SplitPerson, find_split_persons
from ehr_etl.omop.state import OmopState
from ehr_etl.omop.writer import (
    WRITTEN_BY_PERSON,
    WRITTEN_BY_RECORD,
    OmopWriter,
    Row,
    create_omop_tables,
)
from ehr_etl.rebuild.scratch import clear_scratch, read_part, send_to_parts
from ehr_etl.tables.bucketed import Layout, read_buckets
from ehr_etl.tables.files import replace_table, write_bucket_files

__all__ = ["rebuild_omop"]

# Buckets of one part: some dozens of MB of rows. Chosen.
_PART_BUCKETS = 16
_SCRATCH = "omop-shared"
_SENT = pa.schema([("name", pa.string()), ("resource", pa.string())])

Files = dict[str, list[AddAction]]


@dataclass(frozen=True)
class _Job:
    """What every part needs to know."""

    lake: Lake
    layout: Layout
    state: OmopState
    now_ms: int
    # Of each bucket the number of its part.
    part_of: tuple[int, ...]
    split: Mapping[str, SplitPerson]

    def writer(self) -> OmopWriter:
        return OmopWriter(self.lake, self.layout, self.state, self.now_ms)


def rebuild_omop(
    run: RunParts, slots: int, lake: Lake, layout: Layout, state: OmopState, now_ms: int
) -> set[str]:
    """Make all OMOP tables from deid, each switched by one commit; return their names."""
    create_omop_tables(lake)
    parts = cut_into_parts(layout.buckets, slots, _PART_BUCKETS)
    part_of = [number for number, buckets in enumerate(parts) for _ in buckets]
    job = _Job(lake, layout, state, now_ms, tuple(part_of), find_split_persons(lake, layout))
    # What a rebuild that was cut short left.
    clear_scratch(lake)
    for _ in run(partial(_send_shared, job), parts):
        pass
    files = concatenate_lists(run(partial(_write_shared, job), range(len(parts))))
    clear_scratch(lake)
    # Persons are made with what is there of these.
    _replace(lake, "shared_records", files)
    files = concatenate_lists([files, *run(partial(_write_persons, job), parts)])
    names = dict.fromkeys((*WRITTEN_BY_PERSON, *WRITTEN_BY_RECORD))
    for name in names:
        if name != "shared_records":
            _replace(lake, name, files)
    writer = job.writer()
    writer.write_fixed_tables()
    return {*map(table_name, names), *writer.written}


def _send_shared(job: _Job, buckets: tuple[int, ...]) -> None:
    """Send the records of no person of some buckets of deid to their parts."""
    records = read_buckets(job.lake.open_table("deid"), buckets)
    rows = [{"name": f"{row['type']}/{row['id']}", "resource": row["resource"]}
            for row in records.filter(IS_SHARED_RECORD).to_pylist()]  # fmt: skip
    numbers = [job.part_of[job.layout.place(row["name"])] for row in rows]
    sent = pa.Table.from_pylist(rows, schema=_SENT)
    send_to_parts(job.lake, _SCRATCH, sent, pa.array(numbers, pa.int32()))


def _write_shared(job: _Job, number: int) -> Files:
    """Write the rows of a part's records of no person."""
    sent = read_part(job.lake, _SCRATCH, number, _SENT).to_pylist()
    resources = ((row["name"], orjson.loads(row["resource"])) for row in sent)
    rows_by_table = build_shared_rows(job.layout, resources, job.writer().vocabulary)
    return _write_rows(job.lake, rows_by_table)


def _write_persons(job: _Job, buckets: tuple[int, ...]) -> Files:
    """Write the rows of the persons of some buckets."""
    return _write_rows(job.lake, job.writer().build_buckets(buckets, job.split))


def _write_rows(lake: Lake, rows_by_table: Mapping[str, list[Row]]) -> Files:
    return {
        name: write_bucket_files(
            lake, table_name(name), build_table(name, rows), column=GOLD_BUCKET
        )
        for name, rows in rows_by_table.items()
    }


def _replace(lake: Lake, name: str, files: Files) -> None:
    replace_table(lake, table_name(name), table_schema(name), files.get(name, []), GOLD_BUCKET)
