"""The page of the timeline: days, visits, filters, and addresses without a date of the record."""

from __future__ import annotations

import re

from ehr_portal.record.sections import SECTIONS
from ehr_portal.record.timeline_sources import KIND_TITLES, SOURCES
from tests.lib.portal_house import SYSTEM, PortalHouse, portal

__all__ = ["portal"]


def headings(shown: str) -> list[str]:
    """Return the headings of the days."""
    return re.findall(r'id="day-\d+">([^<]*)<', shown)


def test_every_type_of_the_record_has_a_place_in_the_timeline() -> None:
    types = {search.resource_type for section in SECTIONS for search in section.searches}

    assert {source.resource_type for source in SOURCES} == types
    assert {source.kind for source in SOURCES} <= KIND_TITLES.keys()


def test_days_stand_newest_first_with_what_belongs_to_a_visit_below_it(
    portal: PortalHouse,
) -> None:
    portal.add_record(
        "Encounter", "v-1", status="finished", type=[{"text": "Check-up"}],
        period={"start": "2026-10-01T09:00:00+08:00", "end": "2026-10-01T09:30:00+08:00"},
    )  # fmt: skip
    portal.add_record(
        "Procedure", "op", status="completed", code={"text": "Dressing"},
        performedDateTime="2026-10-01T09:10:00+08:00", encounter={"reference": "Encounter/v-1"},
    )  # fmt: skip

    shown = portal.log_in("patient").get("/timeline").text

    assert headings(shown)[:2] == ["1 Oct 2026", "2 Jan 2026"]
    visit = re.search(r'class="ehr-day__visit">(.*?)</section>', shown, re.S)
    assert visit
    assert "Check-up" in visit[1]
    assert "Dressing" in visit[1]


def test_filters_leave_out_the_rest_and_pages_name_no_date(portal: PortalHouse) -> None:
    for number in range(40):
        coded = {"text": f"Act {number}"}
        portal.add_record(
            "Procedure", f"p-{number:02}", status="completed", code=coded,
            performedDateTime=f"2010-{12 - number // 28:02}-{28 - number % 28:02}",
            meta={"source": f"{SYSTEM}/organization/st-b"},
        )  # fmt: skip
    browser = portal.log_in("patient")

    shown = browser.get("/timeline", params={"kind": "procedures", "organization": "st-b"}).text

    assert "Haemoglobin" not in shown
    assert "Act 0" in shown
    assert "Act 39" not in shown
    link = re.search(
        r'href="(/timeline\?older=[\w-]+&amp;kind=procedures&amp;organization=st-b)"', shown
    )
    assert link
    older = browser.get(link[1].replace("&amp;", "&")).text
    assert "Act 39" in older
    assert headings(older)[0] != headings(shown)[0]


def test_more_than_a_few_of_a_day_are_folded_and_all_there(portal: PortalHouse) -> None:
    for number in range(20):
        portal.add_record(
            "Procedure",
            f"p-{number}",
            status="completed",
            code={"text": f"Act {number}."},
            performedDateTime="2026-10-01",
        )

    shown = portal.log_in("patient").get("/timeline").text

    assert all(f"Act {number}." in shown for number in range(20))
    assert "12 more" in shown


def test_what_the_token_does_not_cover_is_named(portal: PortalHouse) -> None:
    portal.fake.failures["Observation"] = 403

    shown = portal.log_in("patient").get("/timeline").text

    assert "Test results: These records cannot be shown with your log-in." in shown


def test_a_wrong_filter_filters_nothing(portal: PortalHouse) -> None:
    browser = portal.log_in("patient")

    for query in ("kind=x", "year=abcd", "organization=%22%3E", "older=unknown"):
        assert "Haemoglobin" in browser.get(f"/timeline?{query}").text
