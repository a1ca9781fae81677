"""Open data in the portal: pages for anybody, files that may be kept, rows by their labels."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.lib.open_data import write_open_data
from tests.lib.portal_house import PortalHouse

SET = "/open-data/emergency-attendances"


@pytest.fixture
def browser(tmp_path: Path) -> TestClient:
    """Return the browser of somebody who is not logged in."""
    return PortalHouse(open_data=write_open_data(tmp_path)).browser


@pytest.mark.parametrize(
    ("language", "title", "hospital", "hidden"),
    [
        ("en", "Accident and emergency attendances", "Harbour Hospital", "hidden"),
        ("zh-HK", "急症室求診人次", "海港醫院", "不顯示"),
        ("zh-CN", "急诊室就诊人次", "海港醫院", "不显示"),
    ],
)
def test_a_set_is_shown_to_anybody_in_their_language(
    browser: TestClient, language: str, title: str, hospital: str, hidden: str
) -> None:
    headers = {"Accept-Language": language}

    listed = browser.get("/open-data", headers=headers).text
    page = browser.get(SET, headers=headers)

    assert title in listed
    assert page.status_code == 200
    assert title in page.text
    assert hospital in page.text
    assert hidden in page.text
    # Bars of three months and of the one hospital that is shown.
    assert page.text.count('<rect class="ehr-plot-pass"') == 4
    assert page.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("language", "newest"),
    [("en", "The newest hour, from 2026-07-14 21:00"), ("zh-HK", "由 2026-07-14 21:00 起")],
)
def test_a_live_set_is_shown_hour_by_hour(browser: TestClient, language: str, newest: str) -> None:
    live = "/open-data/emergency-waiting-times-live"
    shown = browser.get(live, headers={"Accept-Language": language}).text

    assert newest in shown
    assert "2026\u201107\u201114 20:00" in shown
    found = browser.get(f"{live}/rows?hour=2026-07-14T21&hospital=all").json()
    assert [row["median_minutes"] for row in found["rows"]] == [32.5]


def test_a_file_may_be_kept_and_is_not_sent_again_to_who_has_it(browser: TestClient) -> None:
    first = browser.get(f"{SET}/data.csv")
    again = browser.get(f"{SET}/data.csv", headers={"If-None-Match": first.headers["etag"]})

    assert first.headers["cache-control"] == "public, max-age=300"
    assert first.headers["access-control-allow-origin"] == "*"
    assert first.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(first.text)))
    assert rows[1]["attendances"] == "700"
    assert rows[2] == {
        "month": "2026-04",
        "hospital": "ha-lion-rock",
        "hospital_name_en": "Lion Rock Hospital",
        "hospital_name_zh": "獅子山醫院",
        "attendances": "",
    }
    assert (again.status_code, again.content) == (304, b"")
    assert "set-cookie" not in first.headers


def test_rows_are_found_by_their_labels_page_by_page(browser: TestClient) -> None:
    found = browser.get(f"{SET}/rows?hospital=ha-harbour&limit=2").json()
    rest = browser.get(found["next"]).json()

    assert found["total"] == 3
    assert [row["month"] for row in found["rows"]] == ["2026-04", "2026-05"]
    assert [row["month"] for row in rest["rows"]] == ["2026-06"]
    assert "next" not in rest


@pytest.mark.parametrize(
    "path",
    [
        "/open-data/no-such-set",
        "/open-data/no-such-set/rows",
        f"{SET}/index.json",
        f"{SET}/../../keys/deid.key",
        "/open-data/keys/data.csv",
        "/open-data/catalogue.jsonld/data.csv",
    ],
)
def test_nothing_else_is_served(browser: TestClient, path: str) -> None:
    assert browser.get(path).status_code == 404


@pytest.mark.parametrize(
    "query", ["attendances=700", "limit=0", "limit=1001", "offset=-1", "x=1", "limit=²"]
)
def test_a_query_that_means_nothing_is_refused(browser: TestClient, query: str) -> None:
    answer = browser.get(f"{SET}/rows?{query}")

    assert answer.status_code == 400
    assert "limit is 1 to 1000" in answer.json()["error"]


def test_the_catalogue_names_files_that_are_there(browser: TestClient) -> None:
    graph = browser.get("/open-data/catalogue.jsonld").json()["@graph"]

    files = [node["dcat:downloadURL"]["@id"] for node in graph if "dcat:downloadURL" in node]
    assert len(files) == 8
    for address in files:
        assert browser.get(address.removeprefix("https://ehr.example")).status_code == 200


def test_without_sets_the_page_says_how_they_come() -> None:
    page = PortalHouse().browser.get("/open-data")

    assert page.status_code == 200
    assert "once two people have approved it" in page.text
