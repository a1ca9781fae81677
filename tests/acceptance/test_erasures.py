"""An erasure: an administrator asks, a steward decides, and both see the certificate."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import orjson
import pytest
from playwright.sync_api import Browser, expect

from ehr_cli.commands.erasure import erase_patient
from ehr_cli.data_folder import gateway_settings
from ehr_cli.settings import Settings
from ehr_gateway.store.store import Store
from ehr_inbound.bulk_files.load import load
from tests.lib.barriers import inspect_page
from tests.lib.people import Person, Size
from tests.lib.server import Platform

pytestmark = pytest.mark.browser

LANGUAGES: dict[Size, str] = {"desktop": "en", "phone": "zh-Hant-HK", "zoomed": "zh-Hans"}


def register(served: Platform, folder: Path, patient: str) -> None:
    """Put somebody into the store, of whom nothing else is known."""
    file = folder / "patient.ndjson"
    name = {"family": "Quillfeather", "given": ["Ottoline"]}
    file.write_bytes(orjson.dumps({"resourceType": "Patient", "id": patient, "name": [name]}))
    with closing(Store(gateway_settings(Settings(data=served.data)).database)) as store:
        assert not load(store, [file], "ehr-commons", lambda _: None).rejected


@pytest.mark.parametrize("size", ["desktop", "phone", "zoomed"])
def test_one_person_asks_another_approves_and_both_see_the_certificate(
    chromium: Browser, served: Platform, tmp_path: Path, size: Size
) -> None:
    record = f"erased-{size}"
    register(served, tmp_path, record)
    admin = Person(chromium, served, size=size, language=LANGUAGES[size])
    admin.log_in_by_password("admin")
    admin.go(f"/language/{LANGUAGES[size]}?back=/erasures")
    page = admin.page
    page.locator("#patient").fill(record)
    page.locator("#reason").fill("Asked for in writing, form 12")
    admin.click("main form button")
    # Without the tick nothing is asked for, and nothing that was typed is lost.
    expect(page.locator(".nhsuk-error-summary")).to_be_visible()
    expect(page.locator("#patient")).to_have_value(record)
    inspect_page(admin, tmp_path, f"{size}-asking")
    page.locator("#sure").check()
    admin.click("main form button")
    inspect_page(admin, tmp_path, f"{size}-asked")
    admin.click(page.locator("a[href^='/erasures/']").first)
    # Who asked is offered no decision.
    expect(page.locator("main form")).to_have_count(0)
    place = page.url

    steward = Person(chromium, served, size=size, language=LANGUAGES[size])
    steward.log_in_by_password("steward.ng")
    steward.go(f"/language/{LANGUAGES[size]}?back=/erasures")
    steward.page.locator("a[href^='/erasures/']").first.focus()
    steward.press("Enter")
    expect(steward.page.locator("main")).to_contain_text(record)
    inspect_page(steward, tmp_path, f"{size}-deciding")
    steward.page.locator("[name=decision][value=approve]").focus()
    steward.page.keyboard.press("Space")
    steward.page.locator("#reason").fill("The papers are in order")
    steward.page.locator("main form button").focus()
    steward.press("Enter")
    expect(steward.page.locator("main form")).to_have_count(0)
    assert record not in steward.page.content()

    erase_patient(Settings(data=served.data), record)
    for person in (admin, steward):
        person.page.goto(place)
        person.page.locator("summary").last.click()
        inspect_page(person, tmp_path, f"{size}-certificate")
        assert "Quillfeather" not in person.page.content()
        assert person.outside() == []
        person.leave()
