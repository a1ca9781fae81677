"""Language, theme and text size: chosen by anybody, kept by the browser, passed along at log-in."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from ehr_design.display_settings import TEXT_SIZES, THEMES
from tests.lib.portal_house import PortalHouse, portal

__all__ = ["portal"]

CHOSEN = {"theme": "dark", "text-size": "large", "language": "zh-Hans"}


@pytest.mark.parametrize("text_size", TEXT_SIZES)
@pytest.mark.parametrize("theme", THEMES)
def test_a_choice_shows_on_every_page_from_then_on(
    portal: PortalHouse, theme: str, text_size: str
) -> None:
    saved = portal.browser.get("/display/save", params={"theme": theme, "text-size": text_size})
    assert saved.status_code == 303

    for page in ("/", "/display", "/nothing-here"):
        shown = portal.browser.get(page).text
        assert (f'data-theme="{theme}"' in shown) == (theme != "system")
        assert (f'data-text-size="{text_size}"' in shown) == (text_size != "normal")


def test_the_form_shows_what_is_chosen_and_leads_back(portal: PortalHouse) -> None:
    saved = portal.browser.get("/display/save", params={**CHOSEN, "back": "/sharing?a=b"})

    assert saved.headers["location"] == "/display?back=%2Fsharing%3Fa%3Db&saved=1#saved"
    shown = portal.browser.get(saved.headers["location"]).text
    assert 'href="/sharing?a=b"' in shown
    assert 'id="saved" role="status" tabindex="-1"' in shown
    for choice in ("theme-dark", "text-size-large", "language-zh-Hans"):
        assert f'id="{choice}"' in shown
        assert "checked" in shown[shown.index(f'id="{choice}"') :].split(">")[0]


@pytest.mark.parametrize(
    "back", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
def test_the_way_back_is_a_page_of_ours(portal: PortalHouse, back: str) -> None:
    shown = portal.browser.get("/display", params={"back": back}).text
    saved = portal.browser.get("/display/save", params={"back": back})

    assert "evil" not in shown.split('name="back"')[0].split("<main")[1]
    assert saved.headers["location"] == "/display?back=%2F&saved=1#saved"


@pytest.mark.parametrize("made_up", ["<script>", "dark\r\nSet-Cookie: a=b", "", "DARK"])
def test_an_unknown_value_counts_as_no_choice(portal: PortalHouse, made_up: str) -> None:
    saved = portal.browser.get(
        "/display/save", params=dict.fromkeys(("theme", "text-size", "language"), made_up)
    )

    assert portal.browser.cookies["theme"] == "system"
    assert portal.browser.cookies["text-size"] == "normal"
    assert "language" not in portal.browser.cookies
    assert "a=b" not in str(saved.headers)
    portal.browser.cookies.set("theme", "made-up")
    assert "data-theme" not in portal.browser.get("/").text


def test_a_log_in_passes_along_what_was_chosen(portal: PortalHouse) -> None:
    for name, value in CHOSEN.items():
        portal.browser.cookies.set(name, value)

    asked = parse_qs(urlsplit(portal.browser.get("/login").headers["location"]).query)

    assert asked["ui_locales"] == ["zh-Hans"]
    assert asked["ehr_theme"] == ["dark"]
    assert asked["ehr_text_size"] == ["large"]


def test_a_log_in_without_choices_passes_none(portal: PortalHouse) -> None:
    assert "ehr_" not in portal.browser.get("/login").headers["location"]


def test_the_choices_outlast_log_in_and_log_out(portal: PortalHouse) -> None:
    for name, value in CHOSEN.items():
        portal.browser.cookies.set(name, value)

    browser = portal.log_in("patient", "zh-Hans")
    assert 'lang="zh-Hans" data-theme="dark" data-text-size="large"' in browser.get("/record").text
    portal.send("/record", "/logout")

    assert 'lang="zh-Hans" data-theme="dark" data-text-size="large"' in browser.get("/").text


def test_behind_https_the_choices_are_bound_to_the_host() -> None:
    house = PortalHouse("https://portal.test")

    saved = house.browser.get("/display/save", params=CHOSEN)

    cookies = saved.headers.get_list("set-cookie")
    assert len(cookies) == 3
    for cookie in cookies:
        assert cookie.startswith("__Host-")
        assert "Secure" in cookie
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
    assert 'data-theme="dark"' in house.browser.get("/").text


def test_paper_names_the_patient_and_the_day(portal: PortalHouse) -> None:
    shown = portal.log_in("patient").get("/record").text

    head = shown[shown.index('class="ehr-print-head"') :].split("</main>")[0].split("<main")[0]
    assert "CHAN Ka Yan" in head
    assert "14 Mar 1981" in head
    assert "ZQ1" in head
    assert "22 Nov 2026" in head


def test_the_style_guide_is_there_for_everybody_and_linked_by_nobody(portal: PortalHouse) -> None:
    shown = portal.browser.get("/style")

    assert shown.status_code == 200
    assert "noindex" in shown.text
    for page in ("/", "/display"):
        assert '"/style"' not in portal.browser.get(page).text
    assert portal.fake.asked == []
