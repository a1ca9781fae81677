"""Two records of one person: one steward proposes to join them, another decides."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import orjson
import pytest
from playwright.sync_api import Browser, expect

from ehr_cli.data_folder import gateway_settings
from ehr_cli.settings import Settings
from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.patient_matching.duplicates import find_new_duplicates
from ehr_gateway.store.store import Store
from ehr_inbound.bulk_files.load import load
from tests.lib.barriers import inspect_page
from tests.lib.people import Person, Size
from tests.lib.server import Platform

pytestmark = pytest.mark.browser

LANGUAGES: dict[Size, str] = {"desktop": "en", "phone": "zh-Hant-HK", "zoomed": "zh-Hans"}
SECOND = "steward.yu"


def register(served: Platform, folder: Path, size: str) -> None:
    """Put two records of one person into the store, a second steward, and compare."""
    file = folder / "patients.ndjson"
    names = [[{"family": "Quillfeather", "given": ["Ottoline"]}, {"text": "葵奧蓮"}],
             [{"text": "OTTOLINE QUILLFEATHER"}, {"text": "葵奧蓮"}]]  # fmt: skip
    telecom = [{"system": "phone", "value": "+852 5555 0007"}]
    file.write_bytes(b"\n".join(
        orjson.dumps({"resourceType": "Patient", "id": f"twice-{size}-{number}", "name": name,
                      "birthDate": "1950-03-04", "gender": "female", "telecom": telecom})
        for number, name in enumerate(names)
    ))  # fmt: skip
    with closing(Store(gateway_settings(Settings(data=served.data)).database)) as store:
        assert not load(store, [file], "ehr-commons", lambda _: None).rejected
        second = Account(SECOND, "steward", "Yu Ka Yan", "ehr-commons", exempt=True)
        accounts.add_account(store, second, f"demo-{SECOND}")
        while find_new_duplicates(store, lambda: 1_795_334_400_000):
            pass


@pytest.mark.parametrize("size", ["desktop", "phone", "zoomed"])
def test_one_steward_proposes_another_decides_by_keyboard_and_it_is_taken_back(
    chromium: Browser, served: Platform, tmp_path: Path, size: Size
) -> None:
    register(served, tmp_path, size)
    # axe needs scripts; the phone's pages work without.
    has_scripts = size != "phone"
    first, second = (
        Person(chromium, served, size=size, language=LANGUAGES[size], scripts=has_scripts)
        for _ in range(2)
    )
    first.log_in_by_password("steward.ng")
    second.log_in_by_password(SECOND)
    for steward in (first, second):
        steward.go(f"/language/{LANGUAGES[size]}?back=/duplicates")

    def look(steward: Person, name: str) -> None:
        if has_scripts:
            inspect_page(steward, tmp_path, f"{size}-{name}")
        else:
            steward.picture(tmp_path, f"{size}-{name}")

    look(first, "list")
    first.page.locator("a[href^='/duplicates/']").first.focus()
    first.press("Enter")
    look(first, "pair")
    assert "5555 0007" not in first.page.content()
    first.page.locator("[name=decision][value=keep-first]").focus()
    first.page.keyboard.press("Space")
    first.page.locator("main form button").focus()
    first.press("Enter")
    # Without a reason nothing is proposed.
    expect(first.page.locator(".nhsuk-error-summary")).to_be_visible()
    look(first, "no-reason")
    first.page.locator("#reason").fill("Both papers were seen at the counter")
    first.page.locator("main form button").focus()
    first.press("Enter")
    look(first, "merges")

    for reason in ("The papers are in order", "They came together"):
        second.go("/merges")
        second.page.locator("a[href^='/merges/']").first.focus()
        second.press("Enter")
        look(second, "merge")
        second.page.locator("[name=decision][value=approve]").focus()
        second.page.keyboard.press("Space")
        second.page.locator("#reason").fill(reason)
        second.page.locator("main form button").focus()
        second.press("Enter")
        expect(second.page.locator(".nhsuk-error-summary")).to_have_count(0)
        if reason.startswith("They"):
            break
        # It is joined: the first steward proposes to take it apart.
        first.go("/merges")
        first.click(first.page.locator("a[href^='/merges/']").first)
        look(first, "joined")
        first.page.locator("#reason").fill("They are two people after all")
        first.click("main form button")

    look(second, "apart")
    for steward in (first, second):
        assert steward.outside() == []
        steward.leave()
