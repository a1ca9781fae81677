"""The steward's page of proposed changes of identity."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lib.portal_house import PortalHouse, portal

__all__ = ["portal"]

PROPOSAL = {
    "name": "proposal",
    "part": [
        {"name": "id", "valueString": "prop-1"},
        {"name": "patient", "valueString": "pat-1"},
        {"name": "display", "valueString": "Dr <b>Lee</b>"},
        {"name": "organization", "valueString": "st-b"},
        {"name": "asked", "valueInstant": "2026-11-22T08:00:00.000Z"},
        {"name": "current", "valueBoolean": True},
        {"name": "change", "part": [
            {"name": "element", "valueCode": "name"},
            {"name": "now", "valueString": '[{"family": "Chan", "given": ["Ka", "Ming"]}]'},
            {"name": "proposed", "valueString": '[{"text": "Chan Siu Ming"}]'},
        ]},
        {"name": "change", "part": [
            {"name": "element", "valueCode": "birthDate"},
            {"name": "now", "valueString": "1980-02-03"},
        ]},
    ],
}  # fmt: skip


@pytest.fixture
def waiting(portal: PortalHouse) -> PortalHouse:
    """Return a portal whose gateway has one proposal."""
    answer: dict[str, Any] = {"resourceType": "Parameters", "parameter": [PROPOSAL]}
    portal.fake.operations["$identity-proposals"] = answer
    portal.fake.operations["$decide-identity"] = {"resourceType": "Parameters"}
    return portal


@pytest.mark.parametrize("who", ["patient", "doctor"])
def test_the_page_is_the_stewards(waiting: PortalHouse, who: str) -> None:
    assert waiting.log_in(who).get("/proposals").status_code == 403


def test_what_is_now_and_what_is_proposed_stand_side_by_side(waiting: PortalHouse) -> None:
    steward = waiting.log_in("steward")

    assert 'href="/proposals/prop-1"' in steward.get("/proposals").text
    shown = steward.get("/proposals/prop-1").text

    assert "Chan Ka Ming" in shown
    assert "Chan Siu Ming" in shown
    assert "1980-02-03" in shown
    assert "Dr &lt;b&gt;Lee&lt;/b&gt;" in shown


def test_the_decision_is_sent_with_its_reason(waiting: PortalHouse) -> None:
    waiting.log_in("steward")
    page = "/proposals/prop-1"

    assert waiting.send(page, page, decision="", reason="x").status_code == 422
    answer = waiting.send(page, page, decision="approve", reason="Identity card seen")

    assert answer.headers["location"] == "/proposals"
    sent = waiting.fake.written()[-1]["parameter"]
    assert [one["valueString"] for one in sent] == ["prop-1", "approve", "Identity card seen"]


def test_a_proposal_that_is_not_there_is_not_found(waiting: PortalHouse) -> None:
    assert waiting.log_in("steward").get("/proposals/absent").status_code == 404


def test_without_proposals_the_page_says_so(waiting: PortalHouse) -> None:
    waiting.fake.operations["$identity-proposals"] = {"resourceType": "Parameters"}

    assert "Nothing waits." in waiting.log_in("steward").get("/proposals").text
