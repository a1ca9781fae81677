"""Models in the portal: what is shown, what is decided, and files that nothing may run in."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from ehr_portal.oversight.forecasts import HospitalForecast, parse_forecast
from ehr_portal.oversight.model_charts import draw_forecast, draw_weeks
from ehr_portal.oversight.model_gates import Gate
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


CONTROLLED: dict[str, Any] = {
    "levels": {"low": 0.025, "q10": 0.1, "q50": 0.5, "q90": 0.9, "high": 0.975},
    "made_at": "2026-11-20T08:00:00Z",
    "last_day": "2026-11-19",
    "served": "seasonal-naive",
    "rows": [
        {"hospital": "st-b", "day": "2026-11-20", "low": 40, "q10": 45, "q50": 50, "q90": 55,
         "high": 60},
        {"hospital": "st-b", "day": "2026-11-21", "low": 45, "q10": 50, "q50": 55, "q90": 60,
         "high": 65},
        {"hospital": "st-b", "day": "2026-11-22", "low": None, "q10": 45, "q50": 50, "q90": 55,
         "high": 60},
    ],
}  # fmt: skip


def forecast(*, is_met: bool = False) -> dict[str, Any]:
    value = part("value", name="worst", text="1.04")
    hospital = part("value", name="hospital", text="st-b")
    gate = part(
        "gate", name="mase", met=is_met, text="High.", message="mase", parts=[value, hospital]
    )
    file = {"name": "file", "valueString": "controlled.json"}
    made = part("version", number="1", created="2026-11-20T08:00:00Z", parts=[gate, file])
    return part("model", task="forecast-beds", title="forecast-beds", forecast=True, parts=[made])


@pytest.fixture
def models(portal: PortalHouse) -> PortalHouse:
    decision = part(
        "decision", at="2026-11-02T08:00:00Z", action="propose", who="ng", reason="Read it."
    )
    alarm = part("alarm", week="2026-11-16", kind="psi", about="age", value="0.4", title="Age")
    weeks = [
        part("week", monday="2026-11-09", psi="0.05", expected="0.2", observed="0.19"),
        part("week", monday="2026-11-16", psi="0.4", expected="0.25"),
    ]
    model = part(
        "model",
        task="readmission-28d",
        title="Return within 28 days",
        champion="1",
        proposal="2",
        parts=[version("2", is_met=True), version("1", is_met=False), decision, alarm, *weeks],
    )
    portal.fake.operations["$models"] = {
        "resourceType": "Parameters",
        "parameter": [model, forecast()],
    }
    portal.fake.operations["$model-file"] = CONTROLLED
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

    for words in (
        "Not met",
        "0.660 to 0.700",
        "The values lie differently",
        "Proposed",
        "Read it.",
    ):
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
    model, _ = parse_models(models.fake.operations["$models"])
    newest = model.versions[0]

    assert newest.metrics == ["auroc"]
    assert newest.table["lace"]["auroc"].value == "0.6"
    assert (newest.may_score, model.versions[1].may_score) == (True, False)


def test_a_forecast_says_what_is_served_and_why(models: PortalHouse) -> None:
    browser = models.log_in("steward")
    listed = browser.get("/models").text
    assert "Makes forecasts" in listed and "None scores" not in listed
    shown = browser.get("/forecasts").text

    for words in ("Beds in use at midnight", "since what was learnt missed a gate"):
        assert words in shown
    assert "error is 1.04, at St" in shown
    # What is served are counts of days that were: whatever the file has, none is shown.
    assert "trusted zone alone" in shown and "<polyline" not in shown
    browser.get("/language/zh-Hant-HK?back=/forecasts")
    assert "The highest" not in browser.get("/forecasts").text


def test_a_learnt_forecast_is_drawn_without_the_days_of_too_few(models: PortalHouse) -> None:
    models.fake.operations["$models"]["parameter"][1] = forecast(is_met=True)

    shown = models.log_in("steward").get("/forecasts").text

    assert "45 to 55" in shown and "trusted zone alone" not in shown
    # A day of which too little may be shown is in the table and not in the drawing.
    assert len(re.findall(r"<polyline[^>]*points=\"([^\"]*)", shown)[0].split()) == 2
    assert shown.count("too few") == 1


def test_nobody_decides_on_a_forecast(models: PortalHouse) -> None:
    shown = models.log_in("steward").get("/models/forecast-beds").text

    assert 'name="decision"' not in shown
    assert "/forecasts#forecast-beds" in shown


def test_without_forecasts_the_page_says_how_to_begin(portal: PortalHouse) -> None:
    portal.fake.refused_operations["$models"] = (503, "None.")

    assert "ehr models forecast train beds" in portal.log_in("steward").get("/forecasts").text


def test_weeks_are_drawn_and_stand_in_a_table(models: PortalHouse) -> None:
    shown = models.log_in("steward").get(PAGE).text

    assert shown.count('<svg class="ehr-chart"') == 2
    for words in ("Population stability index 0.40", "19%", "not known yet"):
        assert words in shown


@pytest.mark.parametrize(
    "lines",
    [[], [[]], [[("2026-11-09", 0.1)]], [[("2026-11-09", 0.1)], [("2026-11-09", 0.2)]]],
)
def test_less_than_two_weeks_are_not_drawn(lines: list[list[tuple[str, float]]]) -> None:
    assert draw_weeks(lines, "weeks", ("", ""), limit=0.2) == ""


def test_a_line_lies_as_high_as_its_values(models: PortalHouse) -> None:
    drawn = draw_weeks(
        [[("2026-11-02", 0.0), ("2026-11-09", 0.1), ("2026-11-16", 0.2)]], "weeks", ("", "")
    )
    (points,) = re.findall(r"<polyline[^>]*points=\"([^\"]*)", drawn)

    assert points.split() == ["64.0,164.0", "244.0,88.0", "424.0,12.0"]


def test_days_without_any_number_are_not_drawn(models: PortalHouse) -> None:
    model = parse_models(models.fake.operations["$models"])[1]
    hidden = [{**row, "q50": None} for row in CONTROLLED["rows"]]
    (hospital,) = parse_forecast(
        model, model.versions[0], json.dumps({**CONTROLLED, "rows": hidden}).encode()
    ).hospitals

    assert isinstance(hospital, HospitalForecast)
    assert draw_forecast(hospital, "beds", ("", "")) == ""


def test_a_gate_without_a_known_code_is_told_in_its_own_words() -> None:
    gate = Gate("new", is_met=False, text="Not yet.", message="from-tomorrow", values={})

    assert (gate.say(str), gate.title, gate.is_translated) == ("Not yet.", "new", False)
