"""Where models are kept: MLflow on SQLite in the data folder. MLflow is imported only here, late.

Nothing is asked of the network: requirements are given, not inferred, and telemetry is off.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.pipeline import Pipeline

from ehr_fhir.errors import Fault, NotFound
from ehr_models.tasks.readmission.features import FEATURES

MODEL = "readmission-28d"
CHAMPION = "champion"
EXPERIMENT = "readmission-28d"
REQUIREMENTS = ("mlflow", "numpy", "pandas", "scikit-learn", "skops")


@dataclass(frozen=True)
class Registered:
    """A version of the model in the registry, with the run that made it."""

    version: str
    run: str
    tags: Mapping[str, str]


def open_store(data: Path) -> Any:
    """Return MLflow, pointed at the data folder's store (MLflow has no types)."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    os.environ["MLFLOW_DISABLE_ENV_CREATION"] = "true"
    # Its database migrations write tens of lines about themselves.
    os.environ["MLFLOW_LOGGING_LEVEL"] = "ERROR"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    logging.getLogger("alembic").setLevel(logging.WARNING)
    mlflow = importlib.import_module("mlflow")
    importlib.import_module("mlflow.sklearn")
    folder = (data / "mlflow").resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    address = f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(address)
    mlflow.set_registry_uri(address)
    if mlflow.get_experiment_by_name(EXPERIMENT) is None:
        mlflow.create_experiment(EXPERIMENT, artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_experiment(EXPERIMENT)
    return mlflow


def register(mlflow: Any, model: Pipeline, sample: pd.DataFrame) -> Registered:
    """Log a trained model in the active run, register it, and make it the champion."""
    inputs = sample[list(FEATURES)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logged = mlflow.sklearn.log_model(
            model,
            name="model",
            signature=mlflow.models.infer_signature(inputs, model.predict_proba(inputs)),
            pip_requirements=[f"{name}=={package_version(name)}" for name in REQUIREMENTS],
            pyfunc_predict_fn="predict_proba",
            # The scaler and the imputer keep the type of their input beside their numbers.
            skops_trusted_types=["numpy.dtype"],
        )
    client = mlflow.MlflowClient()
    # By the client: the short way prints.
    if not client.search_registered_models(f"name = '{MODEL}'"):
        client.create_registered_model(MODEL)
    made = client.create_model_version(
        MODEL,
        logged.model_uri,
        run_id=logged.run_id,
        model_id=logged.model_id,
        await_creation_for=0,
    )
    number = str(made.version)
    client.set_model_version_tag(MODEL, number, "sha256", _digest(_folder(mlflow, number)))
    client.set_registered_model_alias(MODEL, CHAMPION, number)
    return champion(mlflow)


def champion(mlflow: Any) -> Registered:
    """Return the version that scores."""
    try:
        found = mlflow.MlflowClient().get_model_version_by_alias(MODEL, CHAMPION)
    except mlflow.exceptions.MlflowException as error:
        raise NotFound("No model has been trained yet: run `ehr models train`.") from error
    return Registered(str(found.version), str(found.run_id), dict(found.tags))


def load(mlflow: Any, registered: Registered) -> Pipeline:
    """Load a registered model, if its files are those that were registered."""
    folder = _folder(mlflow, registered.version)
    # A model file is code: one that somebody else wrote is not opened.
    if _digest(folder) != registered.tags.get("sha256"):
        raise Fault(f"The files of model version {registered.version} are not those registered.")
    model = mlflow.sklearn.load_model(str(folder))
    if not isinstance(model, Pipeline):
        raise Fault(f"Model version {registered.version} is not of the expected kind.")
    return model


def artifact(mlflow: Any, registered: Registered, name: str) -> str:
    """Return a text that was logged with a registered version."""
    return str(mlflow.artifacts.load_text(f"runs:/{registered.run}/{name}"))


def _folder(mlflow: Any, number: str) -> Path:
    return Path(mlflow.artifacts.download_artifacts(f"models:/{MODEL}/{number}"))


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        # MLflow writes this file into the folder after registration.
        if path.is_file() and path.name != "registered_model_meta":
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
