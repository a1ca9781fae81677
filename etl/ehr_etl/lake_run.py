"""One run over the lake: the feed, the tables, the quality gate and upkeep; and its report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from ehr_etl.data_quality.expectations import preload_great_expectations
from ehr_etl.data_quality.results import TableQuality
from ehr_etl.gold.promotion import HeldPromotion, list_held_promotions
from ehr_etl.jobs import Runner
from ehr_etl.lake import Lake
from ehr_etl.pipeline import LakeWriter, ReadKey
from ehr_etl.tables.bronze import FeedSource
from ehr_etl.tables.decisions import ClosedRecords
from ehr_etl.tables.silver import SilverReport

__all__ = ["STEPS", "LakeReport", "TableRows", "run_once"]

STEPS = ("feed", "tables", "quality")
# Called when a step starts: its name, and a sentence for people.
ShowProgress = Callable[[str, str], None]


@dataclass(frozen=True)
class TableRows:
    """How many rows a table had before the run and has after it."""

    table: str
    before: int
    after: int


@dataclass(frozen=True)
class LakeReport:
    """What one run did."""

    landed: int
    last_position: int
    silver: SilverReport
    tables: tuple[TableRows, ...]
    quality: tuple[TableQuality, ...]
    seconds: Mapping[str, float]
    closed: ClosedRecords
    # Tables that were written, and those of them that were made anew.
    written: frozenset[str] = frozenset()
    rebuilt: tuple[str, ...] = ()
    # Tables of users' own views that could not be brought up to date, and are gone.
    dropped: frozenset[str] = frozenset()
    # Records of gold tables that are kept at their last good rows.
    held_promotions: tuple[HeldPromotion, ...] = ()

    def rows_in(self, table: str) -> int:
        """Return how many rows a table has after the run."""
        return next(rows.after for rows in self.tables if rows.table == table)

    @property
    def quality_passed(self) -> bool:
        """Say whether every gold table met its expectations."""
        return all(quality.success for quality in self.quality if quality.table != "silver")


def run_once(
    lake: Lake,
    feed: FeedSource,
    *,
    deid_key: bytes,
    now_ms: int,
    runner: Runner | None = None,
    retention_hours: int | None = None,
    read_erasure_key: ReadKey = lambda: None,
    record_lineage: Callable[[LakeWriter], object] = lambda writer: None,
    on_progress: ShowProgress = lambda step, sentence: None,
) -> LakeReport:
    """Take in what is new in the feed and bring every table up to it.

    With a time of retention, old files are deleted then. At the end `record_lineage` puts on record
    what the tables have become.
    """
    seconds: dict[str, float] = {}

    @contextmanager
    def step(name: str, sentence: str) -> Iterator[None]:
        on_progress(name, sentence)
        started = time.perf_counter()
        yield
        seconds[name] = round(time.perf_counter() - started, 2)

    with LakeWriter(lake, deid_key, runner, read_erasure_key=read_erasure_key) as writer:
        before = writer.count_rows()
        with step("feed", "Reading the gateway's change feed."):
            first = writer.cursor.sequence
            writer.take_in(feed)
        preload_great_expectations()
        with step("tables", "Bringing the tables up to it."):
            change = writer.bring_up(now_ms)
        with step("quality", "Checking the tables for research."):
            quality = writer.check_quality(change)
        if retention_hours is not None:
            writer.maintain(retention_hours, now_ms)
        record_lineage(writer)
        tables = tuple(
            TableRows(name, before.get(name, 0), count)
            for name, count in writer.count_rows().items()
        )
        return LakeReport(
            landed=writer.cursor.sequence - first,
            last_position=writer.cursor.position,
            silver=change.silver,
            tables=tables,
            quality=quality,
            seconds=seconds,
            closed=change.closed,
            written=frozenset(change.written),
            rebuilt=tuple(change.rebuilt),
            dropped=frozenset(change.dropped),
            held_promotions=list_held_promotions(lake),
        )
