"""Tasks are listed by their folder: a second one needs its folder and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from ehr_fhir.errors import Conflict, Fault, NotFound, Unprocessable
from ehr_models import tasks
from ehr_models.cli import app
from ehr_models.demo import score_with_champion
from ehr_models.model_store import ModelStore
from ehr_models.promotion import PromotionRegister
from ehr_models.registry import get_task, list_tasks
from ehr_models.scored_people import ScoredPeople
from ehr_models.train import read_gold, train_model
from tests.conftest import ROOT
from tests.lib import gold
from tests.lib.promoted import promote

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
SECOND = ROOT / "tests" / "data" / "tasks"


@pytest.fixture
def second_task(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(SECOND)])
    yield


def test_the_only_task_needs_no_name() -> None:
    assert get_task().name == get_task("readmission-28d").name


def test_an_unknown_task_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(NotFound, match="readmission-28d"):
        get_task("sepsis")


@pytest.mark.usefixtures("second_task")
def test_a_second_folder_is_a_second_task() -> None:
    assert [task.name for task in list_tasks()] == [
        "deterioration-24h",
        "long-stay",
        "outreach-90d",
        "readmission-28d",
    ]
    with pytest.raises(Unprocessable, match="--task"):
        get_task()


@pytest.mark.usefixtures("second_task")
def test_a_second_task_is_trained_evaluated_carded_and_scored_by_the_same_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = gold.made_up(60)
    gold.write(tmp_path, views)
    task = get_task("long-stay")
    requests: list[httpx.Request] = []

    def accept(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json={})

    client = httpx.Client(transport=httpx.MockTransport(accept), base_url="http://gateway")

    training = train_model(task, read_gold(task, tmp_path), tmp_path, NOW, resamples=20)
    promote(tmp_path, training.version)
    people = ScoredPeople({patient: patient for patient in views["patient_demographics"]["id"]})
    current = gold.end_last_stays(views, NOW, ("IMP", "EMER", "AMB"))
    register = PromotionRegister(ModelStore(tmp_path))
    report = score_with_champion(task, register, current, client, "token", NOW, people=people)

    assert list(training.evaluation.performance) == ["model", "prevalence"]
    assert "Who stays long." in training.report.files["model-card.md"]
    assert "long stays" in training.evaluation.verdict
    assert (report.accepted, report.refused) == (60, 0)
    assert '"code": "long-stay"' in requests[0].content.decode()

    shown = CliRunner().invoke(app, ["card", "--task", "long-stay", "--data", str(tmp_path)])
    assert shown.output.startswith("# Model card: Stay of more than a week")
    listed = CliRunner().invoke(app, ["list"])
    assert "long-stay" in listed.output and "readmission-28d" in listed.output

    def score_again() -> None:
        score_with_champion(task, register, current, client, "token", NOW, people=people)

    # One run at a time: of two the slower would write over the other's.
    with register.store.lock_scoring("long-stay"), pytest.raises(Conflict, match="scored already"):
        score_again()
    # A version that is taken away while it scores writes no further batch.
    monkeypatch.setattr("ehr_models.write_back.BATCH_PATIENTS", 20)
    requests.clear()

    def roll_back(request: httpx.Request) -> httpx.Response:
        register.roll_back("long-stay", "steward.ng", "It is wrong.")
        return accept(request)

    client = httpx.Client(transport=httpx.MockTransport(roll_back), base_url="http://gateway")
    with pytest.raises(Conflict, match="ceased to score"):
        score_again()
    assert len(requests) == 1


def test_a_folder_without_a_declaration_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "undeclared").mkdir()
    (tmp_path / "undeclared" / "__init__.py").touch()
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path)])

    with pytest.raises(Fault, match="declares no TASK"):
        list_tasks()
