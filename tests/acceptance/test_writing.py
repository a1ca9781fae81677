"""A clinician writes: note, allergy, vital signs, prescription; marks an entry as wrong."""

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


@pytest.fixture
def doctor(chromium: Browser, served: Platform) -> Person:
    """Return a doctor of a hospital with whom the patient shares, without scripts."""
    doctor = Person(chromium, served, scripts=False)
    doctor.log_in_by_password("dr.chan")
    return doctor


def test_a_note_is_written_read_by_the_patient_and_marked_as_wrong(
    chromium: Browser, served: Platform, doctor: Person, tmp_path: Path
) -> None:
    page = doctor.page
    doctor.go(f"/patients/{served.patient.id}/write")
    doctor.click(page.get_by_role("link", name="Note"))
    page.fill("#title", "Review of the wound <b>")
    page.fill("#text", "# Wound\n- dry\n- no fever <script>alert(1)</script>")
    doctor.click(page.get_by_role("button", name="Save the note"))

    expect(page.get_by_role("alert")).to_contain_text("The patient can read it.")
    expect(page.locator("main")).to_contain_text("Review of the wound <b>")
    expect(page.locator(".ehr-document li").first).to_have_text("dry")
    expect(page.locator("main")).to_contain_text("CHAN Hoi Lam")
    expect(page.locator("main")).to_contain_text("Harbour General Hospital")
    doctor.picture(tmp_path, "note")
    address = page.url.removeprefix(served.address).partition("#")[0]
    patient = Person(chromium, served, size="phone", scripts=False)
    patient.log_in_by_eid(served.patient.hkid)
    patient.go(address.replace(f"/patients/{served.patient.id}", "/record"))
    expect(patient.page.locator(".ehr-document")).to_contain_text("no fever")

    doctor.click(page.get_by_role("link", name="Mark as wrong"))
    page.fill("#reason", "Of another patient")
    doctor.click("form[action$='/wrong'] button")
    expect(page.locator(".ehr-warning")).to_contain_text("entered by mistake")
    expect(page.get_by_role("link", name="Mark as wrong")).to_have_count(0)
    patient.leave()
    doctor.leave()


def test_an_allergy_counts_in_the_check_of_a_prescription(
    served: Platform, doctor: Person, tmp_path: Path
) -> None:
    page, base = doctor.page, f"/patients/{served.patient.id}"
    doctor.go(f"{base}/write/allergy")
    page.fill("#substance", "ibuprofen")
    for field, value in (
        ("category", "medication"),
        ("criticality", "high"),
        ("certainty", "confirmed"),
    ):
        page.select_option(f"#{field}", value)
    page.fill("#reaction", "Wheezing")
    page.select_option("#severity", "severe")
    doctor.click(page.get_by_role("button", name="Save the allergy"))
    expect(page.locator("main")).to_contain_text("Wheezing")
    expect(page.locator("main")).to_contain_text("Severe")

    doctor.go(f"{base}/write/prescription")
    page.fill("#medicine", "Ibuprofen 400 mg tablet")
    for field, value in (("unit", "tablet"), ("route", "PO"), ("frequency", "3d")):
        page.select_option(f"#{field}", value)
    page.fill("#dose", "1")
    page.fill("#duration", "5")
    doctor.click(page.get_by_role("button", name="Go on to the check"))
    expect(page.locator(".ehr-dosage")).to_contain_text("3 times a day")
    expect(page.locator(".ehr-found")).to_contain_text("the same ingredient")
    doctor.picture(tmp_path, "check")

    page.get_by_role("button", name="Sign all the same").click()
    reason = page.locator("#reason")
    assert reason.evaluate("it => it.matches(':invalid')")
    reason.fill("Tolerated since, after a test in hospital")
    doctor.click(page.get_by_role("button", name="Sign all the same"))
    expect(page.get_by_role("alert")).to_contain_text("signed and in force")
    expect(page.locator("main")).to_contain_text("Tolerated since, after a test in hospital")
    expect(page.locator("main")).to_contain_text("CHAN Hoi Lam")
    expect(page.get_by_text("Active", exact=True).first).to_be_visible()
    doctor.leave()


def test_a_draft_is_thrown_away(served: Platform, doctor: Person) -> None:
    page, base = doctor.page, f"/patients/{served.patient.id}"
    doctor.go(f"{base}/write/prescription")
    page.fill("#medicine", "Unheardofin 5 mg tablet")
    for field, value in (("unit", "tablet"), ("route", "PO"), ("frequency", "1d")):
        page.select_option(f"#{field}", value)
    page.fill("#dose", "0.5")
    doctor.click(page.get_by_role("button", name="Go on to the check"))
    expect(page.locator(".ehr-dosage")).to_contain_text("half a tablet")
    expect(page.locator("main")).to_contain_text("This medicine is not known to the check")
    first = page.url

    doctor.click(page.get_by_role("button", name="Throw the draft away"))
    expect(page.get_by_role("alert")).to_contain_text("Nothing was prescribed")
    page.goto(first)
    expect(page.locator("h1")).to_have_text("There is nothing here")
    doctor.leave()


def test_vital_signs_make_the_score_and_faults_keep_what_was_typed(
    served: Platform, doctor: Person, tmp_path: Path
) -> None:
    page, base = doctor.page, f"/patients/{served.patient.id}"
    doctor.go(f"{base}/write/vital-signs")
    typed = {"respiration": "22", "saturation": "930", "oxygen": "2", "systolic": "105",
             "diastolic": "64", "pulse": "112", "temperature": "38.5"}  # fmt: skip
    for field, value in typed.items():
        page.fill(f"#{field}", value)
    page.select_option("#consciousness", "A")
    doctor.click(page.get_by_role("button", name="Save the vital signs"))
    expect(page.locator("#saturation-error")).to_contain_text("from 1 to 100")
    expect(page.locator("#pulse")).to_have_value("112")
    expect(page.locator("#consciousness")).to_have_value("A")
    page.fill("#saturation", "93")
    doctor.click(page.get_by_role("button", name="Save the vital signs"))
    expect(page.get_by_role("alert")).to_contain_text("are in the record")

    doctor.go("/my-patients?list=recent")
    row = page.locator(f"[data-row='{served.patient.id}']")
    expect(row).to_contain_text(re.compile(r"NEWS2\s+10"))
    doctor.picture(tmp_path, "score")
    doctor.leave()


@pytest.mark.parametrize("size", ["phone", "desktop", "zoomed"])
def test_the_forms_have_no_barrier(
    chromium: Browser, served: Platform, tmp_path: Path, size: str
) -> None:
    doctor = Person(chromium, served, size=size)  # type: ignore[arg-type]
    doctor.log_in_by_password("dr.chan")
    base = f"/patients/{served.patient.id}/write"
    for language in LANGUAGES:
        doctor.go(f"/language/{language.tag}?back=/patients")
        for form in ("", "/note", "/allergy", "/vital-signs", "/prescription"):
            doctor.go(base + form)
            doctor.picture(tmp_path, f"{size}-{language.tag}-{form[1:] or 'write'}")
            assert doctor.sideways() <= 0, form
            if language.tag == "en":
                assert barriers(doctor) == [], form
    doctor.leave()
