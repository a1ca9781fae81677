"""Stories of a patient: tries out and undoes a choice, measures, asks for a correction."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.lib.barriers import inspect_page
from tests.lib.people import Person, Size
from tests.lib.server import Platform

pytestmark = pytest.mark.browser

# Each story once in each language, on a phone, a desk and at 400 %.
LOOKS: list[tuple[str, Size]] = [
    ("en", "desktop"),
    ("zh-Hant-HK", "phone"),
    ("zh-Hans", "zoomed"),
]
each_look = pytest.mark.parametrize(("language", "size"), LOOKS)
UNDO = {"en": "Undo", "zh-Hant-HK": "撤銷", "zh-Hans": "撤销"}
MEASURED = {
    "en": "Measured by the patient",
    "zh-Hant-HK": "由病人自行量度",
    "zh-Hans": "由病人自行测量",
}
REFUSE = {"en": "Refuse", "zh-Hant-HK": "拒絕", "zh-Hans": "拒绝"}


@each_look
def test_a_choice_is_tried_out_made_and_undone(
    chromium: Browser, served: Platform, tmp_path: Path, language: str, size: Size
) -> None:
    patient = Person(chromium, served, size=size, language=language)
    patient.log_in_by_eid(served.patient.hkid)
    page = patient.page

    patient.go("/sharing/preview?organization=st-gabriel&profession=nurse")
    inspect_page(patient, tmp_path, "preview")
    row = page.locator("tbody tr").first
    assert int(row.locator("td").first.inner_text()) > 0
    expect(row.locator("td").nth(1).locator("strong")).to_have_text("0")
    patient.click("form[action='/sharing/organization/st-gabriel'] button")
    expect(patient.switch("st-gabriel")).to_have_attribute("aria-checked", "false")

    patient.go("/choices")
    inspect_page(patient, tmp_path, "choices")
    patient.click(page.get_by_role("button", name=UNDO[language]).first)
    expect(page.get_by_role("alert")).to_be_visible()
    patient.go("/sharing")
    expect(patient.switch("st-gabriel")).to_have_attribute("aria-checked", "true")

    patient.go("/sharing/close")
    page.select_option("#domain", "laboratory")
    page.select_option("#preview-organization", "st-gabriel")
    patient.click("button[name=step]")
    inspect_page(patient, tmp_path, "preview-of-closing")
    expect(page.locator("tbody strong")).to_have_text("0")
    # What was chosen is chosen still, and nothing was closed.
    expect(page.locator("#domain")).to_have_value("laboratory")
    patient.go("/sharing")
    expect(page.locator("form[action='/sharing/lift']")).to_have_count(0)
    assert patient.outside() == []
    patient.leave()


@each_look
def test_a_measurement_is_written_down_by_keyboard_seen_and_taken_back(
    chromium: Browser, served: Platform, tmp_path: Path, language: str, size: Size
) -> None:
    patient = Person(chromium, served, size=size, language=language)
    doctor = Person(chromium, served, language=language)
    patient.log_in_by_eid(served.patient.hkid)
    doctor.log_in_by_password("dr.wong")
    page = patient.page

    patient.go("/own-entries/add/blood-pressure")
    inspect_page(patient, tmp_path, "form")
    page.locator("#systolic").focus()
    page.keyboard.type("1280")
    page.keyboard.press("Tab")
    page.keyboard.type("79")
    patient.press("Enter")
    expect(page.locator("#systolic-error")).to_be_visible()
    inspect_page(patient, tmp_path, "slip")
    page.fill("#systolic", "128")
    patient.press("Enter")
    expect(page.locator("main")).to_contain_text("128/79")
    inspect_page(patient, tmp_path, "measurements")

    patient.click(page.locator("main .ehr-lines a").first)
    inspect_page(patient, tmp_path, "correct")
    item = page.url.rpartition("/")[2]
    doctor.go(f"/patients/{served.patient.id}/item/Observation/{item}")
    expect(doctor.page.locator("main")).to_contain_text("128/79")
    flags = doctor.page.locator("main .ehr-card .ehr-flag--neutral")
    expect(flags.filter(has_text=MEASURED[language])).to_be_visible()
    patient.click("form[action$='/remove'] button")
    expect(page.locator("main .ehr-void")).not_to_have_count(0)
    assert patient.outside() == [] and doctor.outside() == []
    patient.leave()
    doctor.leave()


@each_look
def test_a_correction_is_asked_for_refused_and_the_patients_words_stay(
    chromium: Browser, served: Platform, tmp_path: Path, language: str, size: Size
) -> None:
    patient = Person(chromium, served, size=size, language=language)
    doctor = Person(chromium, served, size=size, language=language)
    patient.log_in_by_eid(served.patient.hkid)
    doctor.log_in_by_password("dr.chan")
    page, desk = patient.page, doctor.page
    words = f"<b>Not mine</b>, I was away on that day ({language})"
    statement = f"I say so still, whatever the label says ({language})"

    # Each story is about a record of its own: the newest results stand first.
    patient.go("/record/results")
    number = [seen for seen, _ in LOOKS].index(language)
    link = page.locator("main article details a").nth(number)
    patient.go(str(link.get_attribute("href")))
    patient.click("a[href^='/corrections/ask/']")
    inspect_page(patient, tmp_path, "ask")
    page.fill("#text", words)
    patient.click("form[action^='/corrections/ask/'] button")
    expect(page.locator("main")).to_contain_text(words)

    doctor.go("/corrections/to-answer")
    inspect_page(doctor, tmp_path, "to-answer")
    doctor.click(desk.locator("main li").filter(has_text=words).locator("a").first)
    inspect_page(doctor, tmp_path, "answer")
    expect(desk.locator(".ehr-person")).to_contain_text(served.patient.name.text)
    desk.get_by_label(REFUSE[language], exact=True).check()
    desk.fill("#reason", "The name and number on the sample are right")
    doctor.click("form[action^='/corrections/to-answer/'] button")
    expect(desk.get_by_role("alert")).to_be_visible()

    patient.go("/notices")
    inspect_page(patient, tmp_path, "notices")
    patient.go("/corrections")
    answered = page.locator("article").filter(has_text=words)
    expect(answered).to_contain_text("The name and number on the sample are right")
    answered.locator("textarea").fill(statement)
    patient.click(answered.locator("button"))
    inspect_page(patient, tmp_path, "corrections")
    record = str(answered.locator("p a").first.get_attribute("href")).removeprefix("/record/item/")
    doctor.go(f"/patients/{served.patient.id}/item/{record}")
    expect(desk.locator("main")).to_contain_text(statement)
    assert words not in "".join(patient.asked) and "Not%20mine" not in "".join(patient.asked)
    assert patient.outside() == [] and doctor.outside() == []
    patient.leave()
    doctor.leave()


def test_new_notices_are_counted_until_they_were_read(chromium: Browser, served: Platform) -> None:
    patient = Person(chromium, served, size="phone")
    pharmacist = Person(chromium, served)
    patient.log_in_by_eid(served.patient.hkid)
    patient.go("/notices")
    pharmacist.log_in_by_password("ph.ho")
    pharmacist.go(f"/patients/{served.patient.id}/ask")
    pharmacist.page.fill("#reason", "Checking the dose of the new tablets")
    pharmacist.click("form[action$='/ask'] button")
    expect(pharmacist.page.locator("#code")).to_be_visible()

    # Another log-in knows nothing of the last minute's number.
    later = Person(chromium, served, size="phone")
    later.log_in_by_eid(served.patient.hkid)
    expect(later.page.locator(".ehr-bell__count")).to_be_visible()
    later.click(".ehr-bell")
    expect(later.page.locator(".ehr-bell__count")).to_have_count(0)
    later.go("/home")
    expect(later.page.locator(".ehr-bell__count")).to_have_count(0)
    for person in (patient, pharmacist, later):
        person.leave()


@each_look
def test_a_record_is_kept_out_of_research_and_let_in_again(
    chromium: Browser, served: Platform, tmp_path: Path, language: str, size: Size
) -> None:
    patient = Person(chromium, served, size=size, language=language)
    patient.log_in_by_eid(served.patient.hkid)
    button = patient.page.locator("form[action='/research-choice'] button")
    patient.go("/research-choice")
    before = patient.page.locator("#choice").inner_text()

    for _ in range(2):
        inspect_page(patient, tmp_path, "research")
        patient.click(button)
        expect(patient.page.get_by_role("alert")).to_be_visible()

    expect(patient.page.locator("#choice")).to_have_text(before)
    patient.leave()
