"""Promote a model that a test trained on too few people to meet its gates."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from ehr_models.model_store import ModelStore, ModelVersion
from ehr_models.promotion import PromotionRegister
from ehr_models.version_files import (
    GATES_FILE,
    TRAINER_FILE,
    GateResult,
    write_gates,
    write_trainer,
)

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def promote(data: Path, trained: ModelVersion) -> ModelVersion:
    """Save a copy of a version with gates that are met, and let two people promote it."""
    store = ModelStore(data)
    gates = write_gates([GateResult("enough-outcomes", True, "Enough for a test.")])
    copied = store.save_version(
        trained.task,
        {**trained.files, GATES_FILE: gates, TRAINER_FILE: write_trainer(["lau"])},
        NOW,
    )
    register = PromotionRegister(store)
    for who in ("steward.ng", "auditor.tse"):
        register.promote(trained.task, copied.number, who, "For a test.")
    return copied
