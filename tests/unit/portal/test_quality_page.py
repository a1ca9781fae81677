"""The steward's page."""

from __future__ import annotations

import re
from typing import Any

from ehr_etl.data_quality.expectations import load_suite
from ehr_etl.data_quality.measure_reports import build_measure_reports
from ehr_etl.data_quality.results import ExpectationResult, TableQuality
from ehr_etl.data_quality.rules import load_quality_rules
from ehr_etl.gold.library import list_view_names
from ehr_portal.oversight.quality import CHECK_NAME_SYSTEM, PASSED_EXTENSION, newest_reports
from ehr_portal.record.plain_names import plain_name
from tests.lib.portal_house import PortalHouse, portal

__all__ = ["portal"]


def report(table: str, at: str, **checks: tuple[int, int]) -> dict[str, Any]:
    """Return a MeasureReport of a table; each check is rows that met it and rows looked at."""
    return {
        "resourceType": "MeasureReport",
        "id": f"{table}-{at}",
        "measure": f"https://ehr-commons.hk/fhir/Measure/quality-{table}",
        "date": f"{at}T05:00:00Z",
        "group": [
            {
                "code": {"text": name.replace("_", " ")},
                "population": [
                    {"code": {"coding": [{"code": "numerator"}]}, "count": met},
                    {"code": {"coding": [{"code": "denominator"}]}, "count": looked_at},
                ],
            }
            for name, (met, looked_at) in checks.items()
        ],
    }


def test_the_newest_report_of_each_table_stands_failures_first() -> None:
    told = newest_reports(
        [
            report("a", "2026-11-22", has_id=(5, 5)),
            report("b", "2026-11-21", has_id=(5, 5)),
            report("b", "2026-11-22", has_id=(4, 5)),
        ]
    )

    assert [(r.table, r.failed) for r in told] == [("quality-b", 1), ("quality-a", 0)]


def test_a_single_failing_row_is_never_rounded_to_a_pass(portal: PortalHouse) -> None:
    found = report("Observation", "2026-11-22", has_a_patient=(999_999, 1_000_000))
    portal.fake.resources[("MeasureReport", "m")] = found

    shown = portal.log_in("steward").get("/quality").text

    assert "1 check failed" in shown
    assert "99.9%" in shown
    assert "999,999" in shown
    assert ">Failed</strong>" in shown


def test_a_check_that_allows_exceptions_passes_as_the_report_says(portal: PortalHouse) -> None:
    found = report("condition-flat", "2026-11-22", onset=(1016, 1035))
    found["group"][0]["code"]["text"] = "onset-mostly-known"
    found["group"][0]["extension"] = [{"url": PASSED_EXTENSION, "valueBoolean": True}]
    portal.fake.resources[("MeasureReport", "m")] = found

    shown = portal.log_in("steward").get("/quality").text

    assert "All passed" in shown
    assert "The beginning is mostly known" in shown
    assert "98.1%" in shown or "98.2%" in shown
    assert "ehr-plot-fail" not in shown


def test_a_check_may_fail_though_its_report_counts_no_row() -> None:
    found = report("a", "2026-11-22", has_rows=(0, 0))
    found["group"][0]["extension"] = [{"url": PASSED_EXTENSION, "valueBoolean": False}]

    (told,) = newest_reports([found])

    assert told.failed == 1


def test_every_check_of_the_lake_has_a_name_in_each_language() -> None:
    names = {rule.name for rule in load_quality_rules().rules}
    names |= {one["name"] for view in list_view_names() for one in load_suite(view)["expectations"]}

    assert [
        name for name in sorted(names) if not plain_name(CHECK_NAME_SYSTEM, name, "zh-Hans")
    ] == []


def test_a_check_of_no_rows_has_nothing_wrong() -> None:
    (told,) = newest_reports([report("a", "2026-11-22", has_id=(0, 0))])

    assert told.checks[0].passed
    assert told.checks[0].share == 1.0


def test_before_the_first_run_the_page_says_so(portal: PortalHouse) -> None:
    assert "There are no results yet." in portal.log_in("steward").get("/quality").text


def test_every_check_of_a_table_is_said_in_words(portal: PortalHouse) -> None:
    steward = portal.log_in("steward")
    for view in list_view_names():
        names = [one["name"] for one in load_suite(view)["expectations"]]
        results = tuple(ExpectationResult(name, name != names[-1], 1200, 7) for name in names)
        (report,) = build_measure_reports([TableQuality(view, 1200, results)], "2026-11-22T05:00Z")
        portal.fake.resources[("MeasureReport", report["id"])] = report

        shown = steward.get(f"/quality/{newest_reports([report])[0].table}").text

        # Each demand is a sentence, which ends in a point or names the column.
        demands = re.findall(r"</h2>\s*</div>\s*<p>(.*?)</p>", shown, re.DOTALL)
        assert len(demands) == len(names)
        assert all(re.search(r"\w", re.sub(r"<[^>]*>", "", demand)) for demand in demands)
        # What failed stands first.
        assert shown.index(">Failed<") < shown.index(">Passed<")
        assert "7 of 1,200 (" in shown


def test_a_table_that_was_never_checked_has_no_page(portal: PortalHouse) -> None:
    assert portal.log_in("steward").get("/quality/nothing").status_code == 404
