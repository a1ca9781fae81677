"""`ehr privacy`: the risk of re-identification of a table, and k-anonymous extracts of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ehr_cli.commands.privacy_budget import budget_app
from ehr_cli.options import Data

if TYPE_CHECKING:
    import pyarrow as pa

    from ehr_privacy.risk import AnonymityTerms

app = typer.Typer(
    no_args_is_help=True,
    help="Risk of re-identification, measured on a table as it leaves; budgets of noisy answers."
    "\n\nExample: ehr privacy risk patient_demographics --quasi birth_year,gender,region",
)
app.add_typer(budget_app, name="budget")

Table = Annotated[
    str, typer.Argument(help="A gold view, or a Parquet or CSV file.", metavar="TABLE")
]
Quasi = Annotated[str, typer.Option(help="Columns that others may know, with commas.")]
Sensitive = Annotated[str | None, typer.Option(help="A column that nobody shall learn.")]


@app.command()
def risk(
    table: Table,
    quasi: Quasi,
    sensitive: Sensitive = None,
    population: Annotated[
        str | None, typer.Option(help="A table of all people that the journalist knows.")
    ] = None,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Risk above which a row counts.")
    ] = 0.09,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
    data: Data = None,
) -> None:
    """Show uniqueness and the risks of prosecutor, journalist and marketer of a table.

    Example: ehr privacy risk patient_demographics --quasi birth_year,gender,region
    """
    import dataclasses

    import orjson

    from ehr_etl.console_table import print_table
    from ehr_privacy.risk import measure_diversity, measure_risk

    rows, names = _read_table(table, data), _split(quasi)
    known = None if population is None else _read_table(population, data)
    _require_columns(rows.column_names, [*names, *([sensitive] if sensitive else [])])
    report = measure_risk(rows, names, population=known, threshold=threshold)
    figures: dict[str, object] = {
        **dataclasses.asdict(report),
        "uniqueness": report.uniqueness,
        "threshold": threshold,
    }
    if sensitive is not None and rows.num_rows:
        diversity = measure_diversity(rows, names, sensitive)
        figures |= {"distinct_sensitive": diversity.distinct, "closeness": diversity.closeness}
    if as_json:
        typer.echo(orjson.dumps(figures).decode())
        return
    shown = [
        (name.replace("_", " "), "not measured" if value is None else f"{value:.6g}")
        for name, value in figures.items()
    ]
    print_table(("Measure", "Value"), shown, title=f"{table} by {', '.join(names)}")


@app.command()
def extract(
    table: Table,
    quasi: Quasi,
    out: Annotated[Path, typer.Option(help="The Parquet file to write.")],
    k: Annotated[int, typer.Option("--k", min=2, help="Rows that share their values.")] = 10,
    sensitive: Sensitive = None,
    l_values: Annotated[
        int, typer.Option("--l", min=1, help="Different sensitive values in each class.")
    ] = 1,
    t_distance: Annotated[
        float, typer.Option("--t", min=0, max=1, help="Most distance of a class to the table.")
    ] = 1.0,
    on_spark: Annotated[
        bool, typer.Option("--spark", help="On Spark: for tables of many millions of rows.")
    ] = False,
    data: Data = None,
) -> None:
    """Write a k-anonymous extract: the generalised columns and the sensitive one, no key.

    What is written is measured again, from the file, before the command says that it is done.

    Example: ehr privacy extract patient_demographics --quasi birth_year,gender --out people.parquet
    """
    import pyarrow.parquet as pq

    from ehr_fhir.errors import Conflict
    from ehr_privacy.risk import AnonymityTerms, measure_diversity, measure_risk

    names, terms = _split(quasi), AnonymityTerms(k, sensitive, l_values, t_distance)
    anonymize = _anonymize_on_spark if on_spark else _anonymize
    pq.write_table(anonymize(table, names, terms, data), out)
    written = pq.read_table(out)
    report = measure_risk(written, names)
    is_met = report.k >= k or not written.num_rows
    if sensitive is not None and written.num_rows:
        diversity = measure_diversity(written, names, sensitive)
        is_met &= diversity.distinct >= l_values and diversity.closeness <= t_distance + 1e-9
    if not is_met:
        out.unlink()
        raise Conflict("The extract does not meet its terms, and is deleted.")
    typer.echo(f"{report.rows} rows in {report.classes} classes of {report.k} and more.")


def _anonymize(table: str, names: list[str], terms: AnonymityTerms, data: Path | None) -> pa.Table:
    from ehr_privacy.risk import anonymize

    rows = _read_table(table, data)
    kept = [*names, *([terms.sensitive] if terms.sensitive else [])]
    _require_columns(rows.column_names, kept)
    return anonymize(rows.select(kept), names, terms)


def _anonymize_on_spark(
    table: str, names: list[str], terms: AnonymityTerms, data: Path | None
) -> pa.Table:
    from ehr_analytics.spark_extract import anonymize_on_spark
    from ehr_cli.commands.lake_access import open_lake, start_spark
    from ehr_cli.settings import load_settings
    from ehr_etl.lake import gold_table_name
    from ehr_fhir.errors import NotFound

    settings = load_settings().override(data=data)
    lake, file = open_lake(settings), Path(table)
    if file.suffix == ".parquet" and file.is_file():
        frame = start_spark(settings).read.parquet(str(file))
    elif not lake.tables_url and lake.has_table(gold_table_name(table)):
        url = lake.table_url(gold_table_name(table))
        frame = start_spark(settings).read.format("delta").load(url)
    else:
        raise NotFound(f"The data folder has no gold view and there is no Parquet file {table!r}.")
    _require_columns(frame.columns, [*names, *([terms.sensitive] if terms.sensitive else [])])
    return anonymize_on_spark(frame, names, terms).toArrow()


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _read_table(name: str, data: Path | None) -> pa.Table:
    import pyarrow.csv
    import pyarrow.parquet as pq

    from ehr_cli.commands.lake_access import open_lake
    from ehr_cli.settings import load_settings
    from ehr_etl.lake import gold_table_name, read_small_table
    from ehr_fhir.errors import NotFound

    file = Path(name)
    if file.suffix == ".parquet" and file.is_file():
        return pq.read_table(file)
    if file.suffix == ".csv" and file.is_file():
        return pyarrow.csv.read_csv(file)
    lake = open_lake(load_settings().override(data=data))
    if not lake.has_table(gold_table_name(name)):
        raise NotFound(f"There is no gold view and no Parquet or CSV file {name!r}.")
    return read_small_table(lake, gold_table_name(name))


def _require_columns(there: list[str], names: list[str]) -> None:
    from ehr_fhir.errors import Unprocessable

    missing = sorted(set(names) - set(there))
    if missing or not names:
        raise Unprocessable(f"No column {', '.join(missing)}; there are: {', '.join(there)}.")
