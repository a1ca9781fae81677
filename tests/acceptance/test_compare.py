"""A clinician compares results and reads the timeline, by keyboard, on a phone and a desk."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from ehr_portal.i18n import LANGUAGES
from tests.lib.barriers import barriers
from tests.lib.people import Person
from tests.lib.server import Platform

pytestmark = pytest.mark.browser


def test_results_are_chosen_and_stand_side_by_side(
    chromium: Browser, served: Platform, tmp_path: Path
) -> None:
    doctor = Person(chromium, served, keeps_policy=True)
    page, base = doctor.page, f"/patients/{served.patient.id}"
    doctor.log_in_by_password("dr.chan")
    doctor.go(base)
    doctor.press("g", "c")
    expect(page).to_have_url(re.compile(f"{base}/compare$"))
    boxes = page.locator("input[name=test]")
    boxes.nth(0).check()
    boxes.nth(8).check()
    doctor.click(page.get_by_role("button", name="Compare"))

    table = page.locator("table")
    assert table.locator("thead th").count() >= 3
    expect(table.locator("tbody tr").first).to_be_visible()
    expect(page.locator("svg[role=img]").first).to_be_visible()
    for number in (0, 8):
        expect(boxes.nth(number)).to_be_checked()
    doctor.picture(tmp_path, "compare")
    page.keyboard.press("j")
    expect(table.locator("tbody a").first).to_be_focused()
    doctor.leave()


def test_the_timeline_spans_the_providers(chromium: Browser, served: Platform) -> None:
    doctor = Person(chromium, served, keeps_policy=True)
    page, base = doctor.page, f"/patients/{served.patient.id}"
    doctor.log_in_by_password("dr.chan")
    doctor.go(base)
    doctor.press("g", "t")

    expect(page).to_have_url(re.compile(f"{base}/timeline$"))
    expect(page.locator("main")).to_contain_text("Harbour General Hospital")
    expect(page.locator("main")).to_contain_text("Kwun Fong Family Clinic")
    doctor.click(page.locator(f"main a[href^='{base}/item/']").first)
    expect(page).to_have_url(re.compile(f"{base}/item/"))
    doctor.leave()


@pytest.mark.parametrize("size", ["phone", "desktop", "zoomed"])
def test_they_have_no_barrier(
    chromium: Browser, served: Platform, tmp_path: Path, size: str
) -> None:
    doctor = Person(chromium, served, size=size)  # type: ignore[arg-type]
    doctor.log_in_by_password("dr.chan")
    base = f"/patients/{served.patient.id}"
    doctor.go(f"{base}/compare")
    chosen = doctor.page.locator("input[name=test]").first.get_attribute("value")
    for language in LANGUAGES:
        doctor.go(f"/language/{language.tag}?back=/patients")
        for path in ("/compare", f"/compare?test={chosen}", "/timeline"):
            doctor.go(base + path)
            doctor.picture(tmp_path, f"{size}-{language.tag}-{re.sub(r'[^a-z]', '', path)[:12]}")
            assert doctor.sideways() <= 0, path
            if language.tag == "en":
                assert barriers(doctor) == [], path
    doctor.leave()
