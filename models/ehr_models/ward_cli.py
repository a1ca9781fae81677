"""The command `ehr models ward`: alerts of deterioration, beside NEWS2."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ehr_etl.console_table import print_table
from ehr_models.tasks.deterioration import TASK, build_frame, read_identified
from ehr_models.tasks.deterioration.alerting import WardEvaluation, evaluate_ward
from ehr_models.ward.simulation import simulate_ward


def ward(
    simulate: Annotated[
        int | None,
        typer.Option(help="Make up this many stays in place of reading the lake.", min=1),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of what is made up.")] = 1,
    data: Annotated[Path, typer.Option("--data", help="The platform's data folder.")] = Path("var"),
) -> None:
    """Judge the model of deterioration beside NEWS2: alerts per 100 bed-days, PPV, lead time.

    It reads identified records inside the trusted zone and prints figures alone. A made-up ward
    shows that it runs, and tells nothing of any real ward.

    Example: ehr models ward --simulate 2000
    """
    if simulate is None:
        views = read_identified(data)
    else:
        tables = simulate_ward(simulate, seed)
        views = {name: getattr(tables, name) for name in TASK.views}
        typer.echo(f"Made up: {simulate} stays, seed {seed}. No figure tells of a real ward.")
    _show(evaluate_ward(build_frame(views), views["stays"].to_pandas()))


def _show(found: WardEvaluation) -> None:
    evaluation = found.evaluation
    figures = [
        (name, str(performance.auroc), str(performance.auprc), str(performance.brier))
        for name, performance in evaluation.performance.items()
    ]
    print_table(("predictor", "AUROC", "AUPRC", "Brier"), figures)
    rows = [
        (
            title,
            f"{alerts.alerts_per_100_bed_days:.1f}",
            f"{alerts.sensitivity:.1%}",
            f"{alerts.ppv:.1%}",
            f"{alerts.events_alerted} of {alerts.events}",
            f"{alerts.lead_hours[1]:.1f} h",
        )
        for title, alerts in found.alerts
    ]
    headings = ("alert", "per 100 bed-days", "sensitivity", "PPV", "events told", "lead (median)")
    print_table(headings, rows)
    typer.echo(
        f"{evaluation.stays} rounds of {evaluation.people} people in {found.bed_days:.0f} "
        f"bed-days; {found.incomplete:.0%} of the rounds lack a sign. 95 % intervals by patient."
    )
    typer.echo(evaluation.verdict)
