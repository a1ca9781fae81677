"""`ehr lake`: run the pipeline over the gateway's feed, write views, show the quality results."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ehr_cli.commands.lake_access import (
    RETRY_SECONDS,
    WAIT_SECONDS,
    choose_runner,
    now_ms,
    open_feed,
    open_gateway,
    open_http_feed,
    open_lake,
    open_writer,
    read_deid_key,
    read_erasure_key,
    send_lineage,
    start_spark,
)
from ehr_cli.settings import Settings
from ehr_fhir.errors import Conflict, NotFound, Unavailable, Unprocessable

if TYPE_CHECKING:
    from ehr_etl.data_quality.results import TableQuality
    from ehr_etl.gold.promotion import HeldPromotion
    from ehr_etl.lake_run import LakeReport
    from ehr_etl.sql_on_fhir import ViewDefinition

# Why a record may not be used for research, by the reason that the decision gives.
_CLOSED = {
    "at-fault": "conflict with others of their person",
    "not-joined": "whose patient has not joined",
    "opted-out": "whose patient opted out of research",
    "restricted": "that are closed to everyone",
    "patient-deleted": "whose patient is deleted",
    "role": "of a kind that is never used, such as Consent",
    "no-patient": "about no patient",
    "facts-in-doubt": "whose facts are not understood",
    "rules-in-doubt": "whose patient's rules are not understood",
    "newer-version-in-quarantine": "of which a newer version waits in quarantine",
}


def publish_feed(settings: Settings, topic: str, feed: str | None, *, once: bool) -> None:
    """Write the gateway's feed to a Kafka topic, until stopped or as far as it goes now."""
    from ehr_etl.change_feed.kafka_feed import TopicAddress
    from ehr_etl.change_feed.kafka_feed import publish_feed as publish

    address = TopicAddress.parse(topic)
    while True:
        try:
            with open_http_feed(settings, feed or settings.base_url) as source:
                renewed = time.monotonic() + settings.token_seconds / 2
                while time.monotonic() < renewed:
                    pages = publish(source, address, wait_seconds=0 if once else WAIT_SECONDS)
                    if pages:
                        typer.echo(f"{pages:,} pages written to {address.topic}.")
                    if once:
                        return
        except Unavailable as error:
            if once:
                raise
            typer.echo(f"{error} Asking again.", err=True)
            time.sleep(RETRY_SECONDS)


def run_lake(settings: Settings, feed: str | None) -> None:
    """Bring the lake up to date, and send the results of the quality gate back."""
    # It knows the rules of consent, which take half a second to import.
    from ehr_cli.commands.erasure import finish_pending

    base_url = feed or settings.base_url
    report = run_pipeline(settings, base_url, lambda text: typer.echo(text, err=True))
    typer.echo(f"{report.landed:,} changes read; {summarize_rows(report)}.")
    for sentence in describe_closed(report):
        typer.echo(sentence, err=True)
    for held in report.held_promotions:
        typer.echo(describe_held(held), err=True)
    if not report.quality_passed:
        typer.echo("Some expectations were not met: see `ehr lake quality`.", err=True)
    if report.written:
        send_quality(settings, base_url, report.quality)
        send_faults(settings, base_url)
    finish_pending(settings, lambda text: typer.echo(text, err=True))


def rebuild_table(settings: Settings, table: str) -> None:
    """Rebuild a table of the lake, and the tables that are made of it."""
    with open_writer(settings) as writer:
        change = writer.rebuild(table, now_ms())
    typer.echo(f"Made anew: {', '.join(change.rebuilt)}.")


def describe_held(held: HeldPromotion) -> str:
    """Return a sentence about records that are held back from a gold table.

    >>> from ehr_etl.gold.promotion import HeldPromotion
    >>> describe_held(HeldPromotion("gold/encounter_flat", "id-unique", 2))
    'Promotion failed for 2 records of gold/encounter_flat (id-unique): the last good rows stay.'
    """
    return (
        f"Promotion failed for {held.records:,} records of {held.table} ({held.expectation}):"
        " the last good rows stay."
    )


