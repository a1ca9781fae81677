"""The pages of steps: whom they open to, what they send, what they say of a refusal."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.lib.portal_house import PortalHouse, portal

__all__ = ["portal"]

PAGES = {
    "patient": ["/requests", "/notices", "/carers", "/sharing/close"],
    "doctor": ["/emergency", "/patients/pat-1/ask", "/patients/pat-1/emergency",
               "/patients/pat-1/substitute"],
    "steward": ["/reviews", "/deliveries"],
}  # fmt: skip


@pytest.fixture
def told(portal: PortalHouse) -> PortalHouse:
    """Return a portal whose gateway answers operations."""
    nothing: dict[str, Any] = {"resourceType": "Parameters"}
    for operation in ("$notices", "$access-reviews", "$notice-deliveries"):
        portal.fake.operations[operation] = nothing
    return portal


@pytest.mark.parametrize(("who", "page"), [(who, page) for who in PAGES for page in PAGES[who]])
def test_each_page_opens_to_its_own_role_alone(told: PortalHouse, who: str, page: str) -> None:
    statuses = {}
    for other in PAGES:
        told.browser = told.new_browser()
        statuses[other] = told.log_in(other).get(page).status_code

    assert statuses.pop(who) == 200
    assert set(statuses.values()) == {403}


def test_the_request_is_sent_with_every_box_that_was_ticked(told: PortalHouse) -> None:
    told.log_in("doctor")
    told.fake.operations["Patient/pat-1/$request-access"] = parameters(id="req-1")
    page = "/patients/pat-1/ask"

    boxes: Any = ["radiology", "birth"]
    answer = told.send(page, page, reason="Why <b>not</b>", domain=boxes, hours="24")

    assert answer.headers["location"] == "/patients/pat-1/ask/req-1"
    sent = told.fake.written()[-1]["parameter"]
    assert [one.get("valueString", one.get("valueInteger")) for one in sent] == [
        "Why <b>not</b>", "radiology", "birth", 24,
    ]  # fmt: skip


def test_a_refused_request_keeps_what_was_typed_as_text(told: PortalHouse) -> None:
    told.log_in("doctor")
    page = "/patients/pat-1/ask"

    answer = told.send(page, page, reason="<script>x</script>", hours="24")

    assert answer.status_code == 422
    assert "&lt;script&gt;x&lt;/script&gt;" in answer.text
    assert "<script>" not in answer.text


def test_a_marker_stands_at_the_head_of_the_record(told: PortalHouse) -> None:
    marked = parameters(shared=True, hidden=True)
    marked["parameter"].append({"name": "domain", "valueCode": "radiology"})
    told.fake.operations["Patient/pat-1/$withheld"] = marked

    shown = told.log_in("doctor").get("/patients/pat-1").text

    assert "Some records in: X-rays and scans." in shown
    assert "Some records are withheld." in shown


def test_without_a_marker_nothing_is_said(told: PortalHouse) -> None:
    told.fake.operations["Patient/pat-1/$withheld"] = {"resourceType": "Parameters"}

    assert "Not everything is shown" not in told.log_in("doctor").get("/patients/pat-1").text


@pytest.mark.parametrize("others", [True, False])
def test_the_patient_is_told_when_somebody_else_has_a_say(told: PortalHouse, others: bool) -> None:
    answer = parameters(decision="deny")
    if others:
        answer["parameter"].append({"name": "others", "valueBoolean": True})
    told.fake.operations["Patient/pat-1/$explain-access"] = answer

    shown = told.log_in("patient").get("/sharing/why?organization=st-b&domain=laboratory").text

    assert "They cannot see it" in shown
    assert ("Another account of yours" in shown) == others


def test_a_seal_is_not_set_before_it_is_understood(told: PortalHouse) -> None:
    told.log_in("patient")
    given = {"domain": "radiology", "against": "everyone", "firmness": "sealed"}

    assert told.send("/sharing/close", "/sharing/close", **given).status_code == 422
    assert told.fake.written() == []
    told.send("/sharing/close", "/sharing/close", understood="yes", **given)

    (written,) = told.fake.written()
    assert written["provision"]["extension"][0]["valueBoolean"] is True


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"label": "HIV"}, {"securityLabel"}),
        ({"author": "st-b", "against": "profession:nurse"}, {"data", "actor"}),
        ({"first": "2026-01-01", "last": "2026-02-01"}, {"dataPeriod"}),
        ({"domain": "birth", "besides": "st-b", "until": "2027-01-01"}, {"class", "provision"}),
        ({"record": "Encounter/e-1", "extent": "episode", "against": "group:carers"},
         {"data", "actor"}),
    ],
)  # fmt: skip
def test_each_choice_becomes_its_part_of_the_consent(
    told: PortalHouse, given: dict[str, str], expected: set[str]
) -> None:
    told.log_in("patient")

    told.send("/sharing/close", "/sharing/close", **{"firmness": "hidden", **given})

    (written,) = told.fake.written()
    assert set(written["provision"]) - {"type", "period"} == expected


@pytest.mark.parametrize(
    "given",
    [{}, {"domain": "birth", "until": "2020-01-01"}, {"first": "2026-02-01", "last": "2026-01-01"},
     {"domain": "birth", "until": "soon"}],
)  # fmt: skip
def test_what_says_nothing_is_not_written(told: PortalHouse, given: dict[str, str]) -> None:
    told.log_in("patient")

    answer = told.send("/sharing/close", "/sharing/close", **{"firmness": "hidden", **given})

    assert answer.status_code == 422
    assert told.fake.written() == []


def parameters(**given: Any) -> dict[str, Any]:
    """Return a Parameters resource."""
    listed = [
        {"name": name, "valueBoolean" if isinstance(value, bool) else "valueString": value}
        for name, value in given.items()
    ]
    return {"resourceType": "Parameters", "parameter": listed}


@pytest.mark.parametrize("is_shared", [True, False])
def test_what_is_not_shared_is_not_put_down_to_the_reason(
    portal: PortalHouse, is_shared: bool
) -> None:
    portal.log_in("doctor")
    page = "/patients/pat-1/ask"
    portal.fake.operations["Patient/pat-1/$withheld"] = {
        "parameter": [{"name": "shared", "valueBoolean": is_shared}]
    }
    shown = portal.browser.get(page).text
    csrf = re.findall(rf'action="{page}".*?name="csrf" value="(\w+)"', shown, re.S)[0]
    portal.fake.failures["Patient"] = 422
    portal.fake.recovers = True

    answer = portal.browser.post(
        page,
        data={"csrf": csrf, "domain": "radiology", "reason": "Checking the dose", "hours": "24"},
    )

    assert answer.status_code == 422
    assert ('id="reason-error"' in answer.text) == is_shared
    assert ("does not share the record" in answer.text) == (not is_shared)
