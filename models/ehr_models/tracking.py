"""The model store: MLflow on SQLite in the data folder. MLflow is imported only here, and late.

It makes no network request: requirements are stated, not inferred, and telemetry is off.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any, Protocol

from ehr_fhir.errors import Fault, NotFound
from ehr_models.task import Task

CHAMPION = "champion"
# What serves a model of plain files.
REQUIREMENTS = ("lightgbm", "numpy")


class Tracked(Protocol):
    """Whatever has runs: the experiment bears its name."""

    @property
    def name(self) -> str:
        """Return its name."""


@dataclass(frozen=True)
class RegisteredModel:
    """A version of a task's model in the registry, with the run that trained it."""

    name: str
    version: str
    run: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation found: its verdict in words, and its grade as a code.

    A version that was trained before there were grades has an empty one.
    """

    verdict: str
    grade: str


def open_store(task: Tracked, data: Path) -> Any:
    """Return MLflow, pointed at the data folder and the task's experiment (MLflow has no types)."""
    if not data.is_dir():
        raise NotFound(f"There is no data folder {data}.")
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    os.environ["MLFLOW_DISABLE_ENV_CREATION"] = "true"
    # Its database migrations log tens of lines.
    os.environ["MLFLOW_LOGGING_LEVEL"] = "ERROR"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    logging.getLogger("alembic").setLevel(logging.WARNING)
    mlflow = importlib.import_module("mlflow")
    folder = (data / "mlflow").resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    address = f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(address)
    mlflow.set_registry_uri(address)
    if mlflow.get_experiment_by_name(task.name) is None:
        mlflow.create_experiment(task.name, artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_experiment(task.name)
    return mlflow


def register_model(mlflow: Any, task: Task, files: Mapping[str, bytes]) -> RegisteredModel:
    """Log a trained model's files in the active run, register them, and make them the champion."""
    requirements = [f"{name}=={package_version(name)}" for name in REQUIREMENTS]
    with tempfile.TemporaryDirectory() as name:
        for file, content in files.items():
            (Path(name) / file).write_bytes(content)
        (Path(name) / "requirements.txt").write_text("\n".join(requirements), "utf-8")
        mlflow.log_artifacts(name, "model")
    client = mlflow.MlflowClient()
    # By the client: the short way, `mlflow.register_model`, prints.
    if not client.search_registered_models(f"name = '{task.name}'"):
        client.create_registered_model(task.name)
    created = client.create_model_version(
        task.name,
        mlflow.get_artifact_uri("model"),
        run_id=mlflow.active_run().info.run_id,
        await_creation_for=0,
    )
    number = str(created.version)
    digest = _hash_folder(_download_model(mlflow, task.name, number))
    client.set_model_version_tag(task.name, number, "sha256", digest)
    client.set_registered_model_alias(task.name, CHAMPION, number)
    return get_champion(mlflow, task)


def get_champion(mlflow: Any, task: Task) -> RegisteredModel:
    """Return the version that scores."""
    try:
        version = mlflow.MlflowClient().get_model_version_by_alias(task.name, CHAMPION)
    except mlflow.exceptions.MlflowException as error:
        raise NotFound(
            f"No model {task.name} has been trained yet: run `ehr models train`."
        ) from error
    return RegisteredModel(task.name, str(version.version), str(version.run_id), dict(version.tags))


def read_files(mlflow: Any, registered: RegisteredModel) -> Mapping[str, bytes]:
    """Return the files of a registered model by name, if they are those that were registered."""
    folder = _download_model(mlflow, registered.name, registered.version)
    # What somebody else wrote would score patients.
    if _hash_folder(folder) != registered.tags.get("sha256"):
        raise Fault(f"The files of model version {registered.version} are not those registered.")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def read_artifact(mlflow: Any, registered: RegisteredModel, name: str) -> str:
    """Return a text that was logged with a registered version."""
    return str(mlflow.artifacts.load_text(f"runs:/{registered.run}/{name}"))


def read_evaluation(mlflow: Any, registered: RegisteredModel) -> EvaluationResult:
    """Return the result of the evaluation that a registered version was trained with."""
    tags = mlflow.get_run(registered.run).data.tags
    return EvaluationResult(str(tags.get("verdict", "")), str(tags.get("grade", "")))


def _download_model(mlflow: Any, name: str, number: str) -> Path:
    return Path(mlflow.artifacts.download_artifacts(f"models:/{name}/{number}"))


def _hash_folder(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        # MLflow writes this file into the folder after registration.
        if path.is_file() and path.name != "registered_model_meta":
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
