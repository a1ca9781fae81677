"""Research: the choice, what it means, and that a later choice takes the earlier one's place."""

from __future__ import annotations

from tests.lib.portal_house import PortalHouse, portal

__all__ = ["portal"]

PAGE = "/research-choice"


def test_a_record_is_kept_out_and_let_in_again_by_one_consent(portal: PortalHouse) -> None:
    browser = portal.log_in("patient")
    assert "may be used for research, without your name" in browser.get(PAGE).text

    portal.send(PAGE, PAGE, to="no")
    refused = portal.fake.written()[-1]
    shown = browser.get(PAGE).text
    # Pressed twice, by going back: it stays as it is.
    portal.send(PAGE, PAGE, to="no")
    portal.send(PAGE, PAGE, to="yes")
    portal.send(PAGE, PAGE, to="no")

    assert refused["category"][0]["coding"][0]["code"] == "research"
    assert refused["provision"] == {
        "type": "deny",
        "period": {"start": "2026-11-22T08:00:00+00:00"},
    }
    assert "Your record is not used for research." in shown
    statuses = [body["status"] for body in portal.fake.written()]
    assert statuses == ["active", "inactive", "active"]
    assert len({body.get("id", "new") for body in portal.fake.written()} - {"new"}) == 1


def test_who_has_not_joined_is_not_part_of_it(portal: PortalHouse) -> None:
    portal.fake.resources["Consent", "joining-1"]["status"] = "inactive"

    assert "you have not joined" in portal.log_in("patient").get(PAGE).text
