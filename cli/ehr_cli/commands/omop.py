"""`ehr lake omop`: the OMOP CDM tables, the user's vocabulary, mapping rates and quality checks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ehr_cli.options import Data
from ehr_cli.settings import load_settings

if TYPE_CHECKING:
    from ehr_etl.pipeline import TableChange

app = typer.Typer(
    no_args_is_help=True,
    help="The OMOP Common Data Model 5.4, kept from the de-identified records."
    "\n\nExample: ehr lake omop build",
)

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]


@app.command("build")
def build(data: Data = None) -> None:
    """Make the OMOP tables from the de-identified records; later runs of the lake keep them.

    Example: ehr lake omop build --data var/mine
    """
    from ehr_cli.commands.lake_access import now_ms, open_writer

    with open_writer(load_settings().override(data=data)) as writer:
        change = writer.build_omop(now_ms())
    _print_change(change)


@app.command("vocabulary")
def load_vocabulary(
    folder: Annotated[
        Path, typer.Argument(help="Unpacked download from Athena, with CONCEPT.csv.")
    ],
    data: Data = None,
) -> None:
    """Load your own vocabulary from Athena, and look every code up again.

    Only rows that change are written; loading the same folder again changes nothing.

    Example: ehr lake omop vocabulary ~/Downloads/vocabulary_download_v5
    """
    from ehr_cli.commands.lake_access import now_ms, open_writer
    from ehr_etl.omop.athena import load_vocabulary as load_folder
    from ehr_etl.omop.writer import create_omop_tables

    with open_writer(load_settings().override(data=data)) as writer:
        create_omop_tables(writer.lake)
        report = load_folder(writer.lake, folder)
        for name, rows in report.rows.items():
            typer.echo(f"{name}: {rows:,} rows.")
        change = writer.remap_omop(now_ms())
    known = "was loaded before" if report.is_known else "is loaded"
    typer.echo(f"Vocabulary release {report.release} {known}.")
    _print_change(change)


@app.command("report")
def print_report(
    data: Data = None,
    as_json: AsJson = False,
    plot: Annotated[Path | None, typer.Option(help="Write a plot to this PNG file.")] = None,
) -> None:
    """Show how much of each table has a standard concept, and what is left out, with reasons.

    Example: ehr lake omop report --plot mapping.png
    """
    from ehr_cli.commands.lake_access import open_lake
    from ehr_etl.console_table import print_table
    from ehr_etl.omop.mapping_report import draw_mapping_rates, read_mapping_report

    report = read_mapping_report(open_lake(load_settings().override(data=data)))
    if plot is not None:
        draw_mapping_rates(report, plot)
        typer.echo(f"{plot}: mapping rates.", err=True)
    if as_json:
        typer.echo(json.dumps(report.to_json(), indent=2))
        return
    rates = [
        (
            rate.table,
            rate.system,
            rate.rows,
            rate.mapped,
            "" if rate.percent is None else f"{rate.percent:g} %",
        )
        for rate in (*report.rates, *report.by_system)
    ]
    rates.sort()
    title = f"Standard concepts; vocabulary release: {report.state.release}"
    if not report.state.vocabulary:
        title += " (the built-in crosswalk alone, which is no release)"
    print_table(("Table", "Code system", "Rows", "Mapped", "Part"), rates, title=title)
    unmapped = [(rate.table, rate.system, rate.reason, rate.rows) for rate in report.unmapped]
    print_table(("Table", "Code system", "Reason of concept 0", "Rows"), unmapped)
    left_out = [(item.resource_type, item.reason, item.records) for item in report.exclusions]
    print_table(("Record", "Left out or remarked", "Records"), left_out)


@app.command("check")
def check(
    data: Data = None,
    as_json: AsJson = False,
    csv: Annotated[Path | None, typer.Option(help="Write one line per check to this file.")] = None,
) -> None:
    """Run the Data Quality Dashboard's checks; exit with 1 if one fails.

    Example: ehr lake omop check --csv checks.csv
    """
    from ehr_cli.commands.lake_access import open_lake
    from ehr_etl.console_table import print_table
    from ehr_etl.omop.quality_dashboard import run_checks, summarize_checks, to_json, write_csv

    results = run_checks(open_lake(load_settings().override(data=data)))
    if csv is not None:
        write_csv(results, csv)
    if as_json:
        typer.echo(json.dumps(to_json(results), indent=2))
    else:
        rows: list[tuple[str | int, ...]] = [
            (name, *(counts[key] for key in ("executed", "passed", "failed", "not applicable")))
            for name, counts in summarize_checks(results).items()
        ]
        print_table(("Check", "Executed", "Passed", "Failed", "Not applicable"), rows)
        failed = [
            (result.check, result.table, result.field, result.violations, result.rows)
            for result in results
            if result.status == "failed"
        ]
        if failed:
            print_table(("Failed check", "Table", "Column", "Violations", "Of"), failed)
    if any(result.status == "failed" for result in results):
        raise typer.Exit(1)


def _print_change(change: TableChange) -> None:
    written = sorted(change.written)
    typer.echo(f"Written: {', '.join(written)}." if written else "Nothing changed.")
