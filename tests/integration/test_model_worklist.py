"""A worklist from the lake to the request: who has joined, in the order of risk, under consent."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ehr_cli.model_decisions import LoggedDecisions, record_decisions
from ehr_cli.registered_models import RegisteredModels
from ehr_etl.jobs import LocalRunner
from ehr_etl.lake import Lake
from ehr_etl.lake_run import run_once
from ehr_gateway.model_register import WorklistReason
from ehr_models.learners.portable import LogisticRegression, write_model
from ehr_models.model_store import ModelStore
from ehr_models.promotion import PromotionRegister
from ehr_models.tasks.outreach.census import FEATURES
from ehr_models.version_files import (
    GATES_FILE,
    TRAINER_FILE,
    GateResult,
    write_gates,
    write_trainer,
)
from tests.lib.feed_lines import consent, decision_lines, feed_line
from tests.lib.gateway import House, must
from tests.lib.gateway import consent as choice
from tests.lib.lake_input import KEY, NOW_MS, Pages, patient

TASK = "outreach-90d"
NOW = datetime.fromtimestamp(NOW_MS / 1000, UTC)
OLD = {"birthDate": "1940-03-14"}
JOINED = ("pat-1", "pat-2", "pat-3")


def visit(person: str, number: int, day: str, kind: str = "EMER") -> dict[str, Any]:
    return {
        "resourceType": "Encounter",
        "id": f"{person}-{number}",
        "status": "finished",
        "class": {"code": kind},
        "subject": {"reference": f"Patient/{person}"},
        "period": {"start": day, "end": day},
    }


RESOURCES = [
    *(patient(name, **OLD) for name in (*JOINED, "never")),
    patient("young", birthDate="1990-03-14"),
    *(consent(name, "joining") for name in (*JOINED, "young")),
    # Of emergency visits pat-2 has most, then pat-1, and pat-3 none.
    *(visit("pat-2", number, f"2026-0{number}-10") for number in (5, 6, 7)),
    visit("pat-1", 1, "2026-06-10"),
    visit("pat-3", 1, "2026-08-10", "AMB"),
    visit("never", 1, "2026-06-10"),
    # The data go on to here, so that there is a census of this month.
    visit("young", 1, "2026-11-10"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder with a lake, and a version of outreach that goes by emergency visits."""
    data = tmp_path_factory.mktemp("platform")
    (data / "keys").mkdir()
    (data / "keys" / "deid.key").write_bytes(KEY)
    lines = [feed_line(number, one) for number, one in enumerate(RESOURCES, 1)]
    lines += decision_lines(RESOURCES)
    pages = Pages([b"\n".join(lines)])
    run_once(Lake(data / "lake"), pages, deid_key=KEY, now_ms=NOW_MS, runner=LocalRunner(1))
    names = tuple(feature.name for feature in FEATURES)
    weights = tuple(1.0 if name == "emergencies_12m" else 0.0 for name in names)
    nothing, one = (0.0,) * len(names), (1.0,) * len(names)
    listed = [{**vars(feature), "missing": 0.0} for feature in FEATURES]
    files = {
        **write_model(LogisticRegression(names, -2.0, weights, nothing, nothing, one)),
        "features.json": json.dumps({"features": listed, "codes": {}}).encode(),
        GATES_FILE: write_gates([GateResult("outcomes", True, "Enough.")]),
        TRAINER_FILE: write_trainer(["lau"]),
    }
    store = ModelStore(data)
    store.save_version(TASK, files, NOW)
    for who in ("ng", "tse"):
        PromotionRegister(store).promote(TASK, 1, who, "Read the report.")
    return data


@pytest.fixture
def house(furnished: House, folder: Path) -> House:
    """Return a gateway with these models, of which pat-1 shares with hospital-b."""
    database = furnished.gateway.store.database
    record_decisions(database, folder, lambda: NOW_MS)
    models = RegisteredModels(folder, LoggedDecisions(database))
    furnished.app.state.gateway = replace(furnished.gateway, models=models)
    furnished.share()
    return furnished


def read(house: House, login: str = "doctor.b", query: str = "") -> dict[str, Any]:
    answer = must(house.login(login).get(f"$model-worklist?task={TASK}{query}")).json()
    return {
        "people": [
            {part["name"]: part for part in one["part"]}
            for one in answer["parameter"]
            if one["name"] == "person"
        ],
        **{one["name"]: one for one in answer["parameter"] if one["name"] != "person"},
    }


def list_ids(house: House, login: str = "doctor.b") -> list[str]:
    people = read(house, login)["people"]
    return [person["patient"]["resource"]["id"] for person in people]


def test_the_living_of_65_who_have_joined_stand_in_the_order_of_their_risk(folder: Path) -> None:
    class Everything(LoggedDecisions):
        def read_decisions(self) -> Any:
            return PromotionRegister(ModelStore(folder)).list_records()

    worklist = RegisteredModels(folder, Everything()).read_worklist(TASK, "zh-Hans", NOW)

    assert (worklist.title, worklist.version) == ("90日内急诊就诊或跌倒", 1)
    assert [person.patient for person in worklist.people] == ["pat-2", "pat-1", "pat-3"]
    assert worklist.people[0].reasons == (WorklistReason("12个月内的急诊次数", 3.0),)


def test_only_whose_whole_record_is_open_to_the_caller_is_shown_and_put_on_record(
    house: House,
) -> None:
    shown = read(house)
    assert shown["version"]["valueInteger"] == 1
    (person,) = shown["people"]
    assert person["patient"]["resource"]["id"] == "pat-1"
    reason = {part["name"]: part for part in person["reason"]["part"]}
    assert reason["text"]["valueString"] == "Emergency visits in 12 months"
    assert reason["value"]["valueDecimal"] == 1
    house.gateway.audit_batcher.flush()
    with house.gateway.store.read_transaction() as connection:
        told = "SELECT patient FROM audit WHERE query = '$model-worklist' AND patient IS NOT NULL"
        assert [row["patient"] for row in connection.execute(told)] == ["pat-1"]

    house.share(status="inactive")
    assert list_ids(house) == []


def test_who_restricts_a_part_of_their_record_is_not_on_the_list(house: House) -> None:
    assert list_ids(house) == ["pat-1"]
    data = [{"meaning": "instance", "reference": {"reference": "Observation/lab-2"}}]
    restriction = choice("closed", "restriction", provision={"type": "deny", "data": data})
    house.login("p.pat-1").store(restriction)

    assert list_ids(house) == []


@pytest.mark.parametrize("login", ["p.pat-1", "steward", "researcher", "admin"])
def test_worklists_are_for_clinicians(house: House, login: str) -> None:
    assert house.login(login).get(f"$model-worklist?task={TASK}").status_code == 403


def test_without_a_version_that_scores_there_is_no_list(house: House) -> None:
    for task in ("readmission-28d", "deterioration-24h", "none"):
        assert house.login("doctor.b").get(f"$model-worklist?task={task}").status_code == 404
