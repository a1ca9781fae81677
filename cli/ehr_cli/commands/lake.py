"""`ehr lake`: run the pipeline over the gateway's feed, write views, show the quality results."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import typer

from ehr_cli.settings import Settings
from ehr_etl.lake import Lake
from ehr_fhir.errors import NotFound, Unauthorized, Unavailable

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from ehr_etl.pipeline import LakeReport

# How long `--follow` waits between two reads of the feed. Chosen.
PAUSE_SECONDS = 10


def start_spark(settings: Settings) -> SparkSession:
    """Start the one Spark session."""
    from ehr_etl.spark.session import SparkSettings, spark_session

    chosen = SparkSettings(settings.spark_master, settings.spark_memory)
    return spark_session(settings.data / "spark", chosen)


def open_lake(settings: Settings) -> Lake:
    """Return the lake of a data folder."""
    return Lake(settings.lake)


def run_lake(settings: Settings, feed: str | None, *, once: bool) -> None:
    """Bring the lake up to date, and send the results of the quality gate back."""
    base_url = feed or settings.base_url
    # A first token before Spark starts: its start takes seconds, and no gateway may answer.
    with httpx.Client(base_url=base_url, timeout=120) as client:
        fetch_program_token(client, settings.data, "lake")
    spark = start_spark(settings)
    while True:
        report = run_pipeline(settings, spark, base_url, lambda text: typer.echo(text, err=True))
        typer.echo(f"{report.landed:,} changes read; {summarize_rows(report)}.")
        if not report.quality_passed:
            typer.echo("Some expectations were not met: see `ehr lake quality`.", err=True)
        send_quality(settings, base_url, report)
        if once:
            return
        time.sleep(PAUSE_SECONDS)


def write_view(settings: Settings, file: Path) -> None:
    """Write one ViewDefinition over the de-identified records to a gold table, without Spark."""
    from ehr_etl.gold.delta_views import write_view_table
    from ehr_etl.gold.library import read_view_file

    definition = read_view_file(file)
    lake = open_lake(settings)
    rows = write_view_table(lake, definition)
    typer.echo(f"{lake.table_path(f'gold/{definition.name}')}: {rows:,} rows.")


def write_dictionary(settings: Settings) -> None:
    """Write the dictionary of all views to a table of the lake, and show where it is."""
    from ehr_etl.gold.dictionary import TABLE, write_dictionary

    lake = open_lake(settings)
    rows = write_dictionary(lake)
    typer.echo(f"{lake.table_path(TABLE)}: {rows:,} columns.")


def report_conformance(suite: Path, file: Path, engine: str, settings: Settings) -> bool:
    """Run SQL on FHIR's official tests; write the report and say whether all passed."""
    from ehr_etl.gold.view_engines import run_records_on_duckdb, run_records_on_spark
    from ehr_etl.sql_on_fhir.official_suite import build_report, count_passed, read_cases

    cases = list(read_cases(suite))
    if engine == "spark":
        report = build_report(cases, run_records_on_spark(start_spark(settings)))
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


def run_pipeline(
    settings: Settings, spark: SparkSession, base_url: str, say: Callable[[str], None]
) -> LakeReport:
    """Run the pipeline once over the gateway's feed."""
    from ehr_etl.change_feed.gateway_feed import HttpFeed
    from ehr_etl.pipeline import run_once

    with httpx.Client(base_url=base_url, timeout=120) as client:
        feed = HttpFeed(client, fetch_program_token(client, settings.data, "lake"))
        return run_once(
            spark,
            open_lake(settings),
            feed,
            deid_key=read_deid_key(settings.data),
            now_ms=time.time_ns() // 1_000_000,
            on_progress=lambda step, sentence: say(sentence),
        )


def send_quality(settings: Settings, base_url: str, report: LakeReport) -> int:
    """Send the results of the quality gate to the gateway; return how many reports."""
    from ehr_etl.data_quality.measure_reports import build_measure_reports, send_measure_reports

    at = datetime.now(UTC).isoformat(timespec="seconds")
    reports = build_measure_reports(report.quality, at)
    with httpx.Client(base_url=base_url, timeout=120) as client:
        send_measure_reports(client, fetch_program_token(client, settings.data, "lake"), reports)
    return len(reports)


def summarize_rows(report: LakeReport) -> str:
    """Return the row counts of the tables in one line."""
    rows = {change.table: change.after for change in report.tables}
    gold = sum(count for table, count in rows.items() if table.startswith("gold/"))
    return (
        f"silver {rows['silver']:,}, quarantine {rows['quarantine']:,}, "
        f"deid {rows['deid']:,}, gold {gold:,} rows"
    )


def read_deid_key(data: Path) -> bytes:
    """Return the HMAC key of the pseudonyms; whoever has it can link them to patients."""
    path = data / "keys" / "deid.key"
    if not path.exists():
        raise NotFound(f"{path} is missing: start `ehr up` once on this data folder.")
    return path.read_bytes()


def fetch_program_token(client: httpx.Client, data: Path, program: str) -> str:
    """Return a token of one of the platform's programs (OAuth 2 client credentials grant)."""
    # The data folder knows the whole gateway, which takes a second to import; views do without.
    from ehr_cli.data_folder import read_program_secret

    try:
        answer = client.post(
            "/oauth/token",
            data={"grant_type": "client_credentials"},
            auth=(program, read_program_secret(data, program)),
        )
    except httpx.TransportError as error:
        raise Unavailable("The gateway does not answer: is `ehr up` running?") from error
    except FileNotFoundError as error:
        raise NotFound(
            f"The data folder {data} holds no secret for {program}: start `ehr up` on it once."
        ) from error
    if answer.status_code != 200:
        raise Unauthorized(f"The gateway refused the secret of {program}.")
    return str(answer.json()["access_token"])
