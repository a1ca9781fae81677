"""A patient takes a copy away, and gives a link to somebody who has no account."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.lib.barriers import inspect_page
from tests.lib.health_links import payload_of
from tests.lib.people import Person, Size
from tests.lib.server import Platform

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(
    ("size", "language"), [("phone", "en"), ("phone", "zh-HK"), ("desktop", "zh-CN")]
)
def test_a_link_is_made_shown_once_opened_seen_and_ended(
    chromium: Browser, served: Platform, tmp_path: Path, size: Size, language: str
) -> None:
    patient = Person(chromium, served, size=size, language=language, scripts=False)
    page = patient.page
    patient.log_in_by_eid(served.patient.hkid)
    patient.go("/take-away")
    patient.picture(tmp_path, "copies")
    patient.go("/take-away/summary")
    patient.picture(tmp_path, "summary")
    patient.go("/take-away/links")
    patient.picture(tmp_path, "links")

    page.locator("#label").fill("Dr Far Away")
    page.locator("#passcode").fill("12345")
    page.locator("#make ~ form button").click()
    expect(page.locator("#passcode-error")).to_be_visible()
    patient.picture(tmp_path, "refused")
    page.locator("#passcode").fill("135790")
    page.locator("#content-live").check()
    page.locator("#make ~ form button").click()
    expect(page.locator("#made")).to_be_focused()
    link = page.locator("#link-text").input_value()
    patient.picture(tmp_path, "made")
    assert page.locator(".picture svg").bounding_box()
    assert patient.sideways() == 0
    clinic = f"Clinic in Lyon {size} {language}"
    sent = {"recipient": clinic, "passcode": "135790"}
    opened = httpx.post(payload_of(link)["url"], json=sent)
    assert opened.status_code == 200, opened.text

    patient.go("/take-away/links")
    assert page.locator("#link-text").count() == 0
    page.locator("main details summary").first.click()
    expect(page.get_by_text(clinic)).to_be_visible()
    patient.picture(tmp_path, "opened")
    page.locator("form[action='/take-away/links/end'] button").first.click()
    expect(page.locator(".nhsuk-notification-banner")).to_be_focused()
    assert httpx.post(payload_of(link)["url"], json=sent).status_code == 404
    patient.go("/who-looked")
    expect(page.get_by_text("SMART Health Link").first).to_be_visible()
    patient.leave()


def test_the_page_of_a_new_link_has_no_barrier(
    chromium: Browser, served: Platform, tmp_path: Path
) -> None:
    patient = Person(chromium, served)
    patient.log_in_by_eid(served.patient.hkid)
    patient.go("/take-away")
    inspect_page(patient, tmp_path, "copies")
    patient.go("/take-away/links")
    patient.page.locator("#make ~ form button").click()
    expect(patient.page.locator("#made")).to_be_visible()

    inspect_page(patient, tmp_path, "made")
    patient.leave()


def test_the_whole_record_comes_as_one_file(
    chromium: Browser, served: Platform, tmp_path: Path
) -> None:
    patient = Person(chromium, served)
    patient.log_in_by_eid(served.patient.hkid)
    patient.go("/take-away")

    with patient.page.expect_download() as started:
        patient.page.locator("form[action='/take-away/record'] button").click()
    started.value.save_as(tmp_path / started.value.suggested_filename)

    with zipfile.ZipFile(tmp_path / "health-record.zip") as archive:
        contents = json.loads(archive.read("contents.json"))
    assert contents["record/Patient.ndjson"] == 1
    assert sum(contents.values()) > 100
    patient.leave()
