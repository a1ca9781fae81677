"""Every page that links lead to, found by following them: barriers, sizes, languages, themes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.lib.barriers import CONTRAST, barriers, find_obstacles, overflow
from tests.lib.crawl import crawl, page_routes
from tests.lib.made_models import save_made_models
from tests.lib.open_data import write_open_data
from tests.lib.people import Person, Size
from tests.lib.released_research import make_released_research
from tests.lib.server import Platform

pytestmark = pytest.mark.browser

WHO = ("nobody", "patient", "dr.wong", "researcher.lau", "steward.ng", "auditor.tse", "admin")


@pytest.fixture(scope="module")
def pages(chromium: Browser, served: Platform) -> dict[str, dict[str, str]]:
    """Return the pages of each person, by the pattern of their address."""
    found: dict[str, dict[str, str]] = {}
    research = list_research_pages(served.data)
    for who in WHO:
        person = log_in(chromium, served, who)
        starts = [*research.get(who, ()), "/", "/display", "/style"]
        if who == "patient":
            # Of the sections, the one from which results over time are reached.
            starts.append("/record/results")
        if who == "dr.wong":
            # A form finds the patient, and words in the record lead to the two others.
            record = f"/patients/{served.patient.id}"
            starts += [record, f"{record}/results", f"{record}/ask", f"{record}/emergency"]
        found[who] = crawl(person, *starts)
        person.leave()
    # Of the log-in, and what is no page.
    found["patient"] |= {path: path for path in ("/oauth/account", "/oauth/display")}
    found["nobody"] |= {path: path for path in ("/", "/?ended=1", "/no-such-page", "/login")}
    return found


def list_research_pages(data: Path) -> dict[str, list[str]]:
    """Make research with something on each of its pages; return where each reader begins."""
    released, waiting = make_released_research(data)
    write_open_data(data)
    save_made_models(data)
    return {
        "nobody": ["/open-data"],
        "researcher.lau": ["/projects/stays", "/projects/idea/change",
                           f"/projects/stays/releases/{released}"],
        "steward.ng": [f"/releases/{waiting}", f"/releases/{released}/trace"],
    }  # fmt: skip


def log_in(chromium: Browser, served: Platform, who: str, size: Size = "desktop") -> Person:
    """Return a person's browser, logged in."""
    person = Person(chromium, served, size=size)
    if who == "nobody":
        return person
    if who == "patient":
        person.log_in_by_eid(served.patient.hkid)
    else:
        person.log_in_by_password(who)
    return person


# Pages that need what this platform does not hold: each is looked at in a story of its own.
ELSEWHERE = {
    "/people": "a carer of somebody: test_access_beyond_sharing.py",
    "/patients/{patient}/ask/{access_request_id}": "an open request: test_access_beyond_sharing.py",
    "/patients/{patient}/item/{resource_type}/{resource_id}/hold": "test_access_beyond_sharing.py",
    "/patients/{patient}/item/{resource_type}/{resource_id}/wrong": "an own entry: test_writing.py",
    "/patients/{patient}/write/prescription/{draft_id}": "a draft: test_writing.py",
    "/own-entries/{entry}": "a measurement: test_patients_choices.py",
    "/corrections/to-answer/{correction_id}": "a request: test_patients_choices.py",
    "/reviews/{access_id}": "an emergency: test_access_beyond_sharing.py",
    "/proposals/{proposal_id}": "a proposed name: tests/unit/portal/test_identity_proposals.py",
    "/findings/{resource_type}/{resource_id}": "a fault that the lake found: test_findings.py",
    "/erasures/{erasure_id}": "a request of two people: test_erasures.py",
    "/duplicates/{handle}": "two Patients that may be one person's: test_duplicates.py",
    "/merges/{merge_id}": "a merge that two decide on: test_duplicates.py",
    "/quality/{table}": "results of the lake: test_quality.py",
    "/projects/{project_id}/dummy": "no page",
    "/projects/{project_id}/releases/{release_id}/files/{name}": "no page",
    "/releases/{release_id}/files/{name}": "no page",
    "/open-data/{dataset}/rows": "no page",
    "/open-data/{dataset}/{file}": "no page",
    "/releases/{run_id}/trace/proof": "no page",
    "/take-away/summary.json": "no page",
    "/take-away/summary.pdf": "no page",
    **dict.fromkeys(
        ("/models/{task}", "/models/{task}/versions/{number}/{name}"),
        "a model: tests/unit/portal/test_models.py",
    ),
}


def test_links_lead_to_every_page(pages: dict[str, dict[str, str]]) -> None:
    reached = set().union(*pages.values())

    assert page_routes() - reached - set(ELSEWHERE) == set()


@pytest.mark.parametrize("size", ["phone", "desktop"])
@pytest.mark.parametrize("who", WHO)
def test_no_page_has_a_barrier(
    chromium: Browser,
    served: Platform,
    pages: dict[str, dict[str, str]],
    tmp_path: Path,
    who: str,
    size: Size,
) -> None:
    person = log_in(chromium, served, who, size=size)
    # The structure of a page is the same in every language: each size is looked at in one.
    language = {"phone": "en", "desktop": "zh-Hant-HK"}[size]
    person.go(f"/language/{language}?back=/display")
    problems: dict[str, list[str]] = {}
    for path in pages[who].values():
        person.go(path)
        assert person.page.locator("html").get_attribute("lang") == language
        problems[path] = find_obstacles(person)
        if problems[path]:
            person.picture(tmp_path, re.sub(r"\W+", "-", path.strip("/"))[:40] or "front")
    assert {path: found for path, found in problems.items() if found} == {}
    assert person.outside() == []
    person.leave()


# A desk of 1280 pixels at 400 %.
@pytest.mark.parametrize("who", WHO)
def test_no_page_scrolls_sideways_at_320_pixels_with_large_text(
    chromium: Browser, served: Platform, pages: dict[str, dict[str, str]], who: str
) -> None:
    person = log_in(chromium, served, who, size="zoomed")
    person.choose(**{"text-size": "larger"})
    person.go("/language/zh-Hans?back=/display")
    problems: dict[str, list[str]] = {}
    for path in pages[who].values():
        person.go(path)
        assert person.page.locator("html").get_attribute("lang") == "zh-Hans"
        problems[path] = overflow(person)
    assert {path: found for path, found in problems.items() if found} == {}
    person.leave()


@pytest.mark.parametrize("theme", ["dark", "contrast"])
@pytest.mark.parametrize("who", ["patient", "dr.wong"])
def test_every_theme_has_contrast(
    chromium: Browser, served: Platform, pages: dict[str, dict[str, str]], who: str, theme: str
) -> None:
    person = log_in(chromium, served, who)
    person.choose(theme=theme)
    problems: dict[str, list[str]] = {}
    for path in pages[who].values():
        person.go(path)
        assert person.page.locator("html").get_attribute("data-theme") == theme
        problems[path] = barriers(person, CONTRAST)
    assert {path: found for path, found in problems.items() if found} == {}
    person.leave()
