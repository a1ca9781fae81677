"""An entry of the reader's own organisation is marked as wrong; it stays readable."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lib.portal_house import SYSTEM, PortalHouse

OWN = {"source": f"{SYSTEM}/organization/st-b", "versionId": "1"}


@pytest.fixture
def house() -> PortalHouse:
    """Return a portal with entries of the doctor's own organisation."""
    house = PortalHouse()
    house.log_in("doctor")
    for key in (
        ("Observation", "lab-2025"),
        ("AllergyIntolerance", "al-1"),
        ("Condition", "con-1"),
    ):
        house.fake.resources[key] = {**house.fake.resources[key], "meta": OWN}
    return house


def item(kind: str, name: str) -> str:
    return f"/patients/pat-1/item/{kind}/{name}"


def mark(house: PortalHouse, kind: str, name: str, reason: str, **fields: str) -> Any:
    page = f"{item(kind, name)}/wrong"
    return house.send(page, page, reason=reason, **fields)


@pytest.mark.parametrize(
    ("kind", "name"), [("Observation", "lab-2025"), ("AllergyIntolerance", "al-1")]
)
def test_an_own_entry_is_marked_with_the_reason(house: PortalHouse, kind: str, name: str) -> None:
    assert f'href="{item(kind, name)}/wrong"' in house.browser.get(item(kind, name)).text

    answer = mark(house, kind, name, "Of another patient")

    assert answer.headers["location"] == item(kind, name)
    marked = house.fake.resources[(kind, name)]
    states = [
        marked.get("status"),
        *(c["code"] for c in marked.get("verificationStatus", {}).get("coding", ())),
    ]
    assert "entered-in-error" in states
    assert "clinicalStatus" not in marked
    assert marked["note"][0]["text"] == "Entered in error: Of another patient"
    shown = house.browser.get(item(kind, name)).text
    assert "entered by mistake" in shown
    assert "/wrong" not in shown


def test_a_reason_is_kept_whole_or_refused(house: PortalHouse) -> None:
    long = "The sample was another's, and the right one says " + "x" * 440
    assert mark(house, "Observation", "lab-2025", "y" * 501).status_code == 422
    assert house.fake.written() == []

    mark(house, "Observation", "lab-2025", long)

    marked = house.fake.resources["Observation", "lab-2025"]
    assert marked["note"][0]["text"] == f"Entered in error: {long}"


def test_a_reason_is_needed(house: PortalHouse) -> None:
    answer = mark(house, "Observation", "lab-2025", " ")

    assert answer.status_code == 422
    assert house.fake.written() == []


@pytest.mark.parametrize(
    ("kind", "name"),
    # Of another organisation, of a type that is not written here, of nobody.
    [("Observation", "lab-2024"), ("Condition", "con-1"), ("Observation", "none")],
)
def test_nothing_else_is_marked(house: PortalHouse, kind: str, name: str) -> None:
    assert house.browser.get(f"{item(kind, name)}/wrong").status_code == 404
    assert "/wrong" not in house.browser.get(item(kind, name)).text


def test_what_was_changed_meanwhile_is_not_marked(house: PortalHouse) -> None:
    house.fake.resources[("Observation", "lab-2025")]["meta"] = {**OWN, "versionId": "2"}

    mark(house, "Observation", "lab-2025", "Wrong patient", version="1")

    assert house.fake.resources[("Observation", "lab-2025")]["status"] == "final"
