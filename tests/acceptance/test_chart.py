"""The clinician's screen in a browser: forty facts at a glance, the critical first on a phone."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from ehr_portal.i18n import LANGUAGES
from tests.lib.people import Person
from tests.lib.server import Platform

pytestmark = pytest.mark.browser

# A fact is an entry of a list or a field of the banner that is whole within the screen.
COUNT_FACTS = """() => {
  const seen = new Set();
  for (const entry of document.querySelectorAll("main li, main dd")) {
    const box = entry.getBoundingClientRect();
    const isWhole = box.height > 0 && box.top >= 0 && box.bottom <= innerHeight
      && box.left >= 0 && box.right <= innerWidth;
    // Links to further sections say nothing about the patient.
    if (isWhole && entry.innerText.trim() && !entry.closest("nav")) seen.add(entry.innerText);
  }
  return seen.size;
}"""


@pytest.mark.parametrize("theme", ["light", "contrast"])
@pytest.mark.parametrize("language", [language.tag for language in LANGUAGES])
def test_forty_facts_stand_on_the_screen_without_scrolling(
    chromium: Browser, served: Platform, language: str, theme: str
) -> None:
    doctor = Person(chromium, served, language=language)
    doctor.choose(language=language, theme=theme)
    doctor.log_in_by_password("dr.chan")
    doctor.go(f"/patients/{served.patient.id}")
    page = doctor.page

    assert page.evaluate(COUNT_FACTS) >= 40
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    # Nothing stands above the banner but the slim bar.
    heading = page.locator("h1").bounding_box()
    assert heading and heading["y"] < 90
    strip = page.locator(".ehr-strip").bounding_box()
    assert strip and strip["y"] < 125
    doctor.leave()


def test_on_a_phone_the_same_comes_in_one_column_the_critical_first(
    chromium: Browser, served: Platform
) -> None:
    doctor = Person(chromium, served, size="phone")
    doctor.log_in_by_password("dr.chan")
    doctor.go(f"/patients/{served.patient.id}")
    page = doctor.page

    tops = [
        page.locator(selector).first.bounding_box()
        for selector in ("h1", ".ehr-strip", "#measurements", "#results", "#problems", "#visits")
    ]
    places = [box["y"] for box in tops if box]
    assert len(places) == 6 and places == sorted(places)
    assert places[1] < 300
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    doctor.leave()


def test_by_keyboard_the_allergies_come_first_then_each_block_leads_to_its_section(
    chromium: Browser, served: Platform
) -> None:
    doctor = Person(chromium, served)
    doctor.log_in_by_password("dr.chan")
    base = f"/patients/{served.patient.id}"
    doctor.go(base)
    page = doctor.page
    page.locator("main").focus()

    page.keyboard.press("Tab")
    expect(page.locator(f".ehr-strip a[href='{base}/allergies']")).to_be_focused()
    for key in ("measurements", "results", "problems", "medicines", "visits", "documents"):
        doctor.go(base)
        page.locator(f".ehr-block__head a[href='{base}/{key}']").focus()
        doctor.press("Enter")
        expect(page.locator("h1")).to_be_visible()
        assert page.url.endswith(f"{base}/{key}")
        # The allergies are in the head of this page as well.
        expect(page.locator(".ehr-strip")).to_be_visible()
    doctor.leave()
