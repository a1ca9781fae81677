"""A patient reads: home, a result over time, a search, the timeline, the next appointment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.lib.barriers import barriers
from tests.lib.people import Person, Size
from tests.lib.server import Platform

pytestmark = pytest.mark.browser

# What the search is for, in each language, and the heading of the section where it is found.
WORDS = {
    "en": ("blood pressure", "Measurements"),
    "zh-Hant-HK": ("血壓", "量度數值"),
    "zh-Hans": ("血压", "测量数值"),
}


@pytest.mark.parametrize(
    ("size", "language"),
    [("phone", "zh-Hant-HK"), ("desktop", "en"), ("phone", "zh-Hans"), ("zoomed", "en")],
)
def test_a_patient_finds_what_matters_without_a_script(
    chromium: Browser, served: Platform, tmp_path: Path, size: Size, language: str
) -> None:
    patient = Person(chromium, served, size=size, language=language, scripts=False)
    page = patient.page
    patient.log_in_by_eid(served.patient.hkid)
    expect(page.locator(".ehr-home .ehr-tile")).to_have_count(7)
    first = page.locator(".ehr-home .ehr-tile").first.bounding_box()
    assert first
    # The first tile stands in the upper quarter of a phone's screen, the upper third of a desk's.
    assert first["y"] < {"phone": 740 / 4, "desktop": 900 / 3}.get(size, 400)

    def look(name: str) -> None:
        patient.picture(tmp_path, f"{size}-{language}-{name}")
        assert patient.sideways() <= 0, name

    look("home")
    patient.click(".ehr-tile a[href='/record/results']")
    patient.click(page.locator("a[href^='/record/trend/']").first)
    expect(page.locator("table tbody tr").first).to_be_visible()
    look("trend")

    patient.go("/home")
    patient.click("nav a[href='/search']")
    word, section = WORDS[language]
    page.fill("#words", word)
    patient.press("Enter")
    expect(page).to_have_url(re.compile(r"/search\?words="))
    assert word not in page.url
    expect(page.locator("main h2", has_text=section).first).to_be_visible()
    if language != "en":
        expect(page.locator("mark").first).to_have_text(word)
    look("search")

    patient.go("/timeline")
    days = page.locator(".ehr-day").count()
    page.locator(".ehr-filters summary").click()
    page.select_option("#kind", "plans")
    patient.click(".ehr-filters button")
    assert page.url.endswith("/timeline?kind=plans&organization=&year=")
    assert 0 < page.locator(".ehr-day").count() != days
    look("timeline")

    for path in ("/appointments", "/care-plan", "/imaging", "/help"):
        patient.go(path)
        expect(page.locator("h1")).to_be_visible()
        look(path.strip("/"))
    assert patient.outside() == []
    patient.leave()


def test_the_home_is_used_by_keyboard_alone_and_has_no_barrier(
    chromium: Browser, served: Platform
) -> None:
    patient = Person(chromium, served)
    patient.log_in_by_eid(served.patient.hkid)
    assert barriers(patient) == []
    keyboard = patient.page.keyboard

    keyboard.press("Tab")
    keyboard.press("Enter")
    seen = []
    for _ in range(7):
        keyboard.press("Tab")
        seen.append(patient.page.evaluate("document.activeElement.getAttribute('href')"))
    assert {"/home/new", "/record/medicines", "/record/results", "/appointments", "/who-looked",
            "/sharing", "/requests"} == set(seen)  # fmt: skip
    patient.press("Enter")

    expect(patient.page).to_have_url(re.compile("/(requests|sharing|who-looked|appointments)$"))
    patient.leave()


def test_the_pictures_of_an_examination_are_shown(chromium: Browser, served: Platform) -> None:
    patient = Person(chromium, served)
    patient.log_in_by_eid(served.patient.hkid)
    patient.go("/imaging")

    picture = patient.page.locator("img.ehr-picture").first
    expect(picture).to_be_visible()

    expect(picture).to_have_js_property("complete", True)
    assert picture.evaluate("it => it.naturalWidth") > 50
    patient.leave()
