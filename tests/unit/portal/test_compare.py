"""Results side by side: no two units in a column, flags beside the numbers, nothing made up."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ehr_portal.record.comparison import MAX_COLUMNS, MAX_ROWS, compare_trends
from ehr_portal.record.trends import group_into_trends
from tests.lib.portal_house import TERMS, PortalHouse

PAGE = "/patients/pat-1/compare"


def result(
    name: str, value: float, unit: str, day: str, number: int, flag: str = ""
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "resourceType": "Observation",
        "id": f"{name}-{number}",
        "meta": {"versionId": "1"},
        "subject": {"reference": "Patient/pat-1"},
        "status": "final",
        "category": [{"coding": [{"code": "laboratory"}]}],
        "code": {"text": name},
        "effectiveDateTime": f"{day}T08:00:00+08:00",
        "valueQuantity": {"value": value, "unit": unit},
    }
    if flag:
        coding = {"system": f"{TERMS}/v3-ObservationInterpretation", "code": flag}
        found["interpretation"] = [{"coding": [coding]}]
    return found


@pytest.fixture
def house() -> PortalHouse:
    """Return a portal with potassium, and glucose in two units."""
    house = PortalHouse()
    house.log_in("doctor")
    for observation in (
        result("Potassium", 4.4, "mmol/L", "2026-11-20", 1),
        result("Potassium", 7.2, "mmol/L", "2026-11-21", 2, "HH"),
        result("Glucose", 5.5, "mmol/L", "2026-11-20", 1),
        result("Glucose", 99, "mg/dL", "2026-11-21", 2),
        result("Sodium", 140, "mmol/L", "2026-11-21", 1),
    ):
        house.fake.resources[("Observation", observation["id"])] = observation
    return house


def test_what_was_chosen_stands_side_by_side_with_flags(house: PortalHouse) -> None:
    shown = house.browser.get(PAGE, params={"test": ["Potassium-2", "Sodium-1"]}).text

    table = re.findall(r"<table.*?</table>", shown, re.S)[0].replace("\xa0", " ")
    heads = re.findall(r'<th scope="col">(\w+)', table)
    assert heads == ["Time", "Potassium", "Sodium"]
    rows = re.findall(r"<tr data-row.*?</tr>", table, re.S)
    assert "7.2 mmol/L" in rows[0] and "Critically high" in rows[0] and "140 mmol/L" in rows[0]
    assert "4.4 mmol/L" in rows[1] and "140" not in rows[1]
    assert "Glucose" not in table
    assert re.search(r'value="Potassium-2" checked', shown)
    assert not re.search(r'value="Glucose-2" checked', shown)


def test_two_units_are_two_columns(house: PortalHouse) -> None:
    shown = house.browser.get(PAGE, params={"test": "Glucose-2"}).text

    table = re.findall(r"<table.*?</table>", shown, re.S)[0]
    assert re.findall(r'<span class="ehr-meta">(m\w+/\w+)</span></th>', table) == [
        "mg/dL",
        "mmol/L",
    ]


def test_nothing_chosen_shows_what_there_is_to_choose(house: PortalHouse) -> None:
    shown = house.browser.get(PAGE).text

    assert "<table" not in shown
    assert shown.count('name="test"') == 4
    assert "CHAN Ka Yan" in shown


@pytest.mark.parametrize("made_up", ["nothing", "<b>", "con-1"])
def test_what_is_no_test_of_this_record_shows_nothing(house: PortalHouse, made_up: str) -> None:
    shown = house.browser.get(PAGE, params={"test": made_up})

    assert shown.status_code == 200
    assert "<table" not in shown.text


def test_the_table_has_bounds_and_says_when_it_is_cut() -> None:
    many = [
        result(f"T{test}", 1, "g", f"20{day % 26:02}-01-{day % 28 + 1:02}", day)
        for test in range(MAX_COLUMNS + 2)
        for day in range(MAX_ROWS * 2)
    ]

    table = compare_trends(group_into_trends(many, "en"))

    assert len(table.columns) == MAX_COLUMNS
    assert len(table.rows) == MAX_ROWS
    assert table.is_cut
    assert [row.date for row in table.rows] == sorted((r.date for r in table.rows), reverse=True)


def test_the_timeline_of_a_patient_is_for_clinicians_and_names_the_patient() -> None:
    shown = PortalHouse().log_in("doctor").get("/patients/pat-1/timeline")

    assert shown.status_code == 200
    assert "CHAN Ka Yan" in shown.text
    assert 'href="/patients/pat-1/item/' in shown.text
    assert PortalHouse().log_in("patient").get("/patients/pat-1/timeline").status_code == 403
