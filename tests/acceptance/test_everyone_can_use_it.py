"""By keyboard, without scripts, on paper, and as chosen; test_every_page.py has the rest."""

from __future__ import annotations

import re
from pathlib import Path

import pypdfium2
import pytest
from playwright.sync_api import Browser, expect

from tests.lib.people import Person
from tests.lib.server import Platform

pytestmark = pytest.mark.browser


def test_the_switch_can_be_reached_and_turned_by_keyboard_alone(
    chromium: Browser, served: Platform
) -> None:
    patient = Person(chromium, served)
    patient.log_in_by_eid(served.patient.hkid)
    patient.go("/sharing")
    keyboard = patient.page.keyboard

    keyboard.press("Tab")
    expect(patient.page.locator(".nhsuk-skip-link")).to_be_focused()
    keyboard.press("Enter")
    for _ in range(12):
        keyboard.press("Tab")
        if patient.switch("st-gabriel").evaluate("it => it === document.activeElement"):
            break
    expect(patient.switch("st-gabriel")).to_be_focused()
    for wanted in ("false", "true"):
        patient.switch("st-gabriel").focus()
        keyboard.press("Space")
        expect(patient.switch("st-gabriel")).to_have_attribute("aria-checked", wanted)
    patient.leave()


def test_the_places_of_a_phone_open_without_a_script(chromium: Browser, served: Platform) -> None:
    patient = Person(chromium, served, size="phone", scripts=False)
    patient.log_in_by_eid(served.patient.hkid)
    page = patient.page
    sharing = page.locator(".ehr-bar").get_by_role("link", name="Sharing", exact=True)
    heading = page.locator("h1").bounding_box()
    assert heading
    # The frame takes no more than a sixth of the screen.
    assert heading["y"] < 130
    expect(sharing).to_be_hidden()

    patient.click(page.get_by_role("link", name="Menu"))
    expect(sharing).to_be_visible()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    sharing.click()

    expect(page).to_have_url(re.compile("/sharing$"))
    patient.leave()


def test_what_a_reader_chooses_stays_through_log_in_account_and_log_out(
    chromium: Browser, served: Platform
) -> None:
    patient = Person(chromium, served, scripts=False)
    page, html = patient.page, patient.page.locator("html")

    def look() -> list[str | None]:
        return [html.get_attribute(name) for name in ("lang", "data-theme", "data-text-size")]

    patient.go("/")
    patient.click(page.get_by_role("link", name="Display"))
    page.get_by_label("Very large").check()
    page.get_by_label("High contrast").check()
    page.get_by_label("繁體中文").check()
    patient.click(page.get_by_role("button", name="Save"))
    expect(page.locator("#saved")).to_be_focused()
    chosen = ["zh-Hant-HK", "contrast", "larger"]
    assert look() == chosen

    patient.go("/login")
    assert look() == chosen
    patient.click("#eid")
    assert look() == chosen
    page.go_back()
    patient.log_in_by_eid(served.patient.hkid)
    for path in ("/record", "/oauth/account"):
        patient.go(path)
        assert look() == chosen
    patient.click(".nhsuk-back-link")
    assert page.url.endswith("/home")
    patient.click("form[action='/logout'] button")
    assert look() == chosen
    assert page.url.endswith("/oauth/logout")
    patient.leave()


def test_the_focus_stays_where_a_switch_was_used(chromium: Browser, served: Platform) -> None:
    patient = Person(chromium, served)
    patient.log_in_by_eid(served.patient.hkid)
    patient.go("/sharing")

    for wanted in ("false", "true"):
        patient.switch("st-gabriel").focus()
        patient.page.keyboard.press("Space")
        expect(patient.switch("st-gabriel")).to_have_attribute("aria-checked", wanted)
        expect(patient.switch("st-gabriel")).to_be_focused()
    patient.page.locator("a[hreflang=zh-Hans]").press("Enter")
    expect(patient.page.locator("#chosen-language")).to_be_focused()
    expect(patient.page.locator("#chosen-language")).to_have_text("简体")
    patient.leave()


def test_each_sheet_of_paper_says_whose_record_it_is(
    chromium: Browser, served: Platform, tmp_path: Path
) -> None:
    patient = Person(chromium, served)
    patient.choose(theme="dark")
    patient.log_in_by_eid(served.patient.hkid)
    patient.go("/record/medicines")
    name = patient.page.locator(".ehr-bar__user").inner_text().split("朱")[0].strip()
    rows = patient.page.locator(".ehr-lines > li").count()

    file = tmp_path / "medicines.pdf"
    patient.page.pdf(path=file, prefer_css_page_size=True)

    with pypdfium2.PdfDocument(file) as paper:
        sheets = [sheet.get_textpage().get_text_bounded() for sheet in paper]
    assert len(sheets) > 1
    # Twelve and more medicines stand on a sheet, with dose, reason and who wrote it.
    assert len(sheets) <= rows / 12 + 1
    for number, text in enumerate(sheets, 1):
        assert name in text
        assert "Born" in text
        assert served.patient.hkid[:5] in text
        assert "Printed on" in text
        assert f"{number} / {len(sheets)}" in text
        assert not re.search(r"https?:|/record/|Log out|Sharing|Menu", text)
    patient.leave()
