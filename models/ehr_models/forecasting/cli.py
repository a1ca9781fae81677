"""The commands `ehr models forecast ...`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ehr_etl.console_table import print_table
from ehr_fhir.errors import NotFound
from ehr_models.forecasting.tasks import TASKS, ForecastTask, get_task
from ehr_models.model_store import ModelStore, ModelVersion

if TYPE_CHECKING:
    from ehr_models.forecasting.panel import Panel
    from ehr_models.forecasting.train import Trained

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="Forecasts of A&E attendances and bed demand, 1 to 28 days ahead, by hospital."
    "\n\nExample: ehr models forecast train attendances",
)

TaskKey = Annotated[str, typer.Argument(help=f"What to forecast: {' or '.join(TASKS)}.")]
Data = Annotated[Path, typer.Option("--data", help="The platform's data folder.")]
HolidayFile = Annotated[
    Path | None, typer.Option(help="CSV of day and name, instead of the jurisdiction's holidays.")
]
Output = Annotated[Path, typer.Argument(help="The file to write.")]
DEFAULT_DATA = Path("var")


@app.command()
def train(
    context: typer.Context,
    task: TaskKey,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", help="CSV of hospital, day and count, instead of the lake's visits."
        ),
    ] = None,
    holidays: HolidayFile = None,
    weather: Annotated[
        Path | None, typer.Option(help="CSV of day and columns of numbers, one row a day.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the drawn numbers: same seed, same forecast.")] = 0,
    data: Data = DEFAULT_DATA,
) -> None:
    """Test every forecaster on the last year, and store the forecasts of what passes the gates.

    Example: ehr models forecast train attendances
    """
    from ehr_models.forecasting.calendar_days import read_holidays, read_weather
    from ehr_models.forecasting.forecaster import HORIZON
    from ehr_models.forecasting.panel import build_panel, read_counts_file
    from ehr_models.forecasting.publish import Provenance, publish
    from ehr_models.forecasting.train import train as train_forecasters

    chosen, now = get_task(task), datetime.now(UTC)
    known, measured = read_holidays(holidays), read_weather(weather)
    if source is not None:
        panel, provenance = build_panel(read_counts_file(source)), Provenance("a file", {}, seed)
    else:
        panel, version = _read_lake(context, chosen, data, now)
        provenance = Provenance("visits of the lake", {"silver": version}, seed)
    trained = train_forecasters(panel, known, measured, seed)
    version_saved = publish(chosen, trained, provenance, data, now)
    _print_scores(trained)
    for hospital, reason in trained.left_out.items():
        typer.echo(f"Left out, too little data: {hospital} ({reason}).")
    days = trained.panel.list_days(len(trained.panel) + HORIZON)
    if unknown := sorted(set(days.year) - known.years):
        typer.echo(f"No public holidays are known of {', '.join(map(str, unknown))}.")
    typer.echo(trained.verdict)
    typer.echo(f"Version {version_saved.number} of {chosen.name} is stored.")


@app.command()
def show(
    task: TaskKey,
    hospital: Annotated[str | None, typer.Option(help="Id of one hospital.")] = None,
    controlled: Annotated[
        bool, typer.Option("--controlled", help="As it may leave the trusted zone.")
    ] = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Print the newest forecasts: the median and both intervals of each day.

    Example: ehr models forecast show beds --controlled
    """
    from ehr_models.forecasting.publish import CONTROLLED_FILE, FORECAST_FILE

    newest = _read_newest(get_task(task), data)
    content = newest.read_json(CONTROLLED_FILE if controlled else FORECAST_FILE)
    rows = [row for row in content["rows"] if hospital in (None, row["hospital"])]
    if not rows:
        raise NotFound("There is no forecast of that hospital.")
    print_table(
        ("hospital", "day", "median", "80 %", "95 %"),
        [
            (
                row["hospital"], row["day"], _format(row["q50"]),
                f"{_format(row['q10'])} to {_format(row['q90'])}",
                f"{_format(row['q2.5'])} to {_format(row['q97.5'])}",
            )
            for row in rows
        ],
        whole=("hospital", "day"),
    )  # fmt: skip
    typer.echo(f"{content['title']} after {content['last_day']}, {content['unit']}.")
    typer.echo(content["verdict"])


