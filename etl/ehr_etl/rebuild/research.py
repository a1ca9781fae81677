"""Deid and gold tables made anew, part by part: all records of a patient are in one bucket.

Deid is a function of silver and decisions, a gold table one of deid; a part of both is made at
once, so that a record is read and written once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
from deltalake.transaction import AddAction

from ehr_etl.gold.library import list_view_names
from ehr_etl.gold.promotion import gate_rows
from ehr_etl.gold.tables import gold_rows, gold_schema
from ehr_etl.jobs import RunParts, cut_into_parts
from ehr_etl.lake import GOLD_BUCKET, TABLES, Lake, gold_table_name
from ehr_etl.sql_on_fhir import ViewDefinition
from ehr_etl.tables.bucketed import Layout, create_table, read_buckets
from ehr_etl.tables.decisions import ClosedRecords, list_patients, read_decisions
from ehr_etl.tables.deid import RecordScrubber
from ehr_etl.tables.files import read_bucket_files, replace_table, write_bucket_files
from ehr_etl.tables.people import read_people
from ehr_fhir.errors import EhrError

__all__ = ["RebuiltTable", "rebuild_research"]

# Buckets of one part: some dozens of MB of rows. Chosen.
_PART_BUCKETS = 16


@dataclass(frozen=True)
class RebuiltTable:
    """A table that was made anew; the error of a view that does not bear the data."""

    name: str
    error: EhrError | None = None
    closed: ClosedRecords = field(default_factory=ClosedRecords)


@dataclass(frozen=True)
class _Job:
    """What every part needs to know; `key` only where deid is made too."""

    lake: Lake
    layout: Layout
    key: bytes | None
    views: Mapping[str, ViewDefinition]
    now_ms: int


@dataclass
class _PartResult:
    """The files that a part wrote, by table, and the views that failed."""

    files: dict[str, list[AddAction]] = field(default_factory=dict)
    errors: dict[str, EhrError] = field(default_factory=dict)
    closed: ClosedRecords = field(default_factory=ClosedRecords)


def rebuild_research(
    run: RunParts,
    slots: int,
    lake: Lake,
    layout: Layout,
    *,
    key: bytes | None,
    views: Sequence[ViewDefinition],
    now_ms: int,
) -> Iterator[RebuiltTable]:
    """Make deid anew, if its key is given, and the tables of views; yield each as it is switched.

    Deid is first. A view's table is not switched where a row of it could not be made.
    """
    job = _Job(lake, layout, key, {gold_table_name(view.name): view for view in views}, now_ms)
    parts = cut_into_parts(layout.buckets, slots, _PART_BUCKETS)
    files: defaultdict[str, list[AddAction]] = defaultdict(list)
    errors: dict[str, EhrError] = {}
    closed = ClosedRecords()
    for written in run(partial(_write_part, job), parts):
        for name, actions in written.files.items():
            files[name] += actions
        errors.update(written.errors)
        closed.add(written.closed)
    if key is not None:
        spec = TABLES["deid"]
        replace_table(lake, "deid", spec.schema, files["deid"], spec.partitioned_by)
        yield RebuiltTable("deid", closed=closed)
    for name, view in job.views.items():
        if name not in errors:
            schema = gold_schema(view)
            if not lake.has_table(name):
                create_table(lake, name, schema, GOLD_BUCKET)
            actions = _gate_files(lake, layout, view, files[name])
            replace_table(lake, name, schema, actions, GOLD_BUCKET)
        yield RebuiltTable(name, errors.get(name))


def _gate_files(
    lake: Lake, layout: Layout, view: ViewDefinition, actions: list[AddAction]
) -> list[AddAction]:
    """Check a table's new rows before it is switched; return the files that it is to have."""
    if view.name not in list_view_names():
        return actions
    name = gold_table_name(view.name)
    rows = read_bucket_files(lake, name, gold_schema(view), actions, column=GOLD_BUCKET)
    gated = gate_rows(lake, view, rows, buckets=range(layout.buckets), replaced=None)
    if gated is rows:
        return actions
    # Files of no commit are deleted at the next upkeep.
    return write_bucket_files(lake, name, gated, column=GOLD_BUCKET)


def _write_part(job: _Job, buckets: tuple[int, ...]) -> _PartResult:
    written = _PartResult()
    if job.key is None:
        records = read_buckets(job.lake.open_table("deid"), buckets)
    else:
        records = _scrub_part(job, job.key, buckets, written.closed)
        written.files["deid"] = write_bucket_files(job.lake, "deid", records)
    for name, view in job.views.items():
        try:
            rows = gold_rows(view, records)
        except EhrError as error:
            written.errors[name] = error
            continue
        written.files[name] = write_bucket_files(job.lake, name, rows, column=GOLD_BUCKET)
    return written


def _scrub_part(job: _Job, key: bytes, buckets: tuple[int, ...], closed: ClosedRecords) -> pa.Table:
    """Return the rows of deid of some buckets."""
    silver = read_buckets(job.lake.open_table("silver"), buckets)
    rows = silver.filter(pc.invert(silver.column("deleted"))).to_pylist()
    patients = {patient for row in rows for patient in list_patients(row)}
    known = read_people(job.lake, job.layout, patients, rows)
    decisions = read_decisions(job.lake, job.layout, patients)
    scrubber = RecordScrubber(key, job.now_ms, closed)
    scrubbed = (scrubber.scrub(row, decisions, known) for row in rows)
    kept = [row for row in scrubbed if row is not None]
    return pa.Table.from_pylist(kept, schema=TABLES["deid"].schema).sort_by(
        [("bucket", "ascending"), ("type", "ascending"), ("id", "ascending")]
    )
