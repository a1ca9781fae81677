"""The sharing page: what it says, what it writes."""

from __future__ import annotations

import pytest

from tests.lib.portal_house import PortalHouse, portal

__all__ = ["portal"]


def test_each_provider_has_a_switch_that_tells_its_state(portal: PortalHouse) -> None:
    shown = portal.log_in("patient").get("/sharing").text

    assert shown.count('role="switch"') == 3
    assert shown.count('aria-checked="true"') == 2
    assert "Public hospital" in shown
    assert "eHR Commons</h3>" not in shown


def test_off_makes_the_consent_inactive_only_at_the_version_seen(portal: PortalHouse) -> None:
    portal.log_in("patient")

    answer = portal.send("/sharing", "/sharing/organization/st-b", to="off")

    (written,) = portal.fake.written()
    assert (written["id"], written["status"]) == ("share-st-b", "inactive")
    sent = next(request for request in portal.fake.asked if request.method == "PUT")
    assert sent.headers["If-Match"] == 'W/"1"'
    page = portal.browser.get(answer.headers["location"]).text
    assert "Sharing with St B&#39;s Hospital is off. From this moment" in page
    assert page.count('aria-checked="true"') == 1


def test_on_takes_the_same_consent_up_again(portal: PortalHouse) -> None:
    portal.log_in("patient")
    portal.send("/sharing", "/sharing/organization/st-b", to="off")

    portal.send("/sharing", "/sharing/organization/st-b", to="on")

    written = portal.fake.written()[-1]
    assert (written["id"], written["status"]) == ("share-st-b", "active")
    assert written["provision"]["period"] == {"start": "2026-11-22T08:00:00+00:00"}


def test_a_first_consent_may_be_for_one_year(portal: PortalHouse) -> None:
    portal.log_in("patient")

    portal.send("/sharing", "/sharing/organization/clinic-c", to="on", term="year")

    (written,) = portal.fake.written()
    assert written["provision"]["period"] == {
        "start": "2026-11-22T08:00:00+00:00",
        "end": "2027-11-22T08:00:00+00:00",
    }
    assert "until 22 Nov 2027" in portal.browser.get("/sharing").text


def test_a_public_hospital_is_closed_by_a_restriction_and_opened_by_lifting_it(
    portal: PortalHouse,
) -> None:
    portal.log_in("patient")

    portal.send("/sharing", "/sharing/organization/ha-a", to="off")
    closed = portal.browser.get("/sharing").text
    portal.send("/sharing", "/sharing/organization/ha-a", to="on")

    first, second = portal.fake.written()
    assert first["provision"]["type"] == "deny"
    assert first["provision"]["actor"][0]["reference"] == {"reference": "Organization/ha-a"}
    assert "You closed your record to this public hospital" in closed
    assert (second["status"], second["provision"]) == ("inactive", first["provision"])


def test_sending_the_same_wish_twice_writes_once(portal: PortalHouse) -> None:
    portal.log_in("patient")

    for _ in range(2):
        portal.send("/sharing", "/sharing/organization/ha-a", to="off")
        portal.send("/sharing", "/sharing/organization/st-b", to="off")

    assert len(portal.fake.written()) == 2


def test_a_kind_of_records_is_closed_to_everyone_or_to_one(portal: PortalHouse) -> None:
    portal.log_in("patient")

    portal.send("/sharing", "/sharing/restrict", domain="laboratory", against="")
    portal.send("/sharing", "/sharing/restrict", domain="medication", against="st-b")

    everyone, one = portal.fake.written()
    system = "https://ehr-commons.hk/fhir/CodeSystem/data-domain"
    assert everyone["provision"]["class"] == [{"system": system, "code": "laboratory"}]
    assert "actor" not in everyone["provision"]
    assert one["provision"]["actor"][0]["reference"] == {"reference": "Organization/st-b"}
    shown = portal.browser.get("/sharing").text
    assert "Laboratory results" in shown
    assert "Closed to everyone but who wrote it" in shown
    assert "Closed to St B&#39;s Hospital" in shown


def test_a_single_record_is_closed_from_its_page_and_opened_again(portal: PortalHouse) -> None:
    portal.log_in("patient")
    page = "/record/item/Condition/con-1"

    answer = portal.send(page, "/sharing/restrict", record="Condition/con-1", against="")

    assert answer.headers["location"] == page
    (written,) = portal.fake.written()
    assert written["provision"]["data"] == [
        {"meaning": "instance", "reference": {"reference": "Condition/con-1"}}
    ]
    assert "Closed to everyone but who wrote it" in portal.browser.get(page).text
    consent = next(
        i for (t, i), r in portal.fake.resources.items() if r.get("provision", {}).get("data")
    )
    portal.send(page, "/sharing/lift", consent=consent, back=page)
    assert portal.fake.written()[-1]["status"] == "inactive"
    assert "Closed to everyone" not in portal.browser.get(page).text


@pytest.mark.parametrize(
    "fields",
    [{"domain": ""}, {"domain": "made-up"}, {"domain": "laboratory", "against": "nobody"}],
)
def test_an_unknown_choice_writes_nothing_and_says_so(
    portal: PortalHouse, fields: dict[str, str]
) -> None:
    portal.log_in("patient")

    portal.send("/sharing", "/sharing/restrict", **fields)

    assert portal.fake.written() == []
    assert "Choose what to close." in portal.browser.get("/sharing").text


def test_a_change_made_elsewhere_meanwhile_is_told_and_nothing_is_overwritten(
    portal: PortalHouse,
) -> None:
    portal.log_in("patient")
    consent = portal.fake.resources[("Consent", "share-st-b")]
    portal.fake.before_write = lambda: consent.update(meta={"versionId": "7"})

    answer = portal.send("/sharing", "/sharing/organization/st-b", to="off")

    assert answer.status_code == 412
    assert "This was changed a moment ago" in answer.text
    assert portal.fake.resources[("Consent", "share-st-b")]["status"] == "active"


def test_a_consent_that_is_no_restriction_cannot_be_lifted_here(portal: PortalHouse) -> None:
    portal.log_in("patient")
    portal.send("/sharing", "/sharing/restrict", domain="laboratory")

    answer = portal.send("/sharing", "/sharing/lift", consent="joining-1")

    assert answer.status_code == 404
    assert portal.fake.resources[("Consent", "joining-1")]["status"] == "active"


def test_who_has_not_joined_is_told_that_nothing_is_shared(portal: PortalHouse) -> None:
    del portal.fake.resources[("Consent", "joining-1")]

    shown = portal.log_in("patient").get("/sharing").text

    assert "You have not joined." in shown
    assert 'role="switch"' not in shown
    assert "Sees your shared record" not in shown


def test_a_carer_who_may_only_look_is_offered_no_choice(portal: PortalHouse) -> None:
    browser = portal.log_in("carer")

    shown = browser.get("/sharing").text

    assert "You may look at these choices." in shown
    assert 'role="switch"' not in shown
    assert 'action="/sharing' not in shown
    assert "St B&#39;s Hospital" in shown
