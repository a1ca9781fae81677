"""A research project: a researcher applies, a steward returns it, two people approve, it opens."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.lib.barriers import inspect_page
from tests.lib.people import Person, Size
from tests.lib.server import Platform

pytestmark = pytest.mark.browser

LANGUAGES: dict[Size, str] = {"desktop": "en", "phone": "zh-Hant-HK", "zoomed": "zh-Hans"}


def enter(chromium: Browser, served: Platform, size: Size, login: str) -> Person:
    """Log somebody in who reads the language of the size."""
    person = Person(chromium, served, size=size, language=LANGUAGES[size])
    person.log_in_by_password(login)
    person.go(f"/language/{LANGUAGES[size]}?back=/projects")
    return person


def decide(person: Person, place: str, decision: str, reason: str) -> None:
    """Decide on a project with the keyboard alone."""
    page = person.page
    page.goto(place)
    page.locator(f"[name=decision][value={decision}]").focus()
    page.keyboard.press("Space")
    page.locator("#reason").focus()
    page.keyboard.type(reason)
    page.locator("main form button").focus()
    person.press("Enter")
    expect(page.locator("main")).to_contain_text(reason)


def record_training(person: Person, course: str, expires: date) -> None:
    """Record a training of the researcher, taken a year ago."""
    page = person.page
    for field, value in {
        "person": "researcher.lau", "affiliation": "University of Kowloon", "course": course,
        "day": (expires - timedelta(days=365)).isoformat(), "expires": expires.isoformat(),
    }.items():  # fmt: skip
        page.locator(f"#{field}").fill(value)
    person.click("form[action='/research-people'] button")
    expect(page.locator("main")).to_contain_text(course)


@pytest.mark.parametrize("size", ["desktop", "phone", "zoomed"])
def test_from_an_application_to_an_open_project(
    chromium: Browser, served: Platform, tmp_path: Path, size: Size
) -> None:
    researcher = enter(chromium, served, size, "researcher.lau")
    page = researcher.page
    inspect_page(researcher, tmp_path, f"{size}-projects")
    page.goto(f"{served.address}/projects/catalogue")
    page.locator("summary", has_text="encounter_flat").click()
    expect(page.locator("details[open]")).to_contain_text("patient_id")
    inspect_page(researcher, tmp_path, f"{size}-catalogue")

    page.goto(f"{served.address}/projects/new")
    page.locator("#title").fill(f"Falls {size}")
    researcher.click("button[value=submit]")
    # What is missing is named, and nothing that was typed is lost.
    expect(page.locator(".nhsuk-error-summary")).to_be_visible()
    expect(page.locator("#title")).to_have_value(f"Falls {size}")
    inspect_page(researcher, tmp_path, f"{size}-missing")
    page.locator("#purpose").fill("Who comes back after a fall?")
    page.locator("#ethics").fill("REC-2026-7")
    page.locator("#to").fill((date.today() + timedelta(days=365)).isoformat())
    page.locator("summary", has_text="encounter_flat").click()
    for column in ("patient_id", "start"):
        page.locator(f"[id='encounter_flat.{column}']").check()
    page.locator("[id='why.encounter_flat']").fill("Falls are counted by visits")
    researcher.click("button[value=draft]")
    place = page.url
    researcher.click("a[href$='/change']")
    expect(page.locator("[id='encounter_flat.start']")).to_be_checked()
    researcher.click("button[value=submit]")
    expect(page.locator("main form")).to_have_count(0)
    inspect_page(researcher, tmp_path, f"{size}-handed-in")

    steward = enter(chromium, served, size, "steward.ng")
    steward.page.goto(place)
    expect(steward.page.locator("main")).to_contain_text("Falls are counted by visits")
    inspect_page(steward, tmp_path, f"{size}-deciding")
    decide(steward, place, "approve", "The items are few.")
    auditor = enter(chromium, served, size, "auditor.tse")
    decide(auditor, place, "approve", "The purpose is plain.")
    decide(auditor, place, "open", "Both approvals are given.")
    page.goto(place)
    expect(page.locator("main")).to_contain_text("Both approvals are given.")
    inspect_page(researcher, tmp_path, f"{size}-open")

    steward.page.goto(f"{served.address}/research-people")
    inspect_page(steward, tmp_path, f"{size}-people")
    record_training(steward, f"Good practice {size}", date.today() + timedelta(days=7))
    inspect_page(steward, tmp_path, f"{size}-recorded")
    steward.page.goto(f"{served.address}/projects")
    inspect_page(steward, tmp_path, f"{size}-all-projects")
    page.goto(f"{served.address}/projects")
    expect(page.locator("main .nhsuk-tag--yellow").first).to_be_visible()
    inspect_page(researcher, tmp_path, f"{size}-own-training")

    decide(steward, place, "suspend", "A release is looked into.")
    page.goto(place)
    expect(page.locator("main")).to_contain_text("A release is looked into.")
    expect(page.locator("main .nhsuk-tag--red")).to_have_count(1)
    inspect_page(researcher, tmp_path, f"{size}-suspended")
    decide(steward, place, "resume", "It was in order.")
    expect(steward.page.locator("main .nhsuk-tag--red")).to_have_count(1)
    decide(auditor, place, "resume", "I looked as well.")
    expect(auditor.page.locator("main .nhsuk-tag--green").first).to_be_visible()
    decide(steward, place, "close", "The question is answered.")
    inspect_page(steward, tmp_path, f"{size}-closed")
    assert not list((served.data / "keys" / "research").glob(f"{place.rpartition('/')[2]}.key"))
    for person in (researcher, steward, auditor):
        assert person.outside() == []
        person.leave()
