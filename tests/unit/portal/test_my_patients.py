"""A clinician's lists: who is on them, what a row says, marks that the gateway keeps."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ehr_fhir.identifier_systems import MARK_SYSTEM
from tests.lib.portal_house import TERMS, PortalHouse, house

__all__ = ["house"]

Resource = dict[str, Any]


def store(house: PortalHouse, resource: Resource) -> None:
    house.fake.resources[(resource["resourceType"], resource["id"])] = resource


def potassium(value: float, code: str, day: str = "2026-11-22") -> Resource:
    return {
        "resourceType": "Observation",
        "id": f"k-{value}",
        "meta": {"versionId": "1"},
        "subject": {"reference": "Patient/pat-1"},
        "status": "final",
        "category": [{"coding": [{"code": "laboratory"}]}],
        "code": {"text": "Potassium"},
        "effectiveDateTime": f"{day}T07:00:00+08:00",
        "valueQuantity": {"value": value, "unit": "mmol/L"},
        "interpretation": [
            {"coding": [{"system": f"{TERMS}/v3-ObservationInterpretation", "code": code}]}
        ],
    }


def stay(place: str) -> Resource:
    return {
        "resourceType": "Encounter",
        "id": "stay-1",
        "subject": {"reference": "Patient/pat-1"},
        "status": "in-progress",
        "location": [{"location": {"display": place}, "status": "active"}],
    }


def mark(house: PortalHouse) -> Any:
    store(house, stay("Ward, bed 4"))
    return house.send("/my-patients?list=ward", "/my-patients/mark", patient="pat-1", list="mine")


def test_a_row_says_who_where_and_what_must_not_be_overlooked(house: PortalHouse) -> None:
    store(house, stay("Ward, bed 4"))
    store(house, potassium(7.2, "HH"))
    store(house, potassium(4.4, "N"))

    shown = house.browser.get("/my-patients?list=ward").text

    row = re.search(r'<li data-row="pat-1".*?</li>', shown, re.S)
    assert row
    for words in ("CHAN Ka Yan", "陳家欣", "14 Mar 1981", "Ward, bed 4", "1 alert", "Potassium",
                  "7.2 mmol/L"):  # fmt: skip
        assert words in row[0].replace("\xa0", " ")
    assert "4.4" not in row[0]


@pytest.mark.parametrize("which", ["mine", "recent", "ward", "made-up", ""])
def test_an_empty_list_says_so(house: PortalHouse, which: str) -> None:
    shown = house.browser.get("/my-patients", params={"list": which})

    assert shown.status_code == 200
    assert "ehr-none" in shown.text
    assert "data-row" not in shown.text


def test_who_is_closed_to_the_reader_has_no_row(house: PortalHouse) -> None:
    store(house, stay("Ward, bed 4"))
    del house.fake.resources[("Patient", "pat-1")]

    shown = house.browser.get("/my-patients?list=ward").text

    assert "pat-1" not in shown
    assert "bed 4" not in shown


def test_what_was_opened_is_what_the_gateway_says(house: PortalHouse) -> None:
    house.fake.opened_patients.append("pat-1")

    assert 'data-row="pat-1"' in house.browser.get("/my-patients?list=recent").text


def test_a_mark_is_a_care_team_of_the_gateway(house: PortalHouse) -> None:
    answer = mark(house)

    assert answer.headers["location"] == "/my-patients?list=mine"
    [team] = [w for w in house.fake.written() if w["resourceType"] == "CareTeam"]
    assert team["identifier"] == [{"system": MARK_SYSTEM, "value": "dr-wong/pat-1"}]
    assert team["participant"][0]["member"]["reference"] == "Practitioner/dr-wong"
    assert team["participant"][0]["onBehalfOf"] == {"reference": "Organization/st-b"}
    [sent] = [r for r in house.fake.asked if r.method == "POST" and r.url.path == "/fhir/CareTeam"]
    assert sent.headers["If-None-Exist"] == f"identifier={MARK_SYSTEM}|dr-wong/pat-1"
    assert 'data-row="pat-1"' in house.browser.get("/my-patients").text


def test_a_mark_is_taken_off_and_set_again_on_the_same_team(house: PortalHouse) -> None:
    mark(house)
    for action, status in (("unmark", "inactive"), ("mark", "active")):
        house.send("/my-patients?list=ward", f"/my-patients/{action}", patient="pat-1", list="ward")

        [team] = [r for (kind, _), r in house.fake.resources.items() if kind == "CareTeam"]
        assert team["status"] == status


def test_nothing_of_a_patient_is_kept_in_the_session(house: PortalHouse) -> None:
    mark(house)

    row = house.app.state.portal.sessions._db.execute("SELECT body FROM session").fetchall()

    assert not re.search("pat-1|CHAN Ka|陳家欣", str(row))


def test_the_page_works_without_a_script_and_says_when_it_was_loaded(house: PortalHouse) -> None:
    shown = house.browser.get("/my-patients?list=ward").text

    assert '<span data-live-state="on" hidden>' in shown
    assert "As of 22 Nov 2026" in shown
    assert '<a href="/my-patients?list=ward">Load again</a>' in shown


def test_a_list_is_one_request_that_says_what_was_shown_before(house: PortalHouse) -> None:
    store(house, stay("Ward, bed 4"))
    house.fake.asked.clear()

    house.browser.get("/my-patients?list=ward")
    house.browser.get("/my-patients?list=ward")
    house.browser.get("/my-patients/events?list=ward")
    house.browser.get("/my-patients?list=mine")

    asked = [one.url.params for one in house.fake.asked if "$patient-list" in one.url.path]
    assert [(one["list"], one.get("shown")) for one in asked] == [
        ("ward", None),
        ("ward", "shown-ward"),
        ("ward", "shown-ward"),
        ("marked", None),
    ]
    about_patients = [one for one in house.fake.asked if "patient" in one.url.params]
    assert about_patients == []
