"""Training on Delta tables, the registry, scoring by alias, and the commands."""

from __future__ import annotations

import json
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from ehr_fhir.errors import Fault, NotFound, Unavailable
from ehr_models import tracking
from ehr_models.cli import app
from ehr_models.demo import score_with_champion
from ehr_models.frames.feature_list import read_features
from ehr_models.learners.portable import read_model
from ehr_models.registry import get_task
from ehr_models.scored_people import ScoredPeople
from ehr_models.train import Training, read_gold, train_model
from ehr_models.version_report import list_report_files
from tests.lib import gold

TASK = get_task("readmission-28d")
NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    gold.write(folder, gold.made_up(60))
    return folder


@pytest.fixture(scope="module")
def trained(data: Path) -> Training:
    return train_model(TASK, read_gold(TASK, data), data, NOW, resamples=20)


def test_a_training_is_logged_registered_and_becomes_the_champion(
    data: Path, trained: Training
) -> None:
    mlflow = tracking.open_store(TASK, data)

    champion = tracking.get_champion(mlflow, TASK)
    run = mlflow.get_run(champion.run)

    assert champion.version == trained.version == "1"
    assert run.data.params["table.encounter_flat"] == "0"
    assert len(run.data.tags["code.sha256"]) == 64
    for name in ("model.auroc", "lace.auroc.low", "prevalence.brier.high"):
        assert name in run.data.metrics
    names = {item.path for item in mlflow.MlflowClient().list_artifacts(champion.run)}
    assert set(list_report_files()) <= names
    report = json.loads(tracking.read_artifact(mlflow, champion, "report.json"))
    assert report == trained.report.report
    assert report["facts"]["tables"]["encounter_flat"] == 0
    assert (data / "mlflow" / "mlflow.db").is_file()


def test_the_model_names_its_features_and_requirements(data: Path, trained: Training) -> None:
    mlflow = tracking.open_store(TASK, data)
    files = tracking.read_files(mlflow, tracking.get_champion(mlflow, TASK))

    assert list(read_model(files).features) == trained.features
    assert [feature.name for feature in read_features(files).features] == trained.features
    requirements = next((data / "mlflow").rglob("requirements.txt")).read_text().split()
    assert sorted(line.split("==")[0] for line in requirements) == sorted(tracking.REQUIREMENTS)


def test_the_champion_scores_and_writes_back(data: Path, trained: Training) -> None:
    taken: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        taken.append(request)
        return httpx.Response(200, json={})

    client = httpx.Client(transport=httpx.MockTransport(handle), base_url="http://gateway")
    views = gold.end_last_stays(gold.made_up(60), NOW - timedelta(days=9))
    people = ScoredPeople({patient: patient for patient in views["patient_demographics"]["id"]})

    sent = score_with_champion(TASK, data, views, client, "token", NOW, people=people)

    assert sent.accepted > 50 and sent.refused == 0
    assert [request.method for request in taken] == ["POST", "GET"]
    assert trained.evaluation.verdict in taken[0].content.decode()


def test_training_asks_nothing_of_the_network(
    data: Path, monkeypatch: pytest.MonkeyPatch, trained: Training
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a request left the machine")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)

    again = train_model(TASK, read_gold(TASK, data), data, NOW, resamples=20)

    assert int(again.version) > int(trained.version)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_a_model_file_that_was_changed_is_not_loaded(tmp_path: Path) -> None:
    gold.write(tmp_path, gold.made_up(40))
    train_model(TASK, read_gold(TASK, tmp_path), tmp_path, NOW, resamples=20)
    mlflow = tracking.open_store(TASK, tmp_path)
    file = next((tmp_path / "mlflow").rglob("model.json"))
    file.write_bytes(file.read_bytes() + b"x")

    with pytest.raises(Fault, match="not those registered"):
        tracking.read_files(mlflow, tracking.get_champion(mlflow, TASK))


def test_without_a_model_or_a_lake_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="ehr models train"):
        tracking.get_champion(tracking.open_store(TASK, tmp_path), TASK)
    with pytest.raises(Unavailable, match="ehr lake run"):
        read_gold(TASK, tmp_path)


def test_the_commands_evaluate_print_the_card_and_write_the_report(
    data: Path, trained: Training, tmp_path: Path
) -> None:
    runner = CliRunner()

    evaluated = runner.invoke(app, ["evaluate", "--data", str(data)])
    printed = runner.invoke(app, ["card", "--data", str(data)])
    written = runner.invoke(app, ["report", str(tmp_path), "--data", str(data)])

    assert evaluated.exit_code == 0 and "lace" in evaluated.output
    assert "Too few returns" in evaluated.output
    assert printed.exit_code == 0 and printed.output.startswith("# Model card")
    assert written.exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == set(list_report_files())


@pytest.mark.parametrize("command", ["train", "evaluate", "score", "report", "card"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"])

    assert shown.exit_code == 0 and "Example" in shown.output and "--data" in shown.output
