"""What every page promises: headers, forms, addresses, roles."""

from __future__ import annotations

import re

import pytest

from ehr_design.static_files import static_path
from tests.lib.portal_house import PortalHouse, navigation_pages, portal

__all__ = ["portal"]

PAGES = {
    "patient": ["/record", "/record/results", "/record/item/Observation/lab-2025", "/sharing",
                "/who-looked"],
    "doctor": ["/patients", "/patients/pat-1", "/patients/pat-1/results"],
    "steward": ["/quality"],
}  # fmt: skip
SCRIPT = f'<script type="module" src="{static_path("/static", "ehr.js")}"></script>'
# Those and the pages of the bar, a new one too.
GUARDED = sorted(
    {*((who, path) for who, paths in PAGES.items() for path in paths), *navigation_pages()}
)


@pytest.mark.parametrize(("who", "page"), GUARDED)
def test_no_page_names_another_origin_or_runs_a_script_but_ours(who: str, page: str) -> None:
    shown = PortalHouse().log_in(who).get(page)

    assert shown.status_code == 200
    addresses = re.findall(r'(?:src|href|action)="([^"]*)"', shown.text)
    assert addresses
    assert all(address.startswith(("/", "#", "?")) for address in addresses)
    assert re.findall("<script.*", shown.text) == ([SCRIPT] if who == "doctor" else [])
    assert not re.search(r"\s(?:style|on[a-z]+)=", shown.text)


@pytest.mark.parametrize(("who", "page"), GUARDED)
def test_no_id_stands_twice_in_a_page(who: str, page: str) -> None:
    """A label or a fragment would mean the first of them: the frame's, not the page's own."""
    ids = re.findall(r' id="([^"]*)"', PortalHouse().log_in(who).get(page).text)

    assert sorted(ids) == sorted(set(ids))


@pytest.mark.parametrize(("who", "page"), GUARDED)
def test_no_page_is_kept_and_none_may_load_from_elsewhere(who: str, page: str) -> None:
    headers = PortalHouse().log_in(who).get(page).headers

    assert headers["cache-control"] == "no-store"
    # The script of a clinician's pages may ask this origin alone.
    script = "; script-src 'self'; connect-src 'self'" if who == "doctor" else ""
    assert headers["content-security-policy"] == (
        "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; "
        f"form-action 'self'; base-uri 'none'; frame-ancestors 'none'{script}"
    )
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


def test_the_style_sheet_may_be_kept(portal: PortalHouse) -> None:
    answer = portal.browser.get("/static/ehr.css")

    assert answer.headers["cache-control"] == "public, max-age=3600"
    assert answer.headers["content-security-policy"]


@pytest.mark.parametrize("page", sorted({page for _, page in GUARDED}))
def test_nobody_sees_a_page_without_logging_in(portal: PortalHouse, page: str) -> None:
    answer = portal.browser.get(page)

    assert (answer.status_code, answer.headers["location"]) == (303, "/?ended=1")
    assert portal.fake.asked == []


@pytest.mark.parametrize(
    ("who", "page"),
    [("doctor", "/record"), ("doctor", "/sharing"), ("patient", "/patients"),
     ("patient", "/quality"), ("steward", "/patients/pat-1"), ("researcher", "/record")],
)  # fmt: skip
def test_a_page_of_another_role_is_refused(who: str, page: str) -> None:
    assert PortalHouse().log_in(who).get(page).status_code == 403


def test_a_form_without_its_token_changes_nothing(portal: PortalHouse) -> None:
    answer = portal.log_in("patient").post("/sharing/organization/st-b", data={"to": "off"})

    assert answer.status_code == 403
    assert portal.fake.written() == []


def test_the_token_of_one_form_does_not_open_another(portal: PortalHouse) -> None:
    browser = portal.log_in("patient")
    page = browser.get("/sharing").text
    other = re.search(r'action="/logout".*?value="(\w+)"', page, re.S)
    assert other

    answer = browser.post("/sharing/organization/st-b", data={"to": "off", "csrf": other[1]})

    assert answer.status_code == 403
    assert portal.fake.written() == []


