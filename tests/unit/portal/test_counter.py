"""Consent by counter: found by card, recorded with the paper's name, at the gateway alone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lib.portal_house import PortalHouse, portal

__all__ = ["portal"]

CARD = "ZQ123456(7)"
PAPER = "Sharing form 3, 22 Nov 2026, drawer 4"


@pytest.fixture
def counter(portal: PortalHouse) -> str:
    """Let the steward find the patient by card; return the page's address."""
    portal.fake.operations["Patient/$counter-patient"] = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "patient", "valueReference": {"reference": "Patient/pat-1"}},
            {"name": "name", "valueHumanName": {"text": "CHAN <b>Ka</b> Yan"}},
            {"name": "born", "valueString": "1981-03-14"},
        ],
    }
    portal.log_in("steward")
    answer = portal.send("/counter", "/counter", hkid="zq 123456 7")
    return str(answer.headers["location"])


def record(portal: PortalHouse, page: str, **fields: str) -> Any:
    """Send the form of a choice."""
    card = page.partition("card=")[2]
    common = {"card": card, "paper": PAPER, "seen": "1"}
    return portal.send(page, "/counter/record", **{**common, **fields})


def consents(portal: PortalHouse) -> list[dict[str, Any]]:
    return [body for body in portal.fake.written() if body.get("resourceType") == "Consent"]


def test_the_card_number_stands_in_no_address_and_the_person_is_shown(
    portal: PortalHouse, counter: str
) -> None:
    shown = portal.browser.get(counter).text

    assert "123456" not in counter
    assert all("123456" not in str(request.url) for request in portal.fake.asked)
    assert "CHAN &lt;b&gt;Ka&lt;/b&gt; Yan" in shown
    assert "14 Mar 1981" in shown


@pytest.mark.parametrize(
    ("fields", "category", "status"),
    [
        ({"choice": "share", "organization": "clinic-c"}, "sharing", "active"),
        ({"choice": "stop", "organization": "st-b"}, "sharing", "inactive"),
        # A public hospital shares by law: to stop is to close everything to it.
        ({"choice": "stop", "organization": "ha-a"}, "restriction", "active"),
        ({"choice": "close", "domain": "laboratory"}, "restriction", "active"),
        ({"choice": "research-out"}, "research", "active"),
    ],
)
def test_a_choice_is_a_consent_that_names_the_paper(
    portal: PortalHouse, counter: str, fields: dict[str, str], category: str, status: str
) -> None:
    done = record(portal, counter, **fields)

    assert done.headers["location"] == counter
    (written,) = consents(portal)
    assert written["category"][0]["coding"][0]["code"] == category
    assert written["status"] == status
    assert written["patient"] == {"reference": "Patient/pat-1"}
    assert written["sourceAttachment"] == {"title": PAPER}
    assert "the patient is told" in portal.browser.get(counter).text


@pytest.mark.parametrize(
    "fields",
    [
        {"choice": "share"},
        {"choice": "stop", "organization": "nowhere"},
        {"choice": "share", "organization": "ehr-commons"},
        {"choice": "close"},
        {"choice": "all"},
        {"choice": "research-out", "paper": "x"},
        {"choice": "research-out", "seen": ""},
    ],
)
def test_what_is_incomplete_writes_nothing(
    portal: PortalHouse, counter: str, fields: dict[str, str]
) -> None:
    assert record(portal, counter, **fields).status_code == 422
    assert consents(portal) == []


def test_what_holds_already_is_not_written_again(portal: PortalHouse, counter: str) -> None:
    record(portal, counter, choice="research-in")

    assert consents(portal) == []
    assert "nothing was changed" in portal.browser.get(counter).text


@pytest.mark.parametrize("typed", ["", "12345", "ZQ123456"])
def test_what_is_no_card_number_is_not_asked_for(portal: PortalHouse, typed: str) -> None:
    portal.log_in("steward")

    assert portal.send("/counter", "/counter", hkid=typed).status_code == 422
    assert not [r for r in portal.fake.asked if "counter-patient" in str(r.url)]


@pytest.mark.parametrize("who", ["patient", "carer", "doctor", "auditor", "administrator"])
def test_the_counter_is_the_stewards(portal: PortalHouse, who: str) -> None:
    assert portal.log_in(who).get("/counter").status_code == 403
