"""My patients in Chromium: marked, live, gone with the next event once a record is closed."""

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
HOSPITAL = "ha-harbour"


def test_a_patient_is_opened_marked_and_taken_off(
    chromium: Browser, served: Platform, tmp_path: Path
) -> None:
    doctor = Person(chromium, served, scripts=False)
    page = doctor.page
    doctor.log_in_by_password("dr.chan")
    assert page.url.endswith("/my-patients")
    doctor.go(f"/patients/{served.patient.id}")
    doctor.click(page.get_by_role("link", name="My patients"))
    doctor.click(page.get_by_role("link", name="Opened lately"))
    row = page.locator(f"[data-row='{served.patient.id}']")
    doctor.click(row.get_by_role("button", name="Add to my list"))
    expect(page.get_by_role("alert")).to_contain_text("among yours")

    doctor.click(page.get_by_role("link", name="Mine", exact=True))
    expect(row).to_contain_text(served.patient.name.text)
    doctor.picture(tmp_path, "mine")
    doctor.click(row.get_by_role("button", name="Take off my list"))
    expect(row).to_have_count(0)
    expect(page.get_by_role("link", name="Load again")).to_be_visible()
    assert doctor.outside() == []
    doctor.leave()


def test_who_closes_the_record_leaves_the_screen_without_a_reload(
    chromium: Browser, served: Platform
) -> None:
    doctor = Person(chromium, served, keeps_policy=True)
    patient = Person(chromium, served, size="phone", scripts=False)
    doctor.log_in_by_password("dr.chan")
    doctor.go(f"/patients/{served.patient.id}")
    doctor.go("/my-patients?list=recent")
    row = doctor.page.locator(f"[data-row='{served.patient.id}']")
    expect(row).to_be_visible()
    expect(doctor.page.locator("[data-live-state=on]")).to_be_visible()
    doctor.page.evaluate("window.isSamePage = true")

    patient.log_in_by_eid(served.patient.hkid)
    patient.go("/sharing")
    patient.click(patient.switch(HOSPITAL))
    expect(row).to_have_count(0)
    patient.click(patient.switch(HOSPITAL))
    expect(row).to_be_visible()

    assert doctor.page.evaluate("window.isSamePage") is True
    doctor.leave()
    patient.leave()


def test_a_log_out_in_another_window_takes_the_rows_off_the_screen(
    chromium: Browser, served: Platform
) -> None:
    doctor = Person(chromium, served, keeps_policy=True)
    doctor.log_in_by_password("dr.chan")
    doctor.go("/my-patients?list=ward")
    expect(doctor.page.locator("[data-live-state=on]")).to_be_visible()

    other = doctor.context.new_page()
    other.goto(f"{served.address}/patients")
    other.locator("form[action='/logout'] button").click()

    doctor.page.wait_for_url(re.compile(r"/\?ended=1$"))
    doctor.leave()


@pytest.mark.parametrize("size", ["phone", "desktop", "zoomed"])
def test_the_lists_have_no_barrier(
    chromium: Browser, served: Platform, tmp_path: Path, size: str
) -> None:
    doctor = Person(chromium, served, size=size)  # type: ignore[arg-type]
    doctor.log_in_by_password("dr.chan")
    doctor.go(f"/patients/{served.patient.id}")
    for language in LANGUAGES:
        doctor.go(f"/language/{language.tag}?back=/my-patients")
        for which in ("mine", "recent", "ward"):
            doctor.go(f"/my-patients?list={which}")
            doctor.picture(tmp_path, f"{size}-{language.tag}-{which}")
            assert doctor.sideways() <= 0, which
            if language.tag == "en":
                assert barriers(doctor) == [], which
    doctor.leave()
