"""A model's way into use: two people promote a version, a third takes it away again."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from ehr_cli.data_folder import gateway_settings
from ehr_cli.settings import Settings
from ehr_gateway.accounts import accounts
from ehr_gateway.store.store import Store
from tests.lib.barriers import inspect_page
from tests.lib.made_models import TASK, save_made_models
from tests.lib.people import Person, Size
from tests.lib.server import Platform

pytestmark = pytest.mark.browser

SECOND_STEWARD = "steward.ko"


@pytest.fixture(scope="module")
def stewards(served: Platform) -> Platform:
    """Return a platform with models, and with a second steward."""
    save_made_models(served.data)
    account = accounts.Account(
        SECOND_STEWARD, "steward", "KO Chi Wai", "ehr-commons", person="steward-ko", exempt=True
    )
    with closing(Store(gateway_settings(Settings(data=served.data)).database)) as store:
        accounts.add_account(store, account, f"demo-{SECOND_STEWARD}")
    return served


def open_model(
    chromium: Browser, platform: Platform, login: str, size: Size = "desktop", language: str = "en"
) -> Person:
    person = Person(chromium, platform, size=size, language=language)
    person.log_in_by_password(login)
    person.go(f"/language/{language}?back=/overview")
    person.click(".ehr-tile a[href='/models']")
    person.click(f"a[href='/models/{TASK}']")
    return person


def decide(person: Person, action: str, reason: str, version: str = "2") -> None:
    """Fill in the form with the keyboard alone, and send it."""
    page = person.page
    page.locator("#version").focus()
    page.locator("#version").select_option(version)
    page.locator(f"[name=decision][value={action}]").focus()
    page.keyboard.press("Space")
    page.locator("#reason").focus()
    page.keyboard.type(reason)
    page.keyboard.press("Tab")
    person.press("Enter")


def test_two_stewards_promote_a_version_and_an_auditor_rolls_it_back(
    chromium: Browser, stewards: Platform, tmp_path: Path
) -> None:
    first = open_model(chromium, stewards, "steward.ng")
    inspect_page(first, tmp_path, "model")
    decide(first, "promote", "Too early.", version="1")
    expect(first.page.locator(".nhsuk-error-summary")).to_contain_text("a gate is not met")
    inspect_page(first, tmp_path, "model-refused")
    decide(first, "promote", "Read the report and the card.")
    expect(first.page.locator("h1 + p")).to_contain_text("Version 2 waits for a second person")
    decide(first, "promote", "Read it twice.")
    expect(first.page.locator(".nhsuk-error-summary")).to_contain_text("another person")
    first.leave()

    second = open_model(chromium, stewards, SECOND_STEWARD, "phone", "zh-Hant-HK")
    decide(second, "promote", "校準良好")
    expect(second.page.locator("h1 + p")).to_contain_text("由版本 2 評分")
    inspect_page(second, tmp_path, "model-promoted")
    second.leave()

    third = open_model(chromium, stewards, "auditor.tse")
    decide(third, "roll-back", "The scores have moved.")
    expect(third.page.locator("h1 + p")).to_contain_text("None scores")
    expect(third.page.locator("#decisions + ul li")).to_have_count(3)
    expect(third.page.locator("#decisions + ul")).to_contain_text("The scores have moved.")
    inspect_page(third, tmp_path, "model-rolled-back")
    third.leave()


def test_a_report_shows_its_plots_and_runs_nothing(
    chromium: Browser, stewards: Platform, tmp_path: Path
) -> None:
    person = Person(chromium, stewards, keeps_policy=True)
    problems: list[str] = []
    person.page.on("console", lambda message: problems.append(message.text))
    person.log_in_by_password("researcher.lau")
    person.go(f"/models/{TASK}")
    person.click(f"a[href='/models/{TASK}/versions/2/report.en.html']")

    expect(person.page.locator("h1")).to_contain_text("Return to acute care")
    curve = person.page.locator("svg").first.bounding_box()
    assert curve is not None and curve["width"] > 200 and curve["height"] > 100
    assert person.page.evaluate("getComputedStyle(document.querySelector('table')).display")
    person.picture(tmp_path, "report")
    assert (problems, person.outside()) == ([], [])
    person.leave()


@pytest.mark.parametrize(("size", "language"), [("desktop", "en"), ("phone", "zh-Hans")])
def test_forecasts_say_what_is_served_and_why(
    chromium: Browser, stewards: Platform, tmp_path: Path, size: Size, language: str
) -> None:
    person = Person(chromium, stewards, size=size, language=language)
    person.log_in_by_password("steward.ng")
    person.go(f"/language/{language}?back=/overview")
    person.click(".ehr-tile a[href='/forecasts']")

    # Of two hospitals; the other forecast serves observed counts, which are not shown here.
    expect(person.page.locator("main svg.ehr-chart")).to_have_count(2)
    beds = person.page.locator("section:has(#forecast-beds)")
    missed, unseen = {
        "en": ("missed a gate", "inside the trusted zone alone"),
        "zh-Hans": ("有条件未符合", "只在受信任区域内显示"),
    }[language]
    expect(beds).to_contain_text(missed)
    expect(beds).to_contain_text(unseen)
    person.page.locator("summary").first.press("Enter")
    expect(person.page.locator("table").first.locator("tbody tr")).to_have_count(28)
    inspect_page(person, tmp_path, "forecasts")
    person.leave()
