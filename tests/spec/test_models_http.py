"""Models over HTTP: what is shown to whom, and two people for a promotion."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ehr_cli.main import app as main_app
from ehr_cli.model_decisions import LoggedDecisions
from ehr_cli.registered_models import RegisteredModels
from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.audit_log.lineage import list_model_decisions
from ehr_models.learners.portable import LogisticRegression, write_model
from ehr_models.model_store import ModelStore
from ehr_models.promotion import PromotionRegister
from ehr_models.registry import get_task
from ehr_models.version_files import (
    GATES_FILE,
    TRAINER_FILE,
    GateResult,
    write_gates,
    write_trainer,
)
from tests.lib.gateway import House, must
from tests.lib.made_models import save_forecast, save_made_models

NOW = datetime(2026, 1, 5, tzinfo=UTC)
SUMMARY = {
    "title": {"en": "Return within 28 days", "zh-Hant-HK": "28日內再入院"},
    "grade": "better-than-baseline",
    "verdict": {"en": "Better than LACE."},
    "results": [
        {"predictor": "model", "metric": "auroc", "value": 0.68, "low": 0.66, "high": 0.7},
        {"predictor": "lace", "metric": "auroc", "value": 0.6, "low": None, "high": None},
    ],
}


@pytest.fixture
def store(furnished: House, tmp_path: Path) -> ModelStore:
    """Return a store with two versions, the second of which fails a gate."""
    folder = tmp_path / "platform"
    folder.mkdir()
    state, database = furnished.app.state, furnished.gateway.store.database
    state.gateway = replace(
        furnished.gateway, models=RegisteredModels(folder, LoggedDecisions(database))
    )
    made = ModelStore(folder)
    for is_met in (True, False):
        gates = (GateResult("better", is_met, "Compared with LACE."),)
        files = {
            "model.json": b"{}",
            "card.json": b'{"name": "card"}',
            "summary.json": json.dumps(SUMMARY).encode(),
            GATES_FILE: write_gates(gates),
            TRAINER_FILE: write_trainer(["researcher"]),
        }
        made.save_version("return", files, NOW)
    return made


@pytest.fixture
def scoring(furnished: House, store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> House:
    """Return a house in which the task of the store is one that is served."""
    task = replace(get_task("readmission-28d"), name="return")
    models = logistic()
    for number in (1, 2):
        shutil.rmtree(store.folder / "return" / "versions" / str(number))
    gates = (GateResult("better", True, "Compared with LACE."),)
    files = {
        **models,
        "card.json": b"{ }",
        GATES_FILE: write_gates(gates),
        TRAINER_FILE: write_trainer(["researcher"]),
    }
    store.save_version("return", files, NOW)
    monkeypatch.setattr("ehr_models.registry.list_tasks", lambda: (task,))
    return furnished


def logistic() -> dict[str, bytes]:
    """Return the files of a model of one feature."""
    model = LogisticRegression(("age",), -2.0, (0.5,), (60.0,), (60.0,), (10.0,))
    feature = {"name": "age", "title": "Age", "unit": "a", "source": "patient_demographics"}
    listed = {"features": [{**feature, "missing": 0.0}], "codes": {}}
    return {**write_model(model), "features.json": json.dumps(listed).encode()}


def parts(parameter: Any) -> dict[str, Any]:
    """Return the parts of a parameter by name; those that are there more than once as a list."""
    found: dict[str, Any] = {}
    for part in parameter["part"]:
        values = [value for name, value in part.items() if name.startswith("value")]
        value = values[0] if values else parts(part)
        many = part["name"] in (
            "version",
            "decision",
            "gate",
            "result",
            "alarm",
            "week",
            "file",
        ) and (not values or part["name"] == "file")
        if many:
            found.setdefault(part["name"], []).append(value)
        else:
            found[part["name"]] = value
    return found


def models(house: House, login: str = "steward", query: str = "") -> list[dict[str, Any]]:
    answer = must(house.login(login).get(f"$models{query}")).json()
    return [parts(one) for one in answer.get("parameter", ())]


def decide(house: House, login: str, action: str, version: str = "", **changes: str) -> Any:
    sent = {"task": "return", "action": action, "reason": "Read the report.", **changes}
    kinds = {"action": "valueCode"}
    parameter = [{"name": k, kinds.get(k, "valueString"): v} for k, v in sent.items()]
    if version:
        parameter.append({"name": "version", "valueString": version})
    body = {"resourceType": "Parameters", "parameter": parameter}
    return house.login(login).post("$decide-model", body)


def test_a_model_is_shown_with_versions_gates_and_results(
    furnished: House, store: ModelStore
) -> None:
    (model,) = models(furnished, query="?language=zh-Hant-HK")

    assert (model["task"], model["title"]) == ("return", "28日內再入院")
    assert [one["number"] for one in model["version"]] == [2, 1]
    first = model["version"][1]
    assert first["gate"] == [{"name": "better", "met": True, "text": "Compared with LACE."}]
    assert first["result"][0] == {
        "predictor": "model", "metric": "auroc", "value": 0.68, "low": 0.66, "high": 0.7,
    }  # fmt: skip
    assert first["file"] == ["card.json"]
    assert "champion" not in model
    assert models(furnished)[0]["title"] == "Return within 28 days"


def test_two_people_promote_and_one_rolls_back(furnished: House, store: ModelStore) -> None:
    # A second account of the same person.
    steward = accounts.find_account(furnished.gateway.store, "steward")
    twin = Account("steward.2", "steward", "St", "ehr-commons", person=steward.person or "steward")
    accounts.add_account(furnished.gateway.store, twin)

    must(decide(furnished, "steward", "promote", "1"))
    assert models(furnished)[0]["proposal"] == 1
    for login in ("steward", "steward.2"):
        assert decide(furnished, login, "promote", "1").status_code == 409
    must(decide(furnished, "auditor", "promote", "1"))

    (model,) = models(furnished)
    assert model["champion"] == 1
    assert [one["action"] for one in model["decision"]] == ["propose", "promote"]
    assert model["decision"][0]["reason"] == "Read the report."
    must(decide(furnished, "steward", "roll-back"))
    assert "champion" not in models(furnished)[0]


def list_scoring(house: House, login: str = "doctor.a") -> dict[str, int]:
    answer = must(house.login(login).get("$scoring-models")).json()
    found = [parts(one) for one in answer.get("parameter", ())]
    return {one["task"]: one["version"] for one in found}


def test_every_decision_is_a_leaf_and_what_scores_follows_them_at_the_next_request(
    scoring: House, store: ModelStore
) -> None:
    for login in ("steward", "auditor"):
        must(decide(scoring, login, "promote", "1"))
    assert list_scoring(scoring) == {"return": 1}

    must(decide(scoring, "steward", "roll-back"))
    assert list_scoring(scoring) == {}
    with scoring.gateway.store.read_transaction() as connection:
        leaves = [leaf.record for leaf in list_model_decisions(connection)]
    assert [(one["action"], one["who"]) for one in leaves] == [
        ("propose", "steward"), ("promote", "auditor"), ("roll-back", "steward"),
    ]  # fmt: skip
    digest = store.read_version("return", 1).digest
    assert [one["version"] for one in leaves] == [digest, digest, None]
    assert leaves == list(PromotionRegister(store).list_records())


def test_an_older_file_of_decisions_put_back_lets_nothing_score_and_is_told(
    scoring: House, store: ModelStore
) -> None:
    path = store.folder / "decisions.db"
    for login in ("steward", "auditor"):
        must(decide(scoring, login, "promote", "1"))
    older = path.read_bytes()
    must(decide(scoring, "steward", "roll-back"))
    path.write_bytes(older)

    assert list_scoring(scoring) == {}
    assert models(scoring)[0]["logged"] is False
    # What came of it would be no decision of anybody.
    must(decide(scoring, "steward", "roll-back"))
    assert list_scoring(scoring) == {}


def test_verifying_the_log_tells_which_decisions_are_not_those_that_it_has(
    furnished: House,
) -> None:
    data, log = furnished.settings.data, LoggedDecisions(furnished.gateway.store.database)
    furnished.app.state.gateway = replace(furnished.gateway, models=RegisteredModels(data, log))
    files = {
        "model.json": b"{}",
        GATES_FILE: write_gates((GateResult("better", True, "Compared with LACE."),)),
        TRAINER_FILE: write_trainer(["researcher"]),
    }
    store = ModelStore(data)
    store.save_version("return", files, NOW)
    path = store.folder / "decisions.db"
    must(decide(furnished, "steward", "promote", "1"))
    older = path.read_bytes()
    must(decide(furnished, "auditor", "promote", "1"))
    furnished.app.state.audit_log.flush_and_sign()
    place = ["--data", str(data), "--database", str(furnished.settings.database)]
    command = ["audit", "verify", *(place if "://" in place[-1] else place[:2])]

    verified = CliRunner().invoke(main_app, command)
    assert verified.exit_code == 0, verified.output
    path.write_bytes(older)
    verified = CliRunner().invoke(main_app, command)
    assert verified.exit_code == 1
    assert "Decision 2 about a model was changed, or is gone." in verified.output
    PromotionRegister(store, log=log).restore_from_log()
    assert CliRunner().invoke(main_app, command).exit_code == 0


def test_a_version_whose_files_are_damaged_scores_no_longer_with_the_next_request(
    scoring: House, store: ModelStore
) -> None:
    for login in ("steward", "auditor"):
        must(decide(scoring, login, "promote", "1"))
    assert list_scoring(scoring) == {"return": 1}

    (store.folder / "return" / "versions" / "1" / "card.json").write_bytes(b"{}")

    assert list_scoring(scoring) == {}


def test_who_trained_a_version_does_not_promote_it_over_http(
    furnished: House, store: ModelStore
) -> None:
    # The trainer is also a steward, by another account.
    researcher = accounts.find_account(furnished.gateway.store, "researcher")
    twin = Account(
        "steward.lau", "steward", "St", "ehr-commons", person=researcher.person or "researcher"
    )
    accounts.add_account(furnished.gateway.store, twin)

    assert decide(furnished, "steward.lau", "promote", "1").status_code == 409
    must(decide(furnished, "steward", "promote", "1"))
    assert decide(furnished, "steward.lau", "promote", "1").status_code == 409


def test_a_version_past_no_gate_is_not_promoted_but_may_be_in_shadow(
    furnished: House, store: ModelStore
) -> None:
    assert decide(furnished, "steward", "promote", "2").status_code == 409
    must(decide(furnished, "steward", "shadow", "2"))
    assert models(furnished)[0]["shadow"] == 2
    must(decide(furnished, "steward", "end-shadow"))
    assert "shadow" not in models(furnished)[0]


@pytest.mark.parametrize(
    ("action", "version", "changes", "status"),
    [
        ("promote", "", {}, 400),
        ("roll-back", "1", {}, 400),
        ("promote", "x", {}, 400),
        ("promote", "9", {}, 404),
        ("promote", "1", {"task": "../return"}, 404),
        ("promote", "1", {"task": "falls"}, 404),
        ("roll-back", "", {}, 409),
        ("delete", "", {}, 422),
    ],
)
def test_a_step_that_cannot_be_is_refused(
    furnished: House,
    store: ModelStore,
    action: str,
    version: str,
    changes: dict[str, str],
    status: int,
) -> None:
    assert decide(furnished, "steward", action, version, **changes).status_code == status
    assert PromotionRegister(store).list_decisions("return") == ()


def test_files_for_people_are_fetched_and_the_model_is_not(
    furnished: House, store: ModelStore
) -> None:
    def fetch(name: str, version: str = "1", login: str = "researcher") -> Any:
        address = f"$model-file?task=return&version={version}&file={name}"
        return furnished.login(login).get(address)

    card = must(fetch("card.json"))
    assert (card.json(), card.headers["content-type"]) == ({"name": "card"}, "application/json")
    for name, version, status in (
        ("model.json", "1", 404), ("card.html", "1", 404), ("card.json", "3", 404),
        ("card.json", "x", 400), ("card.json", "9" * 5000, 400),
        ("card.json%2F..%2Fmodel.json", "1", 404),
    ):  # fmt: skip
        assert fetch(name, version).status_code == status
    path = store.folder / "return" / "versions" / "1" / "card.json"
    path.write_bytes(b"{}")
    assert fetch("card.json").status_code == 500


def test_a_damaged_version_hides_no_other_and_can_be_rolled_back(
    furnished: House, store: ModelStore
) -> None:
    register = PromotionRegister(store)
    register.promote("return", 1, "ng", "Good.")
    register.promote("return", 1, "tse", "Good.")
    for number, name in ((1, "model.json"), (2, "card.json")):
        (store.folder / "return" / "versions" / str(number) / name).unlink()
        (model,) = models(furnished)
        damaged = [one for one in model["version"] if one["grade"] == "damaged"]
        assert [one["number"] for one in damaged] == list(range(number, 0, -1))
        assert all(set(one) == {"number", "grade"} for one in damaged)

    must(decide(furnished, "steward", "roll-back"))
    assert "champion" not in models(furnished)[0]


@pytest.mark.parametrize("login", ["p.pat-1", "admin"])
def test_models_are_no_business_of_patients_and_administrators(
    furnished: House, store: ModelStore, login: str
) -> None:
    assert furnished.login(login).get("$models").status_code == 403
    assert decide(furnished, login, "promote", "1").status_code == 403


def test_researchers_read_and_do_not_decide(furnished: House, store: ModelStore) -> None:
    assert models(furnished, "researcher")
    assert decide(furnished, "researcher", "promote", "1").status_code == 403


def test_a_gateway_without_models_says_so(furnished: House) -> None:
    assert furnished.login("steward").get("$models").status_code == 503
    assert furnished.login("doctor.a").get("$model-worklist?task=x").status_code == 503
    # The worklist is of people, so that others than clinicians have no business with it.
    assert furnished.login("steward").get("$model-worklist?task=x").status_code == 403


def test_what_a_gate_says_has_a_code_and_its_values(furnished: House, store: ModelStore) -> None:
    save_made_models(store.data)

    model = next(one for one in models(furnished) if one["task"] == "readmission-28d")
    few = model["version"][1]["gate"][0]

    assert (few["message"], few["value"]) == ("outcomes-few", {"name": "minimum", "text": "100"})


def test_weeks_of_use_are_told_without_how_many_people(furnished: House, store: ModelStore) -> None:
    save_made_models(store.data)

    query = "?language=zh-Hans"
    model = next(one for one in models(furnished, query=query) if one["task"] == "readmission-28d")

    assert model["week"][0] == {
        "monday": "2026-08-31", "psi": 0.03, "expected": 0.2, "observed": 0.19,
    }  # fmt: skip
    assert "observed" not in model["week"][-1]
    # Titles are in the language of the pages where the task has them.
    assert model["title"].startswith("28日内")
    titles = {one["about"]: one.get("title") for one in model["alarm"]}
    assert (titles["emergency"], titles["score"]) == ("经急诊入院", None)


def test_a_forecast_shows_what_is_controlled_alone_and_nobody_decides_on_it(
    furnished: House, store: ModelStore
) -> None:
    save_forecast(store.data, "beds", "Bed demand", passes=False)

    model = next(one for one in models(furnished) if one["task"] == "forecast-beds")
    assert (model["forecast"], model["version"][0]["file"]) == (True, ["controlled.json"])
    address = "$model-file?task=forecast-beds&version=1&file={}"
    researcher = furnished.login("researcher")
    rows = must(researcher.get(address.format("controlled.json"))).json()["rows"]
    # By the reference: what it says are counts of days that were.
    assert {row["q50"] for row in rows} == {None}
    assert researcher.get(address.format("report.json")).status_code == 404
    for action, version in (("promote", "1"), ("shadow", "1"), ("roll-back", "")):
        answer = decide(furnished, "steward", action, version, task="forecast-beds")
        assert answer.status_code == 409


def test_what_waits_is_counted(furnished: House, store: ModelStore) -> None:
    def count() -> int:
        answer = must(furnished.login("steward").get("$waiting")).json()
        found = {one["name"]: int(one["valueInteger"]) for one in answer["parameter"]}
        return found["models"]

    assert count() == 0
    must(decide(furnished, "steward", "promote", "1"))
    assert count() == 1
    must(decide(furnished, "auditor", "promote", "1"))
    assert count() == 0
    alarm = {"kind": "psi", "about": "age", "value": 0.4, "p": 0.0}
    store.save_watch("return", [{"monday": "2026-01-05", "alarms": [alarm]}])
    assert count() == 1
