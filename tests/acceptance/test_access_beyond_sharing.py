"""Stories of access beyond sharing, in Chromium without scripts: asked, approved, told, ended."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from ehr_cli.sample.sample_accounts import carer_hkid
from ehr_portal.i18n import LANGUAGES
from tests.lib.barriers import barriers
from tests.lib.people import Person
from tests.lib.server import Platform

pytestmark = pytest.mark.browser


def test_a_pharmacist_asks_the_patient_tells_the_code_and_ends_it(
    chromium: Browser, served: Platform, tmp_path: Path
) -> None:
    patient = Person(chromium, served, size="phone", scripts=False)
    pharmacist = Person(chromium, served, scripts=False)
    patient.log_in_by_eid(served.patient.hkid)
    pharmacist.log_in_by_password("ph.ho")
    record = f"/patients/{served.patient.id}"
    pharmacist.go(record)
    expect(pharmacist.page.locator("#withheld")).to_be_visible()

    pharmacist.click(f"a[href='{record}/ask']")
    pharmacist.page.fill("#reason", '<b>Checking</b> the "dose"')
    pharmacist.click(f"form[action='{record}/ask'] button")
    expect(pharmacist.page.locator("#code")).to_be_visible()
    patient.go("/requests")
    expect(patient.page.locator("main")).to_contain_text('<b>Checking</b> the "dose"')
    patient.go("/notices")
    told = patient.page.locator(".ehr-line__what").first.inner_text()
    code = re.findall(r"\d{8}", told)[0]
    pharmacist.page.fill("#code", code)
    pharmacist.picture(tmp_path, "code")
    pharmacist.click(".ehr-card button")
    expect(pharmacist.page.get_by_role("alert")).to_be_visible()
    expect(pharmacist.page.locator("#withheld")).to_have_count(0)

    patient.go("/requests")
    patient.click("form[action='/requests/end'] button")
    pharmacist.go(record)
    expect(pharmacist.page.locator("#withheld")).to_be_visible()
    assert patient.outside() == [] and pharmacist.outside() == []
    patient.leave()
    pharmacist.leave()


def test_a_wrong_code_is_said_at_its_field_and_a_refusal_ends_the_request(
    chromium: Browser, served: Platform
) -> None:
    patient = Person(chromium, served, scripts=False)
    pharmacist = Person(chromium, served, size="phone", language="zh-Hant-HK", scripts=False)
    patient.log_in_by_eid(served.patient.hkid)
    pharmacist.log_in_by_password("ph.ho")
    record = f"/patients/{served.patient.id}"
    pharmacist.go(f"{record}/ask")
    pharmacist.page.fill("#reason", "核對藥物劑量是否合適，需要檢查報告")
    pharmacist.click(f"form[action='{record}/ask'] button")

    pharmacist.page.fill("#code", "00000000")
    pharmacist.click(".ehr-card button")
    expect(pharmacist.page.locator("#code-error")).to_be_visible()
    expect(pharmacist.page.get_by_role("alert")).to_contain_text("發生問題")
    patient.go("/requests")
    patient.click(patient.page.locator("form[action='/requests/answer'] button").nth(1))
    pharmacist.click(pharmacist.page.locator("main > p a").last)

    expect(pharmacist.page.locator("main")).to_contain_text("病人已拒絕。")
    patient.leave()
    pharmacist.leave()


def test_an_emergency_is_told_and_reviewed(
    chromium: Browser, served: Platform, tmp_path: Path
) -> None:
    doctor = Person(chromium, served, scripts=False)
    steward = Person(chromium, served, scripts=False)
    patient = Person(chromium, served, size="phone", scripts=False)
    doctor.log_in_by_password("dr.lee")
    doctor.go("/emergency")
    doctor.page.fill("#hkid", served.patient.hkid)
    doctor.page.fill("#reason", "Found unconscious in the street")
    doctor.click("form[action='/emergency'] button")
    assert served.patient.name.text in doctor.heading()

    patient.log_in_by_eid(served.patient.hkid)
    patient.go("/notices")
    expect(patient.page.locator(".ehr-line__what").first).to_contain_text("LEE Suk Yin")
    steward.log_in_by_password("steward.ng")
    steward.go("/reviews")
    steward.picture(tmp_path, "reviews")
    steward.click(steward.page.locator(".ehr-line__what a").first)
    steward.page.locator("form.ehr-card button").click()
    assert steward.page.url.count("/reviews/") == 1
    steward.page.locator("#finding-justified").check()
    steward.page.fill("#note", "Ambulance record of the same hour")
    steward.click("form.ehr-card button")
    expect(steward.page.get_by_role("alert")).to_be_visible()
    expect(steward.page.locator("#done")).to_be_visible()
    for person in (doctor, steward, patient):
        person.leave()


def test_a_carer_takes_up_an_invitation_and_the_page_says_for_whom_he_acts(
    chromium: Browser, served: Platform, tmp_path: Path
) -> None:
    patient = Person(chromium, served, scripts=False)
    carer = Person(chromium, served, size="phone", scripts=False)
    patient.log_in_by_eid(served.patient.hkid)
    patient.go("/carers")
    patient.page.locator("#power-both").check()
    patient.click("form[action='/carers/invite'] button")
    code = patient.page.locator(".ehr-code-shown").inner_text()

    carer.log_in_by_eid(carer_hkid(), first_page="people")
    carer.page.fill("#code", code)
    carer.click("form[action='/people/accept'] button")
    carer.click(carer.page.locator("form[action='/people/choose'] button").first)

    expect(carer.page.locator(".ehr-acting")).to_contain_text(served.patient.name.text)
    carer.go("/sharing")
    expect(carer.page.get_by_role("switch").first).to_be_visible()
    carer.picture(tmp_path, "carer-sharing")
    patient.go("/carers")
    patient.click(patient.page.locator("form[action='/carers/end'] button").first)
    carer.go("/record")
    assert served.patient.name.text not in carer.heading()
    patient.leave()
    carer.leave()


def test_a_result_is_held_and_the_patient_sees_a_stub(chromium: Browser, served: Platform) -> None:
    doctor = Person(chromium, served, scripts=False)
    patient = Person(chromium, served, scripts=False)
    doctor.log_in_by_password("dr.chan")
    patient.log_in_by_eid(served.patient.hkid)
    base = f"/patients/{served.patient.id}"
    doctor.go(f"{base}/results")
    address = doctor.page.locator(f"a[href^='{base}/item/Observation/']").first.get_attribute(
        "href"
    )
    doctor.go(str(address))
    doctor.click("a[href$='/hold']")
    last = doctor.page.locator("#until").get_attribute("max")
    doctor.page.fill("#until", str(last))
    doctor.page.fill("#reason", "To be told in person at the next visit")
    doctor.click("form.ehr-card button")
    expect(doctor.page.locator("#hold")).to_be_visible()

    patient.go("/record")
    expect(patient.page.locator("#held")).to_be_visible()
    patient.go(str(address).replace(base, "/record"))
    expect(patient.page.locator("h1")).to_have_text("There is nothing here")
    doctor.click(f"form[action='{base}/release'] button")
    patient.page.reload()
    expect(patient.page.locator("dl").first).to_be_visible()
    doctor.leave()
    patient.leave()


def test_closing_with_a_seal_needs_to_be_understood_and_is_told_back(
    chromium: Browser, served: Platform, tmp_path: Path
) -> None:
    patient = Person(chromium, served, size="phone", scripts=False)
    patient.log_in_by_eid(served.patient.hkid)
    patient.go("/sharing/close")
    patient.page.select_option("#label", "PSY")
    patient.page.select_option("#against", "profession:pharmacist")
    patient.page.locator("#firmness-sealed").check()
    patient.click(patient.page.locator("main form button").last)
    expect(patient.page.locator("#understood-error")).to_be_visible()
    patient.page.locator("#understood").check()
    patient.click(patient.page.locator("main form button").last)

    line = patient.page.locator("section[aria-labelledby=close] li").first
    for words in ("Mental health", "Sealed", "Closed to Pharmacists"):
        expect(line).to_contain_text(words)
    patient.picture(tmp_path, "sealed")
    patient.click(line.locator("button"))
    expect(patient.page.locator("section[aria-labelledby=close]")).not_to_contain_text("Sealed")
    patient.leave()


def test_no_page_of_steps_has_a_barrier_or_scrolls_sideways(
    chromium: Browser, served: Platform, tmp_path: Path
) -> None:
    base = f"/patients/{served.patient.id}"
    pages = {
        "": ["/requests", "/notices", "/carers", "/sharing/close",
             "/sharing/why?organization=st-gabriel&domain=laboratory"],
        "ph.ho": [base, f"{base}/ask", "/emergency", f"{base}/emergency",
                  f"{base}/substitute"],
        "steward.ng": ["/reviews", "/proposals", "/deliveries"],
    }  # fmt: skip
    for login, paths in pages.items():
        person = Person(chromium, served, size="phone")
        if login:
            person.log_in_by_password(login)
        else:
            person.log_in_by_eid(served.patient.hkid)
        for language in LANGUAGES:
            person.go(f"/language/{language.tag}")
            for number, path in enumerate(paths):
                person.go(path)
                assert person.sideways() <= 0, path
                if language.tag == "en":
                    person.picture(tmp_path, f"{login or 'patient'}-{number}")
                    assert barriers(person) == [], path
        assert person.outside() == []
        person.leave()
