"""The log of training runs: MLflow on SQLite in the data folder; imported only here, and late.

It makes no network request: requirements are stated, not inferred, and telemetry is off.
"""

from __future__ import annotations

import importlib
import logging
import os
import tempfile
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any, Protocol

from ehr_fhir.errors import NotFound
from ehr_models.model_store import ModelVersion

NEWEST = "newest"
ARTIFACTS = "model"
# What serves a model of plain files.
REQUIREMENTS = ("lightgbm", "numpy")


class Tracked(Protocol):
    """Whatever has runs: the experiment bears its name."""

    @property
    def name(self) -> str:
        """Return its name."""


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


def log_version(mlflow: Any, version: ModelVersion) -> None:
    """Log the files of a signed version in the active run, and register it as the newest.

    The registry of MLflow tells which run a version came from. Which version scores is decided in
    `ehr_models.promotion`, and what is loaded is the signed folder.
    """
    requirements = [f"{name}=={package_version(name)}" for name in REQUIREMENTS]
    with tempfile.TemporaryDirectory() as name:
        for file, content in version.files.items():
            (Path(name) / file).write_bytes(content)
        (Path(name) / "requirements.txt").write_text("\n".join(requirements), "utf-8")
        mlflow.log_artifacts(name, ARTIFACTS)
    client = mlflow.MlflowClient()
    # By the client: the short way, `mlflow.register_model`, prints.
    if not client.search_registered_models(f"name = '{version.task}'"):
        client.create_registered_model(version.task)
    created = client.create_model_version(
        version.task,
        mlflow.get_artifact_uri(ARTIFACTS),
        run_id=mlflow.active_run().info.run_id,
        tags={"store.version": str(version.number), "store.sha256": version.digest},
        await_creation_for=0,
    )
    client.set_registered_model_alias(version.task, NEWEST, str(created.version))
