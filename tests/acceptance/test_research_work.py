"""From a cohort to a released table: counts, a run, two checkers in turn, the download."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from ehr_analytics.register import Register
from ehr_etl.lake import Lake
from ehr_etl.tables.bucketed import create_tables
from tests.acceptance.test_research_projects import enter
from tests.lib import gold
from tests.lib.barriers import inspect_page
from tests.lib.people import Size
from tests.lib.research import open_project
from tests.lib.server import Platform

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def lake(served: Platform) -> Path:
    """Fill the lake of the platform with made-up people."""
    views = gold.end_last_stays(gold.made_up(400), datetime(2026, 6, 30, tzinfo=UTC))
    gold.write(served.data, views)
    # Whoever opts out is looked for in them.
    create_tables(Lake(served.data / "lake"))
    return served.data


def wait_until_finished(page: Page, place: str) -> None:
    """Look at a run again until it has finished."""
    for _ in range(400):
        page.goto(place)
        if page.locator("#note").count():
            return
        page.wait_for_timeout(500)
    pytest.fail(f"The run did not finish: {page.locator('main').inner_text()}")


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_from_a_cohort_to_a_released_table(
    chromium: Browser, served: Platform, lake: Path, tmp_path: Path, size: Size
) -> None:
    project = f"stays-{size}"
    open_project(Register(lake), id=project, title=f"Stays {size}", people=("researcher.lau",))
    researcher = enter(chromium, served, size, "researcher.lau")
    page = researcher.page
    home = f"{served.address}/projects/{project}"

    page.goto(f"{home}/runs")
    inspect_page(researcher, tmp_path, f"{size}-nothing-ran")
    researcher.click(page.locator("a[href$='/cohort']").first)
    inspect_page(researcher, tmp_path, f"{size}-empty-cohort")
    page.locator("#title").fill("Acute stays")
    page.locator("#age_from").fill("18")
    page.locator("#index_source").select_option("encounter_flat.class")
    page.locator("#index_codes").fill("IMP EMER")
    page.locator("#follow_up_days").fill("28")
    page.locator("#outcome_name").fill("back again")
    page.locator("#outcome_source").select_option("encounter_flat.class")
    page.locator("#outcome_codes").fill("IMP EMER")
    page.locator("form:has(#title) button").focus()
    researcher.press("Enter")
    expect(page.locator("#counts svg[role=img]")).to_be_visible()
    # As many rows as the drawing has boxes: nobody needs the picture.
    expect(page.locator("#counts tbody tr")).to_have_count(page.locator(".ehr-flow-box").count())
    inspect_page(researcher, tmp_path, f"{size}-cohort")
    page.locator("details", has=page.locator("#definition")).locator("summary").click()
    inspect_page(researcher, tmp_path, f"{size}-cohort-as-text")

    page.goto(f"{home}/runs/new")
    page.locator("#analysis-attrition").check()
    page.locator("#analysis-incidence").check()
    page.locator("details", has=page.locator("[id='incidence.outcome']")).locator("summary").click()
    page.locator("[id='incidence.by-sex']").check()
    inspect_page(researcher, tmp_path, f"{size}-analyses")
    researcher.click("form:has(#analysis) > button")
    wait_until_finished(page, page.url)
    inspect_page(researcher, tmp_path, f"{size}-run")
    page.locator("#note").fill("Rates by sex, for a paper.")
    researcher.click("form:has(#note) button")
    place = page.url
    inspect_page(researcher, tmp_path, f"{size}-asked")

    for login, reason in (("steward.ng", "No small cell."), ("auditor.tse", "Sex is coarse.")):
        checker = enter(chromium, served, size, login)
        checker.page.goto(f"{served.address}/releases")
        if login == "steward.ng":
            inspect_page(checker, tmp_path, f"{size}-waiting")
        checker.click(f"a[href='/releases/{place.rsplit('/', 1)[1]}']")
        expect(checker.page.locator("main")).to_contain_text("Rates by sex, for a paper.")
        checker.page.locator("[name=decision][value=approve]").check()
        checker.page.locator("#reason").fill(reason)
        if login == "auditor.tse":
            inspect_page(checker, tmp_path, f"{size}-deciding")
        checker.click("form:has(#reason) button")
        expect(checker.page.locator("main")).to_contain_text(reason)
        assert checker.outside() == []
        checker.leave()

    page.goto(home)
    inspect_page(researcher, tmp_path, f"{size}-project")
    page.goto(place)
    inspect_page(researcher, tmp_path, f"{size}-released")
    with page.expect_download() as downloading:
        page.locator("a[href$='/controls.json']").click()
    controls = json.loads(downloading.value.path().read_bytes())
    assert [checker["reason"] for checker in controls["checkers"]] == [
        "No small cell.", "Sex is coarse.",
    ]  # fmt: skip
    assert researcher.outside() == []
    researcher.leave()
