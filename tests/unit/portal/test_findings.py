"""The steward's worklist of faults: what is shown, and what is sent."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lib.portal_house import PortalHouse, portal

__all__ = ["portal"]

ITEM = "/findings/Observation/lab-2025"


def finding(**changed: str) -> list[dict[str, Any]]:
    values = {
        "record": "Observation/lab-2025",
        "version": "1",
        "severity": "error",
        "found": "2026-11-20T08:00:00Z",
        "organization": "st-b",
        "rule": "value-plausible",
    } | changed
    return [{"name": name.replace("_", "-"), "valueString": text} for name, text in values.items()]


def element(path: str, value: str | None) -> dict[str, Any]:
    parts = [{"name": "path", "valueString": path}]
    if value is not None:
        parts.append({"name": "value", "valueString": value})
    return {"name": "element", "part": parts}


@pytest.fixture
def steward(portal: PortalHouse) -> PortalHouse:
    portal.log_in("steward")
    portal.fake.operations["$findings"] = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "finding", "part": finding()},
            {
                "name": "finding",
                "part": finding(record="Encounter/e", organization="", rule="no-duplicate",
                                severity="warning"),
            },
        ],
    }  # fmt: skip
    portal.fake.operations["Observation/lab-2025/$finding"] = {
        "resourceType": "Parameters",
        "parameter": [
            *finding(),
            element("code", '{"coding": [{"code": "8867-4", "display": "<b>Heart rate</b>"}]}'),
            element("valueQuantity", '{"value": 1800, "unit": "/min"}'),
            element("Patient/pat-1#birthDate", '"1980-01-01"'),
            element("issued", None),
        ],
    }
    return portal


def test_what_waits_is_listed_by_provider_rule_and_age(steward: PortalHouse) -> None:
    shown = steward.browser.get("/findings").text

    assert "The value can be true" in shown and "Not there twice" in shown
    assert "St B&#39;s Hospital" in shown
    assert "Held back" in shown and "In use" in shown
    chosen = steward.browser.get("/findings?provider=st-b").text
    assert ITEM in chosen and "/findings/Encounter/e" not in chosen
    assert "/findings/Encounter/e" in steward.browser.get("/findings?rule=no-duplicate").text
    assert "Nothing waits." in steward.browser.get("/findings?rule=none").text


def test_one_item_shows_the_elements_in_words(steward: PortalHouse) -> None:
    shown = steward.browser.get(ITEM).text

    assert "1800 /min" in shown and "1980-01-01" in shown and "Nothing is there" in shown
    # A value is text and no markup.
    assert "&lt;b&gt;Heart rate" in shown
    assert "Patient/pat-1" in shown


@pytest.mark.parametrize("decision", ["release", "reject", "send-back"])
def test_a_decision_is_sent_with_its_reason(steward: PortalHouse, decision: str) -> None:
    sent = steward.send(ITEM, ITEM, version="1", decision=decision, reason="It is right")

    assert sent.headers["location"] == "/findings"
    (asked,) = steward.fake.written()
    values = {one["name"]: one.get("valueString", one.get("valueInteger"))
              for one in asked["parameter"]}  # fmt: skip
    assert values == {"version": 1, "decision": decision, "reason": "It is right"}


def test_what_is_missing_is_asked_for_again(steward: PortalHouse) -> None:
    unsaid = steward.send(ITEM, ITEM, version="1", reason="It is right")

    assert unsaid.status_code == 422
    assert "Choose a decision." in unsaid.text and "It is right" in unsaid.text
    assert steward.fake.written() == []


@pytest.mark.parametrize("who", ["patient", "doctor", "auditor"])
def test_others_have_no_worklist(steward: PortalHouse, who: str) -> None:
    assert steward.log_in(who).get("/findings").status_code == 403
    assert steward.log_in(who).get(ITEM).status_code == 403
