"""One run of the lake: feed, bronze, silver, consent, deid, gold, quality.

Every step is idempotent: what a crash left half done, the next run does again, and the tables end
as after an undisturbed run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from pyspark.sql import SparkSession

from ehr_etl.change_feed.held_facts import pull_held_facts, unite_held_facts
from ehr_etl.change_feed.landing import FeedSource, pull_feed
from ehr_etl.change_feed.memberships import pull_memberships
from ehr_etl.data_quality.expectations import check_gold_tables, preload_great_expectations
from ehr_etl.data_quality.results import TableQuality, write_quality_results
from ehr_etl.gold.library import list_view_names, load_view
from ehr_etl.gold.tables import build_gold_table, gold_table_name
from ehr_etl.lake import Lake, count_rows
from ehr_etl.spark.java_errors import translate_java_errors
from ehr_etl.tables.bronze import append_to_bronze
from ehr_etl.tables.consent_tables import refresh_consent_tables, write_held_facts
from ehr_etl.tables.deid import refresh_deid
from ehr_etl.tables.quarantine import summarize_silver
from ehr_etl.tables.silver import SilverReport, refresh_silver

STEPS = ("feed", "bronze", "silver", "consent", "deid", "gold", "quality")

# Called when a step starts: its name, and a sentence for people.
Progress = Callable[[str, str], None]


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

    def rows_in(self, table: str) -> int:
        """Return how many rows a table has after the run."""
        return next(rows.after for rows in self.tables if rows.table == table)

    @property
    def quality_passed(self) -> bool:
        """Say whether every gold table met its expectations."""
        return all(quality.success for quality in self.quality if quality.table != "silver")


def run_once(
    spark: SparkSession,
    lake: Lake,
    feed: FeedSource,
    *,
    deid_key: bytes,
    now_ms: int,
    on_progress: Progress = lambda step, sentence: None,
) -> LakeReport:
    """Take in what is new in the feed and bring every table up to it."""
    seconds: dict[str, float] = {}
    views = list_view_names()
    rows_before = _count_table_rows(lake, views)
    preload_great_expectations()

    @contextmanager
    def step(name: str, sentence: str) -> Iterator[None]:
        on_progress(name, sentence)
        started = time.perf_counter()
        with translate_java_errors(f"running the lake's step {name}"):
            yield
        seconds[name] = round(time.perf_counter() - started, 2)

    with step("feed", "Reading the gateway's change feed."):
        # Before and after: the author's next version, not landed yet, may end a third party's.
        held_before = pull_held_facts(feed)
        landing = pull_feed(feed, lake)
        held_after = pull_held_facts(feed)
        memberships = pull_memberships(feed)
    with step("bronze", "Keeping the changes as received."):
        append_to_bronze(spark, lake)
    with step("silver", "Checking each record and keeping the latest version."):
        silver = refresh_silver(spark, lake)
    with step("consent", "Reading the consent rules from the records."):
        consent = refresh_consent_tables(spark, lake, memberships)
        held_facts = write_held_facts(lake, unite_held_facts(held_before, held_after))
    with step("deid", "Taking out what identifies, of patients who have not opted out."):
        refresh_deid(spark, lake, consent, held_facts, deid_key, now_ms)
    with step("gold", "Building the tables for research."):
        for view in views:
            build_gold_table(spark, lake, load_view(view))
    with step("quality", "Checking the tables for research."):
        quality = (summarize_silver(lake), *check_gold_tables(lake, views))
        write_quality_results(lake, quality)
    rows_after = _count_table_rows(lake, views)
    tables = tuple(
        TableRows(name, rows_before.get(name, 0), count) for name, count in rows_after.items()
    )
    return LakeReport(landing.lines, landing.last_position, silver, tables, quality, seconds)


def _count_table_rows(lake: Lake, views: tuple[str, ...]) -> dict[str, int]:
    names = ("bronze", "silver", "quarantine", "deid", *map(gold_table_name, views))
    return {name: count_rows(lake, name) for name in names if lake.has_table(name)}
