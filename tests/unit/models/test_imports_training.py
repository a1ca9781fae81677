"""A task learns from an import: the same figures twice, and no person on both sides of a fold."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from ehr_fhir.errors import NotFound, Unprocessable
from ehr_models.evaluate import cross_validate
from ehr_models.imports.import_store import read_import, save_import
from ehr_models.imports.imported_task import apply_import
from ehr_models.imports.table_import import find_sample, import_table
from ehr_models.model_store import ModelStore
from ehr_models.promotion import PromotionRegister
from ehr_models.registry import get_task, list_tasks
from ehr_models.serving import ModelServer
from ehr_models.task import PATIENT, Task
from ehr_models.train import read_task_data
from ehr_models.version_files import (
    GATES_FILE,
    TRAINER_FILE,
    GateResult,
    write_gates,
    write_trainer,
)

NAME = "readmission-diabetes130"
TASK = get_task("readmission-28d")
PLAIN = """
task = "readmission-28d"
title = "made up"
source = "made up"
licence = "none"
person = "who"
index = "stay"
outcome = { column = "back", values = { yes = 1, no = 0 }, days = 30 }
features = { age = { column = "age" } }
"""
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder with a part of the real table imported."""
    data = tmp_path_factory.mktemp("imports")
    part, sample = data / "part.parquet", find_sample(NAME)
    assert sample is not None
    pq.write_table(pq.read_table(sample).slice(0, 900), part)
    import_table(part, NAME, TASK, "part", data, NOW)
    return data


def test_the_figures_are_the_same_to_the_last_digit_twice(data: Path) -> None:
    first, second = (read_task_data(TASK, data, "part") for _ in range(2))

    figures = [
        cross_validate(task, task.build_frame(tables.views), resamples=20)
        for task, tables in (first, second)
    ]

    assert first[1].versions == second[1].versions
    # Written out, since what is not defined is not equal to itself.
    assert repr(figures[0].figures) == repr(figures[1].figures)
    pd.testing.assert_frame_equal(figures[0].predictions, figures[1].predictions)
    assert set(figures[0].performance) == {
        *("model", "logistic", "boosting", "lace", "hospital", "prevalence"),
    }


def test_a_model_that_knows_the_person_again_gains_nothing(data: Path) -> None:
    chance = np.random.default_rng(1)
    names = [f"f{number}" for number in range(60)]
    # The same in all of a person's rows, and nothing to do with the outcome: only who stands on
    # both sides of a fold is known by them.
    people = pd.DataFrame(chance.integers(0, 2, (200, 60)), columns=names).astype(float)
    people[PATIENT] = [f"person {number}" for number in range(len(people))]
    people["returned"] = (chance.random(len(people)) < 0.5).astype(float)
    rows = people.loc[np.repeat(people.index, 4)].reset_index(drop=True)
    rows["encounter_id"] = [str(number) for number in range(len(rows))]
    features = [{"name": name, "title": name, "unit": "1", "source": name} for name in names]
    about = {**read_import(data, "part").about, "features": features, "mapping": PLAIN}
    save_import(data, "again", about, {"frame": rows})

    imported = apply_import(TASK, read_import(data, "again"))
    found = cross_validate(imported.task, imported.task.build_frame({}), resamples=20)

    assert found.performance["model"].auroc.value < 0.6


def test_an_import_is_for_its_own_task(data: Path) -> None:
    stored = read_import(data, "part")
    other = Task(**{**TASK.__dict__, "name": "weather"})

    with pytest.raises(Unprocessable, match="is for the task readmission-28d, not for weather"):
        apply_import(other, stored)


def test_what_is_learnt_from_an_import_is_another_model(data: Path) -> None:
    imported = apply_import(TASK, read_import(data, "part"))

    assert imported.task.name == "readmission-28d-part"
    assert "scores nobody of the platform" in imported.task.card_text
    assert "CC BY 4.0" in imported.task.card_text


def test_what_is_learnt_from_an_import_scores_nobody_though_two_people_promote_it(
    data: Path,
) -> None:
    store, name = ModelStore(data), apply_import(TASK, read_import(data, "part")).task.name
    gates = write_gates([GateResult("outcomes", True, "Enough.")])
    store.save_version(
        name, {"model.json": b"{}", GATES_FILE: gates, TRAINER_FILE: write_trainer(["lau"])}, NOW
    )
    register = PromotionRegister(store)
    for who in ("steward.ng", "auditor.tse"):
        register.promote(name, 1, who, "For a test.")
    assert register.find_champion(name) == 1

    # What scores, lists, watches or answers CDS Hooks goes through these.
    assert register.find_champion(TASK.name) is None
    with pytest.raises(NotFound):
        get_task(name)
    tasks = {task.name: task for task in list_tasks()}
    assert ModelServer(store, tasks).list_promoted() == []
