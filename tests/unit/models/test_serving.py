"""A promoted model scores one person: as in training, with reasons that sum, and nobody else's."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

import pytest

from ehr_cli.decision_support import ModelServices
from ehr_cli.model_decisions import LoggedDecisions
from ehr_fhir.errors import NotFound
from ehr_gateway.decision_support import Card, HookCall
from ehr_models.card_words import read_card_words
from ehr_models.frames.duckdb_frame import build_frame
from ehr_models.frames.feature_list import write_features
from ehr_models.frames.person import find_current
from ehr_models.learners.portable import write_model
from ehr_models.learners.tuning import Rows, choose_model, fit_learners
from ehr_models.model_store import ModelStore, ModelVersion
from ehr_models.promotion import PromotionRegister
from ehr_models.registry import get_task
from ehr_models.serving import ModelServer, Score, end_stay
from ehr_models.task import Task
from ehr_models.task_file import parse_declaration, read_document
from ehr_models.version_files import (
    GATES_FILE,
    TRAINER_FILE,
    GateResult,
    write_gates,
    write_trainer,
)
from ehr_portal.record.risk_cards import RiskReason, describe_risk
from tests.lib.fhir_people import Resource, build_views, draw_person

PEOPLE, NAME = 120, "readmission-28d"
NOW = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def task() -> Task:
    """Return the task with features of codes that few people have."""
    document = read_document(files("ehr_models") / "tasks/readmission")
    declared = parse_declaration(document)
    codes = tuple(replace(group, at_least=10) for group in declared.codes)
    few = replace(declared, codes=codes)
    return replace(
        get_task(NAME),
        build_frame=lambda views, **codes: build_frame(few, views, **codes),
        find_current=lambda *given: find_current(few, *given),
    )


@pytest.fixture(scope="module")
def people() -> dict[str, list[Resource]]:
    return {f"person-{number}": draw_person(number) for number in range(PEOPLE)}


@pytest.fixture(scope="module")
def trained(task: Task, people: dict[str, list[Resource]]) -> dict[str, bytes]:
    """Return the files of a model that was trained on these people."""
    declared = parse_declaration(read_document(files("ehr_models") / "tasks/readmission"))
    resources = [resource for own in people.values() for resource in own]
    frame = task.build_frame(build_views(declared, resources))
    model = choose_model(fit_learners(("logistic",), Rows.of_frame(frame)))
    gates = (GateResult("outcomes", True, "Enough."),)
    return {
        **write_model(model),
        **write_features(frame),
        GATES_FILE: write_gates(gates),
        TRAINER_FILE: write_trainer(["lau"]),
    }


@pytest.fixture
def store(tmp_path: Path, trained: dict[str, bytes]) -> ModelStore:
    made = ModelStore(tmp_path)
    made.save_version(NAME, trained, NOW)
    return made


@pytest.fixture
def server(store: ModelStore, task: Task) -> ModelServer:
    return ModelServer(store, {NAME: task})


def promote(store: ModelStore) -> None:
    register = PromotionRegister(store)
    register.promote(NAME, 1, "ng", "Read the report.")
    register.promote(NAME, 1, "tse", "Read the report.")


def list_ends(resources: list[Resource]) -> list[datetime]:
    """Return the ends of a person's acute stays, the last one last."""
    return sorted(
        datetime.fromisoformat(one["period"]["end"])
        for one in resources
        if one["resourceType"] == "Encounter"
        and one["class"]["code"] in ("IMP", "EMER")
        and one["status"] == "finished"
        and len(one.get("period", {}).get("end", "")) > len("2020-01-01")
    )


def find_score(server: ModelServer, people: dict[str, list[Resource]]) -> tuple[str, Score]:
    """Return somebody who has a score an hour after their last stay, and the score."""
    for person, resources in people.items():
        for ended in reversed(list_ends(resources)):
            score = server.score(NAME, resources, ended + timedelta(hours=1))
            if score is not None:
                return person, score
    raise AssertionError("Nobody has a score.")


def test_only_what_two_people_promoted_scores(
    store: ModelStore, server: ModelServer, people: dict[str, list[Resource]]
) -> None:
    register = PromotionRegister(store)
    with pytest.raises(NotFound):
        server.score(NAME, people["person-0"], NOW)
    register.promote(NAME, 1, "ng", "Read the report.")
    register.set_shadow(NAME, 1, "ng", "To see.")
    assert server.list_promoted() == []

    register.promote(NAME, 1, "tse", "Read the report.")
    assert [one.name for one in server.list_promoted()] == [NAME]
    find_score(server, people)
    register.roll_back(NAME, "tse", "No.")
    assert server.list_promoted() == []


