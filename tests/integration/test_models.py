"""Training on Delta tables, the registry, scoring by alias, and the commands."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from ehr_fhir.errors import NotFound, Unavailable
from ehr_models import tracking
from ehr_models.cli import app
from ehr_models.demo import score_with_champion
from ehr_models.frames.feature_list import read_features
from ehr_models.learners.portable import read_model
from ehr_models.model_store import ModelStore
from ehr_models.promotion import PromotionRegister
from ehr_models.registry import get_task
from ehr_models.scored_people import ScoredPeople
from ehr_models.train import Training, read_gold, train_model
from ehr_models.version_report import list_report_files
from tests.lib import gold
from tests.lib.promoted import promote

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


def test_a_training_is_logged_and_its_version_scores_nobody(data: Path, trained: Training) -> None:
    run = tracking.open_store(TASK, data).get_run(trained.run)
    version = ModelStore(data).read_version(TASK.name, 1)

    assert version == trained.version
    assert PromotionRegister(ModelStore(data)).find_champion(TASK.name) is None
    assert run.data.params["table.encounter_flat"] == "0"
    assert len(run.data.tags["code.sha256"]) == 64
    for name in ("model.auroc", "lace.auroc.low", "prevalence.brier.high"):
        assert name in run.data.metrics
    assert set(list_report_files()) <= set(version.files)
    assert version.read_json("report.json") == trained.report.report
    assert trained.report.report["facts"]["tables"]["encounter_flat"] == 0
    assert trained.report.report["facts"]["run"] == trained.run
    assert (data / "mlflow" / "mlflow.db").is_file()


def test_mlflow_has_the_files_of_the_version_and_its_requirements(
    data: Path, trained: Training
) -> None:
    client = tracking.open_store(TASK, data).MlflowClient()
    newest = client.get_model_version_by_alias(TASK.name, tracking.NEWEST)
    logged = {item.path for item in client.list_artifacts(trained.run, tracking.ARTIFACTS)}

    assert newest.run_id == trained.run
    assert newest.tags["store.sha256"] == trained.version.digest
    assert {f"{tracking.ARTIFACTS}/{name}" for name in trained.version.files} <= logged
    files = trained.version.files
    assert list(read_model(files).features) == trained.features
    assert [feature.name for feature in read_features(files).features] == trained.features
    requirements = next((data / "mlflow").rglob("requirements.txt")).read_text().split()
    assert sorted(line.split("==")[0] for line in requirements) == sorted(tracking.REQUIREMENTS)


def test_what_two_people_promoted_scores_and_writes_back(data: Path, trained: Training) -> None:
    taken: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        taken.append(request)
        return httpx.Response(200, json={})

    client = httpx.Client(transport=httpx.MockTransport(handle), base_url="http://gateway")
    views = gold.end_last_stays(gold.made_up(60), NOW - timedelta(days=9))
    people = ScoredPeople({patient: patient for patient in views["patient_demographics"]["id"]})

    register = PromotionRegister(ModelStore(data))
    with pytest.raises(NotFound, match="promote"):
        score_with_champion(TASK, register, views, client, "token", NOW, people=people)
    assert taken == []
    promoted = promote(data, trained.version)
    sent = score_with_champion(TASK, register, views, client, "token", NOW, people=people)
    register.roll_back(TASK.name, "steward.ng", "For a test.")

    assert f'"version": "{promoted.number}"' in taken[0].content.decode()
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

    assert again.version.number > trained.version.number
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_the_same_data_give_the_same_model_and_figures(data: Path, trained: Training) -> None:
    again = train_model(TASK, read_gold(TASK, data), data, NOW, resamples=20)

    for name in ("model.json", "summary.json", "profile.json", "gates.json"):
        assert again.version.files[name] == trained.version.files[name]


def test_without_a_model_or_a_lake_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="ehr models train"):
        PromotionRegister(ModelStore(tmp_path)).choose_version(TASK.name)
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