def print_status(settings: Settings, *, as_json: bool) -> None:
    """Show how far the lake follows the feed, and the sizes of its tables."""
    from ehr_etl.console_table import print_table
    from ehr_etl.status import read_status

    lake = open_lake(settings)
    if not lake.has_table("bronze"):
        raise NotFound("The lake is empty: run `ehr lake run` first.")
    status = read_status(lake)
    if as_json:
        typer.echo(json.dumps(asdict(status), indent=2))
        return
    typer.echo(
        f"Read up to position {status.position:,} and decision {status.decision:,} of the feed;"
        f" {status.lines_waiting:,} lines wait."
    )
    for held in status.held_promotions:
        typer.echo(describe_held(held))
    rows = [
        (table.table, table.rows, table.files, table.bytes_in_use, table.bytes_on_disk)
        for table in status.tables
    ]
    print_table(("Table", "Rows", "Files", "Bytes in use", "Bytes on disk"), rows)


def write_view(settings: Settings, file: Path) -> None:
    """Write one ViewDefinition over the de-identified records to a gold table, without Spark.

    Its definition is kept: every later run brings the table up to date.
    """
    from ehr_etl.gold.delta_views import require_own_name, save_definition, write_view_table
    from ehr_etl.gold.library import read_definition
    from ehr_etl.lake import count_rows, gold_table_name
    from ehr_etl.sql_on_fhir import parse_view
    from ehr_etl.writer_lock import hold_writer_lock

    definition = read_definition(file)
    view = parse_view(definition)
    lake = open_lake(settings)
    with ExitStack() as stack:
        try:
            stack.enter_context(hold_writer_lock(lake))
        except Conflict:
            require_own_name(view)
            save_definition(lake, definition)
            _wait_for_view(settings, view)
            rows = count_rows(lake, gold_table_name(view.name))
        else:
            rows = write_view_table(lake, view)
            # Only after the view has run over the records without an error.
            save_definition(lake, definition)
    typer.echo(f"{lake.table_url(gold_table_name(view.name))}: {rows:,} rows.")


def _wait_for_view(settings: Settings, view: ViewDefinition) -> None:
    """Wait until the process that writes the lake has made the table of a view."""
    from ehr_etl.gold.tables import list_gold_views, view_digest
    from ehr_etl.lake import gold_table_name
    from ehr_etl.progress import load_progress
    from ehr_etl.tables.deid import deid_digest

    lake, name = open_lake(settings), gold_table_name(view.name)
    wanted = view_digest(view, deid_digest(read_deid_key(settings.data)))
    typer.echo("Another process writes this lake: waiting for it to make the table.", err=True)
    deadline = time.monotonic() + 4 * WAIT_SECONDS
    while load_progress(lake).digests.get(name) != wanted:
        if view.name not in list_gold_views(lake):
            raise Unprocessable("A value of a record cannot be held by the type of its column.")
        if time.monotonic() > deadline:
            raise Unavailable("The process that writes the lake did not make the table in time.")
        time.sleep(0.2)


def write_dictionary(settings: Settings) -> None:
    """Write the dictionary of all views to a table of the lake, and show where it is."""
    from ehr_etl.gold.dictionary import TABLE, write_dictionary

    lake = open_lake(settings)
    rows = write_dictionary(lake)
    typer.echo(f"{lake.table_path(TABLE)}: {rows:,} columns.")


def report_conformance(suite: Path, file: Path, engine: str, settings: Settings) -> bool:
    """Run SQL on FHIR's official tests; write the report and say whether all passed."""
    from ehr_etl.gold.view_engines import create_spark_engine, run_records_on_duckdb
    from ehr_etl.sql_on_fhir.official_suite import build_report, count_passed, read_cases

    cases = list(read_cases(suite))
    if engine == "spark":
        report = build_report(cases, create_spark_engine(start_spark(settings)))
    else:
        report = build_report(cases, run_records_on_duckdb)
    file.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    passed, tests = count_passed(report)
    typer.echo(f"{passed} of {tests} tests pass on {engine}: {file}.")
    return passed == tests


