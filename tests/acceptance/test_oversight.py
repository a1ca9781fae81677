"""The steward's day: what waits, a review with evidence, containment, the report, the counter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.lib.barriers import inspect_page
from tests.lib.people import Person, Size
from tests.lib.server import Platform

pytestmark = pytest.mark.browser

LANGUAGES: dict[Size, str] = {"desktop": "en", "phone": "zh-Hant-HK", "zoomed": "zh-Hans"}


@pytest.mark.parametrize("size", ["desktop", "phone", "zoomed"])
def test_an_emergency_is_reviewed_contained_and_reported(
    chromium: Browser, served: Platform, tmp_path: Path, size: Size
) -> None:
    doctor = Person(chromium, served)
    doctor.log_in_by_password("dr.lee")
    doctor.go("/emergency")
    doctor.page.fill("[name=hkid]", served.patient.hkid)
    doctor.page.fill("[name=reason]", "Unconscious in the emergency room")
    doctor.click("form[action='/emergency'] button")
    record = f"/patients/{served.patient.id}"
    doctor.go(record)
    steward = Person(chromium, served, size=size, language=LANGUAGES[size])
    steward.log_in_by_password("steward.ng")
    steward.go(f"/language/{LANGUAGES[size]}?back=/overview")

    # What waits leads to the review, and the review shows what was done.
    inspect_page(steward, tmp_path, f"{size}-overview")
    steward.click(".ehr-tile a[href='/reviews']")
    inspect_page(steward, tmp_path, f"{size}-reviews")
    steward.click(steward.page.locator("a[href^='/reviews/']").first)
    expect(steward.page.locator("#evidence + ul li").first).to_be_visible()
    inspect_page(steward, tmp_path, f"{size}-review")

    # Suspended, the doctor's next click is refused; lifted, it is not.
    steward.go("/monitor?person=dr.lee")
    inspect_page(steward, tmp_path, f"{size}-monitor")
    steward.page.locator("#reason").fill("Somebody else may use this log-in")
    steward.page.locator("#sure").check()
    steward.click("form[action='/monitor/suspend'] button")
    inspect_page(steward, tmp_path, f"{size}-suspended")
    doctor.go(record)
    assert served.patient.hkid not in doctor.page.content()
    expect(doctor.page.locator("h1")).not_to_contain_text(re.compile("CHAN"))
    steward.page.locator("form[action='/monitor/report'] [value=person]").check()
    steward.page.locator("#r-subject").fill("dr.lee")
    steward.page.locator("#from").fill("2026-01-01")
    steward.click("form[action='/monitor/report'] button")
    expect(steward.page.locator("tbody tr")).to_have_count(1)
    assert served.patient.id in steward.page.content()
    inspect_page(steward, tmp_path, f"{size}-report")
    steward.go("/monitor")
    steward.page.locator("summary").first.click()
    steward.page.locator("#lift1").fill("The password was changed")
    steward.click("form[action='/monitor/lift'] button")
    doctor.go(record)
    assert "403" not in doctor.heading()
    assert steward.outside() == []
    steward.leave()
    doctor.leave()


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_what_a_patient_says_on_paper_holds_and_the_patient_is_told(
    chromium: Browser, served: Platform, tmp_path: Path, size: Size
) -> None:
    steward = Person(chromium, served, size=size, language=LANGUAGES[size])
    steward.log_in_by_password("steward.ng")
    steward.go(f"/language/{LANGUAGES[size]}?back=/counter")
    inspect_page(steward, tmp_path, f"{size}-counter")
    steward.page.locator("#hkid").fill(served.patient.hkid)
    steward.press("Enter")
    assert served.patient.hkid[:7] not in steward.page.url
    inspect_page(steward, tmp_path, f"{size}-counter-person")
    steward.page.locator("[name=choice][value=research-out]").check()
    steward.page.locator("#paper").fill("Research form, 28 Nov 2026, drawer 4")
    steward.page.locator("#seen").check()
    steward.click("form[action='/counter/record'] button")
    inspect_page(steward, tmp_path, f"{size}-counter-recorded")

    patient = Person(chromium, served, size=size, language="en")
    patient.log_in_by_eid(served.patient.hkid)
    patient.go("/notices")
    expect(patient.page.locator("main")).to_contain_text("A data steward recorded a choice")
    assert steward.outside() == []
    steward.leave()
    patient.leave()


@pytest.mark.parametrize("who", ["auditor.tse", "admin"])
def test_auditor_and_administrator_have_a_home(
    chromium: Browser, served: Platform, tmp_path: Path, who: str
) -> None:
    person = Person(chromium, served)
    person.log_in_by_password(who)

    assert person.page.url.endswith("/overview")
    inspect_page(person, tmp_path, f"{who}-overview")
    place = "/audit" if who == "auditor.tse" else "/oauth/accounts"
    person.click(f".ehr-tile a[href='{place}']")
    expect(person.page.locator("h1")).to_be_visible()
    inspect_page(person, tmp_path, f"{who}-place")
    person.leave()