@app.command()
def plot(task: TaskKey, output: Output, data: Data = DEFAULT_DATA) -> None:
    """Write the newest forecasts as a picture (SVG) or, to a name in .csv, as its table.

    Both are for the trusted zone: the picture has daily counts.

    Example: ehr models forecast plot attendances attendances.svg
    """
    from ehr_etl.atomic_files import replace_file
    from ehr_models.forecasting.publish import PLOT_FILE, TABLE_FILE

    newest = _read_newest(get_task(task), data)
    replace_file(output, newest.files[TABLE_FILE if output.suffix == ".csv" else PLOT_FILE])
    typer.echo(f"Written: {output}")


@app.command()
def simulate(
    task: TaskKey,
    output: Output,
    hospitals: Annotated[int, typer.Option(min=1, max=200)] = 3,
    days: Annotated[int, typer.Option(min=1, max=4000)] = 1096,
    seed: int = 0,
    first_day: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"])] = datetime(2024, 1, 1),
    holidays: HolidayFile = None,
) -> None:
    """Write made-up counts for `train --from`, to try it: they stand for no real hospital.

    Example: ehr models forecast simulate attendances counts.csv
    """
    import pandas as pd

    from ehr_models.forecasting.calendar_days import read_holidays
    from ehr_models.forecasting.simulation import simulate as make_up

    made = make_up(hospitals, pd.Timestamp(first_day), days, read_holidays(holidays), seed)
    counts = made.beds if get_task(task).key == "beds" else made.attendances
    counts.to_csv(output, index=False)
    typer.echo(f"Written: {output} ({hospitals} hospitals, {days} days, made up)")


def _read_lake(
    context: typer.Context, task: ForecastTask, data: Path, now: datetime
) -> tuple[Panel, int]:
    """Return the counts of the lake, and the version of the table they come from."""
    from ehr_analytics.people import get_platform
    from ehr_analytics.withheld import find_withheld_people
    from ehr_etl.lake import Lake
    from ehr_models.forecasting.visits_source import read_panel

    path = data / "keys" / "deid.key"
    if not path.exists():
        raise NotFound(f"{path} is missing: start `ehr up` once on this data folder.")
    # Before the lake is read: it may follow in between.
    with get_platform(context).open_changes(data) as changed:
        withheld = find_withheld_people(data, changed)
    lake = Lake(data / "lake")
    panel = read_panel(task, lake, path.read_bytes(), now, withheld)
    return panel, int(lake.open_table("silver").version())


def _read_newest(task: ForecastTask, data: Path) -> ModelVersion:
    store = ModelStore(data)
    numbers = store.list_versions(task.name)
    if not numbers:
        raise NotFound(
            f"There is no forecast of {task.key} yet: run `ehr models forecast train {task.key}`."
        )
    return store.read_version(task.name, numbers[-1])


def _print_scores(trained: Trained) -> None:
    rows = []
    for name, table in trained.scores.items():
        every = table.every
        difference = every.comparison.difference
        rows.append(
            (
                name, f"{every.mae:.2f}", f"{every.mase:.2f}",
                f"{max(own.mase for own in table.each):.2f}", f"{every.pinball:.2f}",
                *(f"{share.value:.1%}" for share in every.coverage.values()),
                f"{difference.value:.2f} ({difference.low:.2f} to {difference.high:.2f})",
            )
        )  # fmt: skip
    print_table(
        ("forecaster", "MAE", "MASE", "worst MASE", "pinball", "80 %", "95 %",
         "MAE minus seasonal-naive's"),
        rows,
        whole=("forecaster",),
    )  # fmt: skip
    typer.echo(
        f"{len(trained.panel.hospitals)} hospitals, {trained.judged_origins} origins,"
        f" {trained.panel.first_day:%Y-%m-%d} to {trained.panel.last_day:%Y-%m-%d}."
    )


def _format(value: float | None) -> str:
    return "hidden" if value is None else f"{value:.0f}"
