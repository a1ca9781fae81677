"""Data Docs: the steward reads what each check of the lake demands and found, by keyboard alone."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from ehr_cli.commands.lake_access import fetch_program_token
from ehr_etl.data_quality.expectations import load_suite
from ehr_etl.data_quality.measure_reports import build_measure_reports, send_measure_reports
from ehr_etl.data_quality.results import ExpectationResult, TableQuality
from ehr_etl.data_quality.rules import load_quality_rules
from ehr_etl.gold.library import list_view_names
from tests.lib.barriers import inspect_page
from tests.lib.people import Person, Size
from tests.lib.server import Platform

pytestmark = pytest.mark.browser

LANGUAGES: dict[Size, str] = {"desktop": "en", "phone": "zh-Hant-HK", "zoomed": "zh-Hans"}
DAY_MS = 86_400_000
BEGIN_MS = 1_795_334_400_000
# One check of each table has failed.
MISSED = {"code-mostly-known": 212, "id-unique": 1, "value-usual": 3}


def send_checks(served: Platform) -> None:
    """Send the results of the lake's tables, with a week before them."""
    names = {
        view: [one["name"] for one in load_suite(view)["expectations"]]
        for view in list_view_names()
    }
    names["silver"] = [rule.name for rule in load_quality_rules().rules]
    tables = [
        TableQuality(
            table,
            1200,
            tuple(
                ExpectationResult(name, name not in MISSED, 1200, MISSED.get(name, 0))
                for name in checks
            ),
        )
        for table, checks in names.items()
    ]
    week = [(BEGIN_MS + day * DAY_MS, 0.7 + 0.04 * day) for day in range(7)]
    trends = {(table.table, one.name): week for table in tables for one in table.results}
    reports = build_measure_reports(
        tables,
        "2026-11-22T08:00:00Z",
        trends={table.table: week for table in tables},
        check_trends=trends,
    )
    with httpx.Client(base_url=served.address) as client:
        send_measure_reports(client, fetch_program_token(client, served.data, "lake"), reports)


@pytest.mark.parametrize("size", ["desktop", "phone", "zoomed"])
def test_a_steward_reads_what_the_checks_demand(
    chromium: Browser, served: Platform, tmp_path: Path, size: Size
) -> None:
    send_checks(served)
    steward = Person(chromium, served, size=size, language=LANGUAGES[size])
    steward.log_in_by_password("steward.ng")
    steward.go(f"/language/{LANGUAGES[size]}?back=/quality")

    inspect_page(steward, tmp_path, f"{size}-quality")
    link = steward.page.locator("a[href='/quality/condition-flat']")
    link.focus()
    steward.press("Enter")
    assert steward.page.url.endswith("/quality/condition-flat")
    # What failed stands first, and says of what.
    expect(steward.page.locator("main section").first).to_contain_text("id")
    expect(steward.page.locator("main section .nhsuk-tag--red")).to_have_count(2)
    inspect_page(steward, tmp_path, f"{size}-table")
    steward.go("/quality/silver")
    inspect_page(steward, tmp_path, f"{size}-rules")
    assert steward.outside() == []
    steward.leave()
