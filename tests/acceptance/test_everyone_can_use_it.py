"""Every page in three languages, on a phone and a desktop, by keyboard, and as axe sees it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

# The package ships no types.
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, expect

from ehr_portal.i18n import LANGUAGES
from ehr_portal.pages import load_navigation
from ehr_portal.web.sessions import User
from tests.lib.people import Person, Size
from tests.lib.server import Platform

pytestmark = pytest.mark.browser

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
LOOKED_AT = {("phone", "en"), ("desktop", "zh-Hant-HK")}
PATIENTS = ["/record/results", "/record/visits", "/who-looked?mine=1"]


@pytest.mark.parametrize("size", ["phone", "desktop"])
def test_no_page_of_the_patient_has_a_barrier_or_scrolls_sideways(
    chromium: Browser, served: Platform, tmp_path: Path, size: Size
) -> None:
    patient = Person(chromium, served, size=size)
    patient.log_in_by_eid(served.patient.hkid)
    patient.go("/record")
    item = patient.page.locator(".ehr-line__what a").first.get_attribute("href")

    for language in LANGUAGES:
        patient.go(f"/language/{language.tag}?back=/sharing")
        for path in [*bar("patient"), *PATIENTS, str(item)]:
            patient.go(path)
            page = re.sub(r"\W+", "-", path.strip("/"))[:24]
            patient.picture(tmp_path, f"{size}-{language.tag}-{page}")
            assert patient.page.locator("html").get_attribute("lang") == language.tag
            assert patient.sideways() <= 0, path
            # The pages' structure is the same in every language: each size is looked at in one.
            if (size, language.tag) in LOOKED_AT:
                assert barriers(patient) == [], path
    assert patient.outside() == []
    patient.leave()


def test_no_page_of_staff_or_strangers_has_a_barrier_or_scrolls_sideways(
    chromium: Browser, served: Platform, tmp_path: Path
) -> None:
    for login, paths in {
        "": ["/", "/?ended=1", "/no-such-page"],
        "dr.wong": [*bar("clinician"), f"/patients/{served.patient.id}", "/patients/nobody"],
        "steward.ng": bar("steward"),
    }.items():
        person = Person(chromium, served, size="phone")
        if login:
            person.log_in_by_password(login)
        for language in LANGUAGES:
            person.go(f"/language/{language.tag}")
            for number, path in enumerate(paths):
                person.go(path)
                person.picture(tmp_path, f"{login or 'nobody'}-{language.tag}-{number}")
                assert person.sideways() <= 0, path
                if language.tag == "en":
                    assert barriers(person) == [], path
        assert person.outside() == []
        person.leave()


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


def test_what_can_be_touched_is_large_enough(chromium: Browser, served: Platform) -> None:
    patient = Person(chromium, served, size="phone")
    patient.log_in_by_eid(served.patient.hkid)
    patient.go("/sharing")

    small = patient.page.evaluate(
        """[...document.querySelectorAll('header a, .ehr-bar a, button, select')]
           .filter(it => it.getBoundingClientRect().height < 24)
           .map(it => it.outerHTML)"""
    )

    assert small == []
    patient.leave()


def bar(role: str) -> list[str]:
    """Return the pages of a role's bar, a new one too."""
    user = User("", "", role, None, "somebody", "")
    return [link.path for link in load_navigation().links_for(user)]


def barriers(person: Person) -> list[str]:
    """Return what axe finds wrong, by WCAG 2.2 A and AA."""
    found = Axe().run(person.page, options=RULES)
    assert found.response["passes"], "axe did not run"
    return [f"{v['id']}: {v['nodes'][0]['html'][:160]}" for v in found.response["violations"]]
