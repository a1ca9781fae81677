"""The commands `ehr models ...`: each parses, calls one function, and renders."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ehr_etl.gold.views import run_identified_views
from ehr_etl.lake import Lake
from ehr_etl.spark.session import spark_session
from ehr_fhir.errors import Unavailable
from ehr_models import tracking
from ehr_models.demo import score_champion
from ehr_models.evaluate import Evaluation
from ehr_models.evaluate import evaluate as evaluate_frame
from ehr_models.tasks.readmission.features import features
from ehr_models.train import read_gold
from ehr_models.train import train as train_model

Data = Annotated[Path, typer.Option("--data", help="The platform's data folder.")]
DEFAULT_DATA = Path("var")

app = typer.Typer(
    help="The 28-day return model: train, evaluate, score, card.",
    no_args_is_help=True,
    add_completion=False,
)


@app.command()
def train(data: Data = DEFAULT_DATA) -> None:
    """Train on the de-identified tables; the new version becomes the champion.

    Example: ehr models train
    """
    training = train_model(read_gold(data), data, datetime.now(UTC))
    _show(training.evaluation)
    typer.echo(f"Version {training.version} is the champion ({training.seconds:.0f} s).")


@app.command()
def evaluate(data: Data = DEFAULT_DATA) -> None:
    """Cross-validate by patient beside LACE and the prevalence; register nothing.

    Example: ehr models evaluate
    """
    _show(evaluate_frame(features(read_gold(data).views)))


@app.command()
def score(
    token: Annotated[
        str, typer.Option(envvar="EHR_TOKEN", help="Access token of the client `models`.")
    ],
    base_url: Annotated[
        str, typer.Option(help="Address of the gateway.")
    ] = "http://127.0.0.1:8080",
    data: Data = DEFAULT_DATA,
) -> None:
    """Score each patient's latest acute stay and write the risk to the gateway.

    Example: EHR_TOKEN=$(ehr token --client models --scope "system/RiskAssessment.cruds
    system/Provenance.cruds") ehr models score
    """
    import httpx

    spark = spark_session(data / "spark")
    views = run_identified_views(spark, Lake(data / "lake"))
    with httpx.Client(base_url=base_url, timeout=60) as client:
        try:
            sent = score_champion(data, views, client, token, datetime.now(UTC))
        except httpx.TransportError as error:
            raise Unavailable(f"No gateway answers at {base_url}: start `ehr up`.") from error
    typer.echo(f"{sent.accepted} patients scored; {sent.refused} refused by the gateway.")
    if sent.reason:
        typer.echo(sent.reason)


@app.command()
def card(data: Data = DEFAULT_DATA) -> None:
    """Print the champion's model card, in Markdown. Example: ehr models card > card.md"""
    mlflow = tracking.open_store(data)
    typer.echo(tracking.artifact(mlflow, tracking.champion(mlflow), "model-card.md"))


def _show(evaluation: Evaluation) -> None:
    table = Table("predictor", "AUROC", "AUPRC", "Brier")
    for name, figures in evaluation.performance.items():
        table.add_row(name, str(figures.auroc), str(figures.auprc), str(figures.brier))
    Console().print(table)
    typer.echo(
        f"{evaluation.stays} stays of {evaluation.people} people; 95 % intervals by patient."
    )
    typer.echo(evaluation.verdict)
