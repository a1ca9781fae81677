"""The story of the product: the patient's switch holds at the doctor's very next click."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.lib.people import Person, Size
from tests.lib.server import Platform

pytestmark = pytest.mark.browser

NOTHING = {
    "en": "No shared record is available to you",
    "zh-Hant-HK": "沒有可供你查閱的互通紀錄",
    "zh-Hans": "没有可供你查阅的共享记录",
}
HOSPITAL = {
    "en": "St Gabriel's Private Hospital",
    "zh-Hant-HK": "聖嘉俾厄醫院",
    "zh-Hans": "聖嘉俾厄醫院",
}


@pytest.mark.parametrize(
    ("language", "patients_size", "doctors_size"),
    [("en", "desktop", "phone"), ("zh-Hant-HK", "phone", "desktop"), ("zh-Hans", "phone", "phone")],
)
def test_the_patients_switch_holds_at_the_doctors_next_click(
    chromium: Browser,
    served: Platform,
    tmp_path: Path,
    language: str,
    patients_size: Size,
    doctors_size: Size,
) -> None:
    # Without scripts: nothing the pages promise may depend on them.
    patient = Person(chromium, served, size=patients_size, language=language, scripts=False)
    doctor = Person(chromium, served, size=doctors_size, language=language, scripts=False)
    name = served.patient.name.text

    patient.log_in_by_eid(served.patient.hkid)
    expect(patient.page.locator(".ehr-bar__user")).to_contain_text(name)
    patient.picture(tmp_path, "home")
    doctor.log_in_by_password("dr.wong")
    doctor.find(served.patient.hkid)
    doctor.click(doctor.page.get_by_role("link", name=name))
    assert name in doctor.heading()
    seen = doctor.page.locator("#medicines").locator("xpath=ancestor::section").locator("li")
    assert seen.count() > 0
    doctor.picture(tmp_path, "doctor-sees")

    patient.go("/sharing")
    expect(patient.switch("st-gabriel")).to_have_attribute("aria-checked", "true")
    patient.click(patient.switch("st-gabriel"))
    expect(patient.switch("st-gabriel")).to_have_attribute("aria-checked", "false")
    expect(patient.page.get_by_role("alert")).to_contain_text(HOSPITAL[language])
    patient.picture(tmp_path, "switched-off")

    doctor.click(doctor.page.locator(".ehr-block__head a").first)
    assert doctor.heading() == NOTHING[language]
    doctor.picture(tmp_path, "doctor-sees-nothing")
    doctor.find(served.patient.hkid)
    expect(doctor.page.locator("main")).to_contain_text(NOTHING[language])
    expect(doctor.page.locator("main")).not_to_contain_text(name)

    patient.click(patient.switch("st-gabriel"))
    expect(patient.switch("st-gabriel")).to_have_attribute("aria-checked", "true")
    doctor.find(served.patient.hkid)
    doctor.click(doctor.page.get_by_role("link", name=name))
    assert name in doctor.heading()

    patient.go("/who-looked")
    looks = patient.page.locator(".ehr-lines li").filter(has_text="WONG Chi Hang")
    expect(looks.first).to_contain_text(HOSPITAL[language])
    patient.picture(tmp_path, "who-looked")

    assert patient.outside() == []
    assert doctor.outside() == []
    patient.leave()
    doctor.leave()


def test_a_closed_kind_of_records_is_gone_for_the_doctor_and_the_rest_stays(
    chromium: Browser, served: Platform
) -> None:
    patient = Person(chromium, served)
    doctor = Person(chromium, served)
    patient.log_in_by_eid(served.patient.hkid)
    doctor.log_in_by_password("dr.wong")
    doctor.go(f"/patients/{served.patient.id}")
    medicines, problems = (
        doctor.page.locator(f"section[aria-labelledby={block}] .ehr-board__rows > li")
        for block in ("medicines", "problems")
    )
    expect(medicines).not_to_have_count(0)

    patient.go("/sharing")
    patient.page.select_option("#domain", "medication")
    patient.page.select_option("#against", "st-gabriel")
    patient.click("form[action='/sharing/restrict'] button")
    doctor.page.reload()

    expect(medicines).to_have_count(0)
    expect(problems).not_to_have_count(0)
    patient.click(patient.page.locator("form[action='/sharing/lift'] button").first)
    doctor.page.reload()
    expect(medicines).not_to_have_count(0)
    patient.leave()
    doctor.leave()


def test_a_public_hospital_can_be_closed_too(chromium: Browser, served: Platform) -> None:
    patient = Person(chromium, served)
    nurse = Person(chromium, served)
    patient.log_in_by_eid(served.patient.hkid)
    nurse.log_in_by_password("nurse.yip")
    nurse.go(f"/patients/{served.patient.id}")
    assert served.patient.name.text in nurse.heading()

    patient.go("/sharing")
    patient.click(patient.switch("ha-lion-rock"))
    expect(patient.switch("ha-lion-rock")).to_have_attribute("aria-checked", "false")
    nurse.page.reload()

    assert served.patient.name.text not in nurse.heading()
    patient.click(patient.switch("ha-lion-rock"))
    expect(patient.switch("ha-lion-rock")).to_have_attribute("aria-checked", "true")
    nurse.page.reload()
    assert served.patient.name.text in nurse.heading()
    patient.leave()
    nurse.leave()
