"""The gate: counts without values, and its report as FHIR."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pandas as pd
import pytest
from fhir.resources.R4B.measurereport import MeasureReport

from ehr_etl.data_quality.expectations import check_table, load_suite
from ehr_etl.data_quality.measure_reports import (
    QUALITY_EXPECTATION_URL,
    QUALITY_PASSED_URL,
    build_measure_reports,
    send_measure_reports,
)
from ehr_etl.data_quality.results import (
    ExpectationResult,
    TableQuality,
    read_quality_results,
    write_quality_results,
)
from ehr_etl.gold.library import list_view_names, load_view
from ehr_etl.lake import Lake
from ehr_etl.sql_on_fhir import compile_view
from ehr_fhir.errors import Forbidden, Unavailable, Unprocessable

AT = "2026-11-22T08:00:00Z"
FOUND = TableQuality("patient_demographics", 4, (ExpectationResult("id-unique", False, 4, 2),))


def test_every_view_has_a_suite_for_its_columns() -> None:
    for name in list_view_names():
        columns = compile_view(load_view(name)).column_names
        agreed = next(
            one["kwargs"]["column_list"]
            for one in load_suite(name)["expectations"]
            if one["name"] == "columns-as-agreed"
        )
        assert columns == agreed


def test_a_repeated_id_is_counted_and_not_shown(tmp_path: Path) -> None:
    ids = ["0" * 32, "0" * 32, "a" * 32, "not a pseudonym"]
    frame = pd.DataFrame(
        {"id": ids, "gender": "male", "birth_year": 1980, "region": None, "deceased": False}
    )

    found = check_table("patient_demographics", frame, load_suite("patient_demographics"))
    write_quality_results(Lake(tmp_path), [found])

    by_name = {result.name: result for result in found.results}
    assert (by_name["id-unique"].success, by_name["id-unique"].unexpected) == (False, 2)
    assert by_name["id-is-a-pseudonym"].unexpected == 1
    assert by_name["deceased-known"].success
    assert not found.success
    assert "not a pseudonym" not in (tmp_path / "quality" / "patient_demographics.json").read_text()


def test_an_empty_table_does_not_pass() -> None:
    frame = pd.DataFrame(columns=["id", "gender", "birth_year", "region", "deceased"])

    assert not check_table(
        "patient_demographics", frame, load_suite("patient_demographics")
    ).success


def test_results_are_read_back_as_written(tmp_path: Path) -> None:
    write_quality_results(Lake(tmp_path), [FOUND])

    assert read_quality_results(Lake(tmp_path)) == (FOUND,)


def test_a_report_is_a_valid_measure_report() -> None:
    (report,) = build_measure_reports([FOUND], AT)

    MeasureReport.model_validate(report)
    assert report["id"] == "patient-demographics"
    assert [one["count"] for one in report["group"][0]["population"]] == [4, 2]


def test_a_report_says_of_an_expectation_that_allows_exceptions_that_it_was_met() -> None:
    mostly = ExpectationResult("onset-mostly-known", True, 4, 1)

    (report,) = build_measure_reports([TableQuality("condition_flat", 4, (mostly,))], AT)

    MeasureReport.model_validate(report)
    verdict, demand = report["group"][0]["extension"]
    assert verdict == {"url": QUALITY_PASSED_URL, "valueBoolean": True}
    # What the check demands stands beside it.
    assert demand["url"] == QUALITY_EXPECTATION_URL
    assert {"url": "mostly", "valueDecimal": 0.5} in demand["extension"]


def test_reports_go_to_the_gateway_as_one_transaction() -> None:
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json={})

    client = httpx.Client(transport=httpx.MockTransport(answer), base_url="http://gateway")
    send_measure_reports(client, "secret", build_measure_reports([FOUND], AT))

    bundle = json.loads(sent[0].content)
    assert bundle["type"] == "transaction"
    assert bundle["entry"][0]["request"] == {
        "method": "PUT",
        "url": "MeasureReport/patient-demographics",
    }
    assert sent[0].headers["Authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    ("status", "error"), [(403, Forbidden), (422, Unprocessable), (500, Unavailable)]
)
def test_a_refusal_of_a_report_is_said(status: int, error: type[Exception]) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(status))
    client = httpx.Client(transport=transport, base_url="http://gateway")

    with pytest.raises(error):
        send_measure_reports(client, "t", build_measure_reports([FOUND], AT))