def test_a_form_sent_from_another_site_is_refused(portal: PortalHouse) -> None:
    portal.log_in("patient")
    portal.browser.headers["origin"] = "https://evil.example"

    answer = portal.send("/sharing", "/sharing/organization/st-b", to="off")

    assert answer.status_code == 403
    assert portal.fake.written() == []


def test_a_name_or_card_number_never_stands_in_an_address(portal: PortalHouse) -> None:
    portal.log_in("doctor")

    answer = portal.send("/patients", "/patients", who="ZQ123456(7)")

    assert re.fullmatch(r"/patients\?search=[\w-]+", answer.headers["location"])
    shown = portal.browser.get(answer.headers["location"])
    assert "CHAN Ka Yan" in shown.text
    assert not any("ZQ123456" in str(request.url) for request in portal.fake.asked)
    assert not re.findall(r'href="[^"]*(?:ZQ|CHAN)', shown.text)


def test_a_search_handle_of_another_session_finds_nothing(portal: PortalHouse) -> None:
    portal.log_in("doctor")
    address = portal.send("/patients", "/patients", who="CHAN").headers["location"]
    portal.browser = portal.new_browser()

    shown = portal.log_in("doctor").get(address)

    assert "CHAN Ka Yan" not in shown.text


def test_text_from_a_record_cannot_become_markup(portal: PortalHouse) -> None:
    shown = portal.log_in("patient").get("/record").text

    assert "Rare &lt;b&gt;thing&lt;/b&gt;" in shown
    assert "<b>thing" not in shown


def test_the_language_link_leads_nowhere_but_here(portal: PortalHouse) -> None:
    for back in ("https://evil.example/", "//evil.example", "/\\evil.example"):
        answer = portal.browser.get("/language/zh-Hans", params={"back": back})

        assert answer.headers["location"] == "/#chosen-language"


def test_a_next_link_to_another_host_is_asked_of_our_gateway_alone(portal: PortalHouse) -> None:
    portal.fake.resources |= {
        ("Organization", f"o-{n}"): {
            "resourceType": "Organization",
            "id": f"o-{n}",
            "name": f"O{n}",
        }
        for n in range(600)
    }

    assert portal.log_in("patient").get("/sharing").status_code == 200

    assert {request.url.host for request in portal.fake.asked} == {"gateway.test"}


def test_a_form_that_is_too_large_is_refused(portal: PortalHouse) -> None:
    browser = portal.log_in("patient")
    body = "csrf=" + "x" * 70_000
    headers = {"Content-Type": "application/x-www-form-urlencoded"}

    for content in (body, iter([body.encode()])):
        answer = browser.post("/sharing/organization/st-b", content=content, headers=headers)
        assert answer.status_code == 413
    assert portal.fake.written() == []


@pytest.mark.parametrize("path", ["/static", "/record/", "/sharing/"])
def test_no_redirect_follows_a_made_up_host(portal: PortalHouse, path: str) -> None:
    answer = portal.log_in("patient").get(path, headers={"Host": "evil.example"})

    assert "evil" not in answer.headers.get("location", "")


def test_every_page_asset_has_its_type(portal: PortalHouse) -> None:
    answer = portal.browser.get("/static/icon.svg")

    assert answer.headers["content-type"] == "image/svg+xml; charset=utf-8"


@pytest.mark.parametrize("status", [410, 413, 429])
@pytest.mark.parametrize(("who", "page"), GUARDED)
def test_what_the_gateway_refuses_is_not_put_down_to_a_form(
    who: str, page: str, status: int
) -> None:
    house = PortalHouse()
    browser = house.log_in(who)
    kinds = ("Patient", "Observation", "Consent", "AuditEvent", "MeasureReport", "$notices",
             "$acting-for", "$waiting")  # fmt: skip
    house.fake.failures = dict.fromkeys(kinds, status)

    shown = browser.get(page)

    assert "The form is too large" not in shown.text
    assert shown.headers["content-type"].startswith("text/html")
    assert shown.status_code != 500
