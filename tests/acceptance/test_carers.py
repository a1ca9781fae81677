"""Carers in Chromium: whom they act for is always said, and what they may not do is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, expect

from ehr_cli.sample.sample_accounts import carer_hkid
from ehr_portal.i18n import LANGUAGES
from tests.lib.barriers import barriers
from tests.lib.people import Person
from tests.lib.server import Platform

pytestmark = pytest.mark.browser
# The pages that the bar offers to a carer who may only look, or decide as well.
LOOKING = {"/people", "/apps", "/notices", "/home", "/record", "/who-looked", "/take-away"}
PAGES = {
    "view": LOOKING,
    "both": LOOKING | {"/sharing", "/requests", "/own-entries", "/corrections"},
}


def invite(patient: Person, power: str) -> str:
    """Invite a carer with a power; return the code."""
    patient.go("/carers")
    patient.page.locator(f"#power-{power}").check()
    patient.click("form[action='/carers/invite'] button")
    return patient.page.locator(".ehr-code-shown").inner_text()


def end_all(patient: Person) -> None:
    patient.go("/carers")
    while patient.page.locator("form[action='/carers/end'] button").count():
        patient.click(patient.page.locator("form[action='/carers/end'] button").first)


@pytest.mark.parametrize("size", ["phone", "desktop"])
@pytest.mark.parametrize("power", PAGES)
def test_the_head_says_for_whom_and_pages_follow_the_power(
    chromium: Browser,
    served: Platform,
    tmp_path: Path,
    size: Literal["phone", "desktop"],
    power: str,
) -> None:
    patient = Person(chromium, served, scripts=False)
    carer = Person(chromium, served, size=size)
    patient.log_in_by_eid(served.patient.hkid)
    code = invite(patient, power)
    carer.log_in_by_eid(carer_hkid(), first_page="people")
    head = carer.page.locator(".ehr-acting")
    expect(head).to_contain_text("You act for nobody now.")
    carer.page.fill("#code", code)
    carer.click("form[action='/people/accept'] button")
    carer.click(carer.page.locator("form[action='/people/choose'] button").first)
    expect(head).to_contain_text(served.patient.name.text)

    places = carer.page.locator(".ehr-places a").evaluate_all(
        "links => links.map(link => link.getAttribute('href'))"
    )
    assert set(places) == PAGES[power]
    for path in places:
        carer.go(path)
        # Whom they act for is said on every page.
        expect(head).to_contain_text(served.patient.name.text)
        assert carer.sideways() <= 0, path
    carer.go("/sharing")
    switches = carer.page.get_by_role("switch").count()
    assert (switches > 0) == (power == "both")
    assert carer.page.locator("main form").count() == 0 or power == "both"

    for language in LANGUAGES:
        carer.go(f"/language/{language.tag}?back=/record")
        expect(head).to_contain_text(served.patient.name.text)
        carer.picture(tmp_path, f"carer-{power}-{size}-{language.tag}")
        assert barriers(carer) == [], language.tag
    carer.go("/language/en?back=/record")

    end_all(patient)
    carer.go("/record")
    assert served.patient.name.text not in carer.page.locator("main").inner_text()
    patient.leave()
    carer.leave()
