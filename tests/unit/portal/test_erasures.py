"""The pages of erasures: asking, the second person's decision, the certificate."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lib.portal_house import PortalHouse, portal

__all__ = ["portal"]

CERTIFICATE = {
    "name": "certificate",
    "part": [
        {"name": "at", "valueInstant": "2026-11-22T09:00:00Z"},
        {"name": "found", "valueInteger": 0},
        {"name": "files", "valueInteger": 412},
        {"name": "bytes", "valueDecimal": 73_400_321},
        {"name": "texts", "valueInteger": 57},
        {"name": "place", "part": [
            {"name": "name", "valueString": "lake/silver"},
            {"name": "files", "valueInteger": 7},
            {"name": "bytes", "valueDecimal": 1234},
            {"name": "found", "valueInteger": 0},
        ]},
        {"name": "not-scanned", "valueString": "backups, which are encrypted"},
    ],
}  # fmt: skip


def erasure(identity: str, state: str, *more: dict[str, Any]) -> dict[str, Any]:
    """Return one erasure as the gateway tells of it."""
    return {
        "name": "erasure",
        "part": [
            {"name": "id", "valueString": identity},
            {"name": "state", "valueString": state},
            {"name": "display", "valueString": "Ad <b>Lee</b>"},
            {"name": "reason", "valueString": "Asked for on paper"},
            {"name": "asked", "valueInstant": "2026-11-22T08:00:00.000Z"},
            {"name": "records", "valueInteger": 31},
            {"name": "shared", "valueInteger": 2},
            *more,
        ],
    }


@pytest.fixture
def listed(portal: PortalHouse) -> PortalHouse:
    """Return a portal whose gateway has one erasure that waits and one that is certified."""
    waiting = erasure("er-1", "proposed", {"name": "patient", "valueString": "pat-1"})
    portal.fake.operations["$erasures"] = {
        "resourceType": "Parameters",
        "parameter": [waiting, erasure("er-2", "ended", CERTIFICATE)],
    }
    portal.fake.operations["$decide-erasure"] = {"resourceType": "Parameters"}
    portal.fake.operations["Patient/pat-1/$purge"] = {"resourceType": "Parameters"}
    return portal


@pytest.mark.parametrize("who", ["patient", "doctor"])
def test_the_pages_are_for_those_who_keep_order(listed: PortalHouse, who: str) -> None:
    browser = listed.log_in(who)

    assert browser.get("/erasures").status_code == 403
    assert browser.get("/erasures/er-1").status_code == 403


def test_what_waits_and_what_is_certified_is_listed(listed: PortalHouse) -> None:
    shown = listed.log_in("steward").get("/erasures").text

    assert "Waits for a second person" in shown
    assert "Erased and certified" in shown
    assert "Ad &lt;b&gt;Lee&lt;/b&gt;" in shown


def test_the_certificate_says_what_was_read(listed: PortalHouse) -> None:
    shown = listed.log_in("steward").get("/erasures/er-2").text

    assert "Nothing was found" in shown
    assert "73400321" in shown
    assert "lake/silver" in shown
    assert 'name="decision"' not in shown


def test_asking_needs_the_box_and_a_reason(listed: PortalHouse) -> None:
    listed.log_in("steward")

    missing = listed.send("/erasures", "/erasures", patient="pat-1", reason="On paper")
    answer = listed.send("/erasures", "/erasures", patient="pat-1", reason="On paper", sure="1")

    assert missing.status_code == 422
    assert answer.headers["location"] == "/erasures"
    sent = listed.fake.written()[-1]["parameter"]
    assert [part["valueString"] for part in sent] == ["On paper"]


def test_a_steward_decides(listed: PortalHouse) -> None:
    listed.log_in("steward")
    page = "/erasures/er-1"

    assert listed.send(page, page, decision="", reason="x").status_code == 422
    answer = listed.send(page, page, decision="approve", reason="Papers checked again")

    assert answer.headers["location"] == page
    sent = listed.fake.written()[-1]["parameter"]
    assert [part["valueString"] for part in sent] == ["er-1", "approve", "Papers checked again"]


def test_a_steward_is_warned_of_a_person_in_treatment(listed: PortalHouse) -> None:
    open_visits = {"name": "open-visits", "valueInteger": 2}
    listed.fake.operations["$erasures"]["parameter"][0]["part"].append(open_visits)

    shown = listed.log_in("steward").get("/erasures/er-1").text

    assert "This person may be in treatment now" in shown
    assert "visits and stays that are not over" in shown


def test_one_that_is_not_there_is_not_found(listed: PortalHouse) -> None:
    assert listed.log_in("steward").get("/erasures/absent").status_code == 404