def print_quality(settings: Settings) -> None:
    """Show the results of the last run's quality gate."""
    from ehr_etl.console_table import print_table
    from ehr_etl.data_quality.results import read_quality_results

    results = read_quality_results(open_lake(settings))
    if not results:
        raise NotFound("The quality gate has not run yet: run `ehr lake run` first.")
    rows = [
        (
            table.table,
            result.name,
            "passed" if result.success else "FAILED",
            result.evaluated,
            result.unexpected,
        )
        for table in results
        for result in table.results
    ]
    print_table(("Table", "Expectation", "Result", "Rows", "Not as expected"), rows)


def run_pipeline(settings: Settings, base_url: str, say: Callable[[str], None]) -> LakeReport:
    """Run the pipeline once over the gateway's feed."""
    from ehr_etl.lake_run import run_once

    with (
        open_feed(settings, base_url) as feed,
        open_gateway(settings, base_url) as (client, token),
    ):
        return run_once(
            open_lake(settings),
            feed,
            deid_key=read_deid_key(settings.data),
            read_erasure_key=lambda: read_erasure_key(settings.data),
            now_ms=now_ms(),
            runner=choose_runner(settings),
            retention_hours=settings.lake_retention_hours,
            record_lineage=partial(send_lineage, client, token),
            on_progress=lambda step, sentence: say(sentence),
        )


def send_quality(settings: Settings, base_url: str, quality: Sequence[TableQuality]) -> int:
    """Send the results of the quality gate to the gateway; return how many reports."""
    from ehr_etl.data_quality.measure_reports import build_measure_reports, send_measure_reports
    from ehr_etl.tables.scores import read_check_trends, read_trends, summarize_providers

    at = datetime.now(UTC).isoformat(timespec="seconds")
    lake = open_lake(settings)
    reports = build_measure_reports(
        quality,
        at,
        providers=summarize_providers(lake),
        trends=read_trends(lake),
        check_trends=read_check_trends(lake),
    )
    with open_gateway(settings, base_url) as (client, token):
        send_measure_reports(client, token, reports)
    return len(reports)


def send_faults(settings: Settings, base_url: str) -> int:
    """Send what has faults to the gateway, for the steward's worklist; return how many."""
    from ehr_etl.tables.findings import send_findings

    with open_gateway(settings, base_url) as (client, token):
        return send_findings(client, token, open_lake(settings))


def describe_closed(report: LakeReport) -> list[str]:
    """Return sentences on what research may not use, where somebody has to look at it."""
    sentences = []
    if closed := report.closed.reasons:
        counts = ", ".join(
            f"{number:,} {_CLOSED.get(reason, reason)}" for reason, number in sorted(closed.items())
        )
        sentences.append(f"Of the records looked at, {sum(closed.values()):,} are out: {counts}.")
    if doubtful := len(report.closed.patients_in_doubt):
        sentences.append(
            f"The rules of {doubtful:,} patients are not understood: they are out of research."
        )
    sentences += [f"{name} could not be brought up to date: it is gone." for name in report.dropped]
    if report.rows_in("silver") and not report.rows_in("deid"):
        sentences.append(
            "Nothing may be used for research: nobody has joined, or everybody opted out."
        )
    return sentences


def summarize_rows(report: LakeReport) -> str:
    """Return the row counts of the tables in one line."""
    rows = {change.table: change.after for change in report.tables}
    gold = sum(count for table, count in rows.items() if table.startswith("gold/"))
    return (
        f"silver {rows['silver']:,}, quarantine {rows['quarantine']:,}, "
        f"deid {rows['deid']:,}, gold {gold:,} rows"
    )
