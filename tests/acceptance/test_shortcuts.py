"""A clinician's keyboard in Chromium, under the pages' own policy: search, rows, places, help."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, expect

from tests.lib.people import Person
from tests.lib.server import Platform

pytestmark = pytest.mark.browser


@pytest.fixture
def doctor(chromium: Browser, served: Platform) -> Person:
    """Return a doctor at the page on which patients are found."""
    doctor = Person(chromium, served, keeps_policy=True)
    doctor.log_in_by_password("dr.wong")
    doctor.go("/patients")
    return doctor


def test_keys_find_a_patient_and_walk_through_the_record(doctor: Person) -> None:
    page, keyboard = doctor.page, doctor.page.keyboard
    refused: list[str] = []
    page.on("console", lambda line: refused.append(line.text) if line.type == "error" else None)

    keyboard.press("/")
    expect(page.locator("#who")).to_be_focused()
    keyboard.type(doctor.platform.patient.hkid)
    doctor.press("Enter")
    expect(page).to_have_url(re.compile(r"/patients\?search="))
    keyboard.press("j")
    expect(page.locator(".ehr-lines a").first).to_be_focused()
    doctor.press("Enter")
    expect(page).to_have_url(re.compile("/patients/.*-"))
    for _ in range(3):
        keyboard.press("j")
    keyboard.press("k")
    second = page.locator("main .ehr-board__rows > li:visible").nth(1).locator("a").first
    expect(second).to_be_focused()
    doctor.press("g", "f")
    expect(page).to_have_url(re.compile("/patients$"))
    assert refused == []
    assert doctor.outside() == []
    doctor.leave()


def test_help_opens_and_closes_and_holds_the_focus(doctor: Person) -> None:
    page, help_dialog = doctor.page, doctor.page.locator("#keys-help")

    page.keyboard.press("?")
    expect(help_dialog).to_be_visible()
    page.keyboard.press("/")
    expect(page.locator("#who")).not_to_be_focused()
    page.keyboard.press("?")
    expect(help_dialog).to_be_hidden()
    page.keyboard.press("?")
    page.keyboard.press("Escape")
    expect(help_dialog).to_be_hidden()
    doctor.leave()


def test_no_key_acts_in_a_field(doctor: Person) -> None:
    page = doctor.page
    page.focus("#who")

    page.keyboard.type("/jk?gf")

    expect(page.locator("#who")).to_have_value("/jk?gf")
    expect(page.locator("#keys-help")).to_be_hidden()
    assert page.url.endswith("/patients")
    doctor.leave()


def test_keys_are_switched_off_or_take_alt(doctor: Person) -> None:
    page = doctor.page
    doctor.click("footer a[href*='/display']")
    page.get_by_label("On, together with the Alt key").check()
    doctor.click(page.get_by_role("button", name="Save"))
    doctor.go("/patients")
    page.keyboard.press("/")
    expect(page.locator("#who")).not_to_be_focused()
    page.keyboard.press("Alt+/")
    expect(page.locator("#who")).to_be_focused()

    doctor.go("/display")
    page.get_by_label("Off", exact=True).check()
    doctor.click(page.get_by_role("button", name="Save"))
    doctor.go("/patients")
    for key in ("/", "Alt+/", "?"):
        page.keyboard.press(key)
    expect(page.locator("#who")).not_to_be_focused()
    expect(page.locator("#keys-help")).to_have_count(0)
    doctor.leave()