def test_reasons_add_up_to_the_score(
    store: ModelStore, server: ModelServer, people: dict[str, list[Resource]]
) -> None:
    promote(store)
    _, score = find_score(server, people)

    log_odds = math.log(score.probability / (1 - score.probability))
    assert score.base + sum(one.log_odds for one in score.reasons) == pytest.approx(log_odds)
    weighed = read_card_words(get_task(NAME), "en").weigh(score)
    assert score.base + sum(one.log_odds for one in weighed) == pytest.approx(log_odds)
    assert len({one.text for one in weighed}) == len(weighed) < len(score.reasons)


def test_nobody_is_scored_past_the_window_in_care_again_or_after_death(
    store: ModelStore, server: ModelServer, people: dict[str, list[Resource]]
) -> None:
    promote(store)
    person, score = find_score(server, people)
    resources, at = people[person], score.ended + timedelta(hours=1)
    patient = next(one for one in resources if one["resourceType"] == "Patient")
    stay = next(one for one in resources if one.get("id") == score.encounter)
    again = {**stay, "id": "again", "status": "in-progress", "period": {"start": at.isoformat()}}
    others = [one for one in resources if one is not patient]

    assert server.score(NAME, [*others, {**patient, "deceasedBoolean": True}], at) is None
    assert server.score(NAME, [*resources, again], at + timedelta(minutes=1)) is None
    assert server.score(NAME, resources, score.ended - timedelta(days=4000)) is None
    later = [one for one in resources if one["resourceType"] in ("Patient", "Condition")]
    assert server.score(NAME, [*later, stay], score.ended + timedelta(days=29)) is None


