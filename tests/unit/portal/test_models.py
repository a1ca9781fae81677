"""Models in the portal: what is shown, what is decided, and files that nothing may run in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ehr_portal.oversight.models import parse_models
from tests.lib.portal_house import PortalHouse, portal

__all__ = ["portal"]
PAGE = "/models/readmission-28d"


def part(name: str, /, **values: Any) -> dict[str, Any]:
    parts = [
        {"name": key, "valueBoolean" if isinstance(value, bool) else "valueString": value}
        for key, value in values.items()
        if not isinstance(value, list)
    ]
    nested = [one for value in values.values() if isinstance(value, list) for one in value]
    return {"name": name, "part": [*parts, *nested]}


def version(number: str, *, is_met: bool) -> dict[str, Any]:
    return part(
        "version",
        number=number,
        created="2026-11-01T08:00:00Z",
        grade="better-than-baseline",
        verdict="Better than LACE.",
        parts=[
            part("gate", name="calibrated", met=is_met, text="Slope 0.98."),
            part(
                "result", predictor="model", metric="auroc", value="0.68", low="0.66", high="0.70"
            ),
            part("result", predictor="lace", metric="auroc", value="0.6"),
            *(
                {"name": "file", "valueString": name}
                for name in ("card.json", "report.en.html", "report.zh-Hans.html")
            ),
        ],
    )


@pytest.fixture
def models(portal: PortalHouse) -> PortalHouse:
    decision = part(
        "decision", at="2026-11-02T08:00:00Z", action="propose", who="ng", reason="Read it."
    )
    alarm = part("alarm", week="2026-11-16", kind="psi", about="age", value="0.4")
    model = part(
        "model",
        task="readmission-28d",
        title="Return within 28 days",
        champion="1",
        proposal="2",
        parts=[version("2", is_met=True), version("1", is_met=False), decision, alarm],
    )
    portal.fake.operations["$models"] = {"resourceType": "Parameters", "parameter": [model]}
    portal.fake.operations["$decide-model"] = {"resourceType": "Parameters"}
    return portal


@pytest.mark.parametrize("who", ["steward", "auditor", "researcher"])
def test_models_are_listed_with_where_they_stand(models: PortalHouse, who: str) -> None:
    shown = models.log_in(who).get("/models").text

    for words in (
        "Return within 28 days", "Version 1 scores", "Version 2 waits for a second person",
        "1 alarm",
    ):  # fmt: skip
        assert words in shown


def test_a_model_is_shown_with_gates_results_alarms_and_decisions(models: PortalHouse) -> None:
    shown = models.log_in("steward").get(PAGE).text

    for words in ("Not met", "0.66 to 0.70", "The values look different", "Proposed", "Read it."):
        assert words in shown
    assert "report.en.html" in shown
    assert "report.zh-Hans.html" not in shown
    assert "What it says comes true as often" in shown
    assert "/versions/2/card.json" in shown


@pytest.mark.parametrize(("who", "status"), [("researcher", 403), ("steward", 303)])
def test_stewards_decide(models: PortalHouse, who: str, status: int) -> None:
    models.log_in("steward" if status == 303 else who)
    fields = {"decision": "promote", "version": "2", "reason": "Read the report."}
    if status == 303:
        assert models.send(PAGE, PAGE, **fields).status_code == 303
        sent = json.loads(models.fake.asked[-1].content)
        assert models.fake.asked[-1].url.path == "/fhir/$decide-model"
        values = {one["name"]: one["valueString"] for one in sent["parameter"]}
        assert values == {**{"task": "readmission-28d", "action": "promote"}, "version": "2",
                          "reason": "Read the report."}  # fmt: skip
    else:
        assert "csrf" not in models.browser.get(PAGE).text.partition("<main")[2]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "Choose what you decide."),
        ({"decision": "promote", "version": ""}, "Choose a version."),
    ],
)
def test_a_form_that_is_not_filled_in_says_so(
    models: PortalHouse, fields: dict[str, str], words: str
) -> None:
    models.log_in("steward")
    answer = models.send(PAGE, PAGE, reason="x", **fields)

    assert answer.status_code == 422
    assert words in answer.text


def test_a_refused_promotion_says_why_it_may_be(models: PortalHouse) -> None:
    models.fake.refused_operations["$decide-model"] = (409, "No.")
    models.log_in("steward")
    answer = models.send(PAGE, PAGE, decision="promote", version="1", reason="Good.")

    assert answer.status_code == 422
    assert "a gate is not met" in answer.text


def test_where_there_are_no_models_the_page_says_how_to_begin(portal: PortalHouse) -> None:
    portal.fake.refused_operations["$models"] = (503, "None.")

    assert "ehr models train" in portal.log_in("steward").get("/models").text
    assert portal.browser.get(PAGE).status_code == 404


def test_results_are_read_by_predictor_and_metric(models: PortalHouse) -> None:
    (model,) = parse_models(models.fake.operations["$models"])
    newest = model.versions[0]

    assert newest.metrics == ["auroc"]
    assert newest.table["lace"]["auroc"].value == "0.6"
    assert (newest.may_score, model.versions[1].may_score) == (True, False)
