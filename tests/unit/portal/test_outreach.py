"""The page of outreach: who is on the list and why, in the language of the reader."""

from __future__ import annotations

from typing import Any

import pytest

from ehr_portal.i18n import LANGUAGES
from tests.lib.portal_house import PortalHouse, portal

__all__ = ["portal"]


def person(number: int, probability: float, *reasons: tuple[str, float | None]) -> dict[str, Any]:
    patient = {
        "resourceType": "Patient",
        "id": f"pat-{number}",
        "name": [{"text": f"CHAN Siu Ming {number}"}],
        "gender": "female",
        "birthDate": "1948-03-14",
    }
    return {
        "name": "person",
        "part": [
            {"name": "patient", "resource": patient},
            {"name": "probability", "valueDecimal": probability},
            *(
                {
                    "name": "reason",
                    "part": [
                        {"name": "text", "valueString": text},
                        *([] if value is None else [{"name": "value", "valueDecimal": value}]),
                    ],
                }
                for text, value in reasons
            ),
        ],
    }


def answer(*people: dict[str, Any]) -> dict[str, Any]:
    head = [
        {"name": "title", "valueString": "Emergency visit or fall within 90 days"},
        {"name": "version", "valueInteger": 2},
    ]
    return {"resourceType": "Parameters", "parameter": [*head, *people]}


LISTED = answer(
    person(1, 0.4127, ("Emergency visits in 6 months", 3), ("Falls in 24 months", None)),
    person(2, 0.081),
)


@pytest.mark.parametrize("language", [language.tag for language in LANGUAGES])
def test_people_stand_in_the_order_of_their_risk_with_reasons_and_the_version(
    portal: PortalHouse, language: str
) -> None:
    portal.fake.operations["$model-worklist"] = LISTED

    shown = portal.log_in("doctor", language).get("/outreach").text

    assert shown.index("CHAN Siu Ming 1") < shown.index("CHAN Siu Ming 2")
    assert "41.3%" in shown and "8.1%" in shown and 'href="/patients/pat-1"' in shown
    colon = {"en": ": "}.get(language, "：")
    assert f"Emergency visits in 6 months{colon}3" in shown
    version = {"en": "Version 2 of the model."}.get(language, "模型版本 2。")
    assert version in shown
    asked = portal.fake.asked[-1].url
    assert (asked.params["task"], asked.params["language"]) == ("outreach-90d", language)


@pytest.mark.parametrize(
    ("status", "words"),
    [(404, "No version of the model scores now"), (503, "still being worked out")],
)
def test_without_a_list_the_page_says_why(portal: PortalHouse, status: int, words: str) -> None:
    portal.fake.refused_operations["$model-worklist"] = (status, "No.")

    shown = portal.log_in("doctor").get("/outreach")

    assert shown.status_code == 200 and words in shown.text


def test_an_empty_list_says_that_nobody_is_open(portal: PortalHouse) -> None:
    portal.fake.operations["$model-worklist"] = answer()

    assert "whole record is open to you" in portal.log_in("doctor").get("/outreach").text


@pytest.mark.parametrize("who", ["patient", "steward", "researcher"])
def test_the_list_is_for_clinicians(portal: PortalHouse, who: str) -> None:
    assert portal.log_in(who).get("/outreach").status_code == 403
