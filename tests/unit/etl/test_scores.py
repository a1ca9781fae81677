"""Scores over time: by provider and by table, as counts alone."""

from __future__ import annotations

from pathlib import Path

from ehr_etl.data_quality.measure_reports import build_measure_reports
from ehr_etl.data_quality.results import ExpectationResult, TableQuality
from ehr_etl.lake import Lake
from ehr_etl.tables.bucketed import create_tables
from ehr_etl.tables.scores import (
    append_scores,
    read_check_trends,
    read_trends,
    summarize_providers,
)
from ehr_etl.tables.silver import SilverReport
from ehr_fhir.validation.validate import validate
from ehr_portal.oversight.quality import newest_reports
from ehr_portal.record.charts import draw_share_line

TABLE = TableQuality("condition_flat", 4, (ExpectationResult("id-unique", False, 4, 1),))


def counted(good: int, bad: int) -> SilverReport:
    report = SilverReport()
    if good:
        report.count([], is_held=False, number=good, author="ha-harbour")
    if bad:
        report.count(["value-plausible"], is_held=True, number=bad, author="ha-harbour")
    return report


def lake_with_scores(folder: Path) -> Lake:
    lake = Lake(folder)
    create_tables(lake)
    for at_ms, (good, bad) in enumerate([(8, 2), (9, 1), (10, 0)], 1):
        append_scores(lake, at_ms * 1000, counted(good, bad), [TABLE], is_anew=False)
    return lake


def test_a_provider_has_all_its_versions_and_what_they_broke(tmp_path: Path) -> None:
    (found,) = summarize_providers(lake_with_scores(tmp_path))

    assert (found.table, found.rows) == ("ha-harbour", 30)
    assert {one.name: one.unexpected for one in found.results} == {"value-plausible": 3}


def test_what_is_counted_anew_takes_the_place_of_what_was_counted(tmp_path: Path) -> None:
    lake = lake_with_scores(tmp_path)
    append_scores(lake, 4000, counted(20, 5), [], is_anew=True)
    append_scores(lake, 5000, counted(1, 0), [], is_anew=False)

    (found,) = summarize_providers(lake)

    assert found.rows == 26


def test_a_trend_is_told_in_the_report_and_drawn(tmp_path: Path) -> None:
    lake = lake_with_scores(tmp_path)
    trends = read_trends(lake)

    reports = build_measure_reports(
        [TABLE], "2026-11-22T08:00:00Z", providers=summarize_providers(lake), trends=trends
    )

    assert [share for _, share in trends["ha-harbour"]] == [0.8, 0.9, 1.0]
    assert [share for _, share in trends["condition_flat"]] == [0.75, 0.75, 0.75]
    for report in reports:
        validate(report)
    told = {report.table: report for report in newest_reports(reports)}
    provider = told["provider-ha-harbour"]
    assert provider.organization == "ha-harbour"
    assert [share for _, share in provider.trend] == [0.8, 0.9, 1.0]
    assert "polyline" in draw_share_line(provider.trend, "from 80 % to 100 %")
    assert draw_share_line(provider.trend[:2], "too few") == ""


def test_a_provider_whose_records_broke_no_rule_has_a_report_that_the_gateway_takes(
    tmp_path: Path,
) -> None:
    lake = Lake(tmp_path)
    create_tables(lake)
    append_scores(lake, 1000, counted(3, 0), [], is_anew=False)

    (report,) = build_measure_reports(
        [], "2026-11-22T08:00:00Z", providers=summarize_providers(lake), trends=read_trends(lake)
    )

    validate(report)
    assert newest_reports([report])[0].organization == "ha-harbour"


def test_what_a_check_demands_and_how_it_went_before_is_told_in_the_report(tmp_path: Path) -> None:
    lake = lake_with_scores(tmp_path)
    (report,) = build_measure_reports(
        [TABLE], "2026-11-22T08:00:00Z", check_trends=read_check_trends(lake)
    )
    validate(report)

    (check,) = newest_reports([report])[0].checks

    assert check.demand is not None
    assert (check.demand.type, check.demand.column) == ("expect_column_values_to_be_unique", "id")
    assert check.demand.holds_back
    assert [share for _, share in check.trend] == [0.75, 0.75, 0.75]
    assert draw_share_line(check.trend, "x")


def test_a_rule_tells_its_severity_and_its_source() -> None:
    rules = ("value-plausible", "no-conflict", "line-unreadable")
    silver = TableQuality("silver", 4, tuple(ExpectationResult(r, True, 4, 0) for r in rules))
    (report,) = build_measure_reports([silver], "2026-11-22T08:00:00Z")

    demands = [check.demand for check in newest_reports([report])[0].checks]

    assert demands[0] is not None and demands[1] is not None
    assert (demands[0].type, demands[0].holds_back) == ("rule-error", True)
    assert (demands[1].type, demands[1].holds_back) == ("rule-warning", False)
    # A fault of the feed's own lines has no rule.
    assert demands[2] is None