def test_a_decision_made_while_a_version_is_read_holds_for_the_next_request(
    store: ModelStore, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(store)
    register, read = PromotionRegister(store), PromotionRegister.get_champion

    def be_overtaken(own: PromotionRegister, task: str) -> ModelVersion:
        champion = read(own, task)
        monkeypatch.undo()
        register.roll_back(task, "ng", "Alerts doubled.")
        assert server.list_promoted() == []
        return champion

    monkeypatch.setattr(PromotionRegister, "get_champion", be_overtaken)
    server.list_promoted()

    assert server.list_promoted() == []


def test_a_version_whose_files_were_changed_scores_nobody(
    store: ModelStore, task: Task, people: dict[str, list[Resource]]
) -> None:
    promote(store)
    path = store.folder / NAME / "versions" / "1" / "model.json"
    path.write_bytes(path.read_bytes().replace(b'"intercept"', b'"intercept" '))

    assert ModelServer(store, {NAME: task}).list_promoted() == []


def test_what_could_not_be_used_is_told(
    store: ModelStore,
    server: ModelServer,
    people: dict[str, list[Resource]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    promote(store)
    person, score = find_score(server, people)
    at = score.ended + timedelta(hours=1)
    haemoglobin = {
        "resourceType": "Observation",
        "id": "impossible",
        "status": "final",
        "category": [{"coding": [{"code": "laboratory"}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]},
        "subject": {"reference": f"Patient/{person}"},
        "effectiveDateTime": (score.ended - timedelta(hours=30)).isoformat(),
        "valueQuantity": {
            "value": 9999, "unit": "g/dL", "system": "http://unitsofmeasure.org", "code": "g/dL",
        },
    }  # fmt: skip
    category = {"system": "http://terminology.hl7.org/CodeSystem/observation-category"}
    haemoglobin["category"] = [{"coding": [{**category, "code": "laboratory"}]}]
    call = HookCall(NAME, person, "", [*people[person], haemoglobin], (), False, "en", at)

    (card,) = ask(store.data, "patient-view", call, monkeypatch, server)

    assert "could not be used" in card.detail
    assert "9999" not in card.detail


def test_codes_that_the_model_does_not_know_are_told_and_change_no_score(
    store: ModelStore,
    server: ModelServer,
    people: dict[str, list[Resource]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    promote(store)
    person, score = find_score(server, people)
    at = score.ended + timedelta(hours=1)
    strange = {
        "resourceType": "Procedure",
        "status": "completed",
        "subject": {"reference": f"Patient/{person}"},
        "performedDateTime": (score.ended - timedelta(hours=30)).isoformat(),
    }
    codes = [{"coding": [{"system": "urn:own", "code": f"code-{number}"}]} for number in (1, 2, 2)]
    added = [{**strange, "id": f"p{place}", "code": code} for place, code in enumerate(codes)]
    more = server.score(NAME, [*people[person], *added], at)

    assert more is not None and more.unknown_codes == score.unknown_codes + 2
    assert more.probability == score.probability
    call = HookCall(NAME, person, "", [*people[person], *added], (), False, "en", at)
    (card,) = ask(store.data, "patient-view", call, monkeypatch, server)
    told = f"Codes of this record that the model does not know: {more.unknown_codes}"
    assert told in card.detail


def ask(
    data: Path, hook: str, call: HookCall, monkeypatch: pytest.MonkeyPatch, server: ModelServer
) -> list[Card]:
    monkeypatch.setattr("ehr_cli.decision_support.open_server", lambda data, log: server)
    (service,) = [
        one
        for one in ModelServices(data, LoggedDecisions()).list_services()
        if one.declaration.hook == hook
    ]
    return list(service.make_cards(call))


@pytest.mark.parametrize(
    ("language", "words"),
    [("en", "of 100 people"), ("zh-Hant-HK", "每100名"), ("zh-Hans", "每100名")],
)
def test_a_card_tells_the_score_its_reasons_and_what_was_withheld(
    store: ModelStore,
    server: ModelServer,
    people: dict[str, list[Resource]],
    monkeypatch: pytest.MonkeyPatch,
    language: str,
    words: str,
) -> None:
    promote(store)
    person, score = find_score(server, people)
    at = score.ended + timedelta(hours=1)
    call = HookCall(NAME, person, "", people[person], (), False, language, at)

    (card,) = ask(store.data, "patient-view", call, monkeypatch, server)
    (partial,) = ask(
        store.data, "patient-view", replace(call, is_partial=True), monkeypatch, server
    )

    assert words in card.summary and len(card.summary) < 140
    assert str(round(score.probability * 100)) in card.summary
    assert card.version == f"{NAME}/1"
    assert len(partial.detail) > len(card.detail)


def test_at_discharge_the_stay_that_ends_is_scored(
    store: ModelStore,
    server: ModelServer,
    people: dict[str, list[Resource]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    promote(store)
    person, score = find_score(server, people)
    at = score.ended
    resources = [
        {**one, "status": "in-progress", "period": {"start": one["period"]["start"]}}
        if one.get("id") == score.encounter
        else one
        for one in people[person]
    ]
    call = HookCall(NAME, person, score.encounter, resources, (), False, "en", at)

    assert ask(store.data, "patient-view", call, monkeypatch, server) == []
    (card,) = ask(store.data, "encounter-discharge", call, monkeypatch, server)
    assert str(round(score.probability * 100)) in card.summary
    other = replace(call, encounter="other")
    assert ask(store.data, "encounter-discharge", other, monkeypatch, server) == []


def test_a_reason_that_the_record_lacks_is_told_as_lacking(
    store: ModelStore, server: ModelServer, people: dict[str, list[Resource]]
) -> None:
    promote(store)
    person, score = find_score(server, people)
    own = json.dumps(people[person])

    weighed = read_card_words(get_task(NAME), "en").weigh(score)
    codes = [one for one in weighed if one.text.partition(" ")[0] in ("Diagnosis", "Medicine")]
    assert {one.is_absent for one in codes} == {True, False}
    for one in codes:
        assert one.text.partition(" ")[2] in own or one.is_absent
    notice = describe_risk(
        "T", 0.1, [RiskReason("Medicine C03C", -0.2, is_absent=True), RiskReason("Age 80", 0.5)],
        version=1, unknown=0, incomplete=(), is_partial=False, language="en",
    )  # fmt: skip
    assert "Lowers it: Medicine C03C: none on record" in notice.detail
    assert "Raises it: Age 80\n" in notice.detail


@pytest.mark.parametrize("status", ["finished", "cancelled", "entered-in-error", "planned"])
def test_at_discharge_only_a_stay_that_goes_on_ends(status: str) -> None:
    old = {"resourceType": "Encounter", "id": "old", "status": status,
           "period": {"start": "2019-01-01", "end": "2019-01-03"}}  # fmt: skip

    assert end_stay([old], "old", NOW) == [old]
    (ended,) = end_stay([{**old, "status": "in-progress"}], "old", NOW)
    assert (ended["status"], ended["period"]["end"][:10]) == ("finished", "2026-01-05")


def test_serving_loads_neither_mlflow_nor_spark() -> None:
    code = (
        "import sys, ehr_models.serving, ehr_models.registry, ehr_models.card_words, json;"
        "ehr_models.registry.list_tasks();"
        "print(json.dumps(sorted({'mlflow', 'pyspark', 'sklearn', 'py4j'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

    assert json.loads(done.stdout) == []
