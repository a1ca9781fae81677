"""Appointments, care plans and imaging: what a patient has to know of each, on one page."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest

from tests.lib.portal_house import PortalHouse, portal

__all__ = ["portal"]

# One black pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


def add_appointment(portal: PortalHouse, name: str, status: str, start: str, **more: Any) -> None:
    """Put an appointment of an hour into the gateway."""
    actors = [
        {"actor": {"reference": "Patient/pat-1"}, "status": "accepted"},
        {
            "actor": {"reference": "Practitioner/d", "display": "Dr LEE 李醫生"},
            "status": "accepted",
        },
        {"actor": {"reference": "Location/l", "display": "Ward 3"}, "status": "accepted"},
    ]
    times = {"start": f"{start}T09:00:00+08:00", "end": f"{start}T10:00:00+08:00"}
    kind = [{"text": f"Clinic {name}"}]
    portal.add_record(
        "Appointment", name, status=status, serviceType=kind, participant=actors, **times, **more
    )


def text_of(shown: str) -> str:
    """Return a page's main text."""
    main = shown.partition("<main")[2].partition("</main>")[0]
    return " ".join(re.sub(r"<[^>]*>", " ", main).replace("\u00a0", " ").split())


def test_what_is_to_come_stands_first_with_place_person_and_preparation(
    portal: PortalHouse,
) -> None:
    add_appointment(portal, "later", "booked", "2027-01-05")
    add_appointment(portal, "next", "booked", "2026-12-01", patientInstruction="Do not eat before.")
    add_appointment(portal, "done", "fulfilled", "2026-11-01")

    said = text_of(portal.log_in("patient").get("/appointments").text)

    assert said.index("Clinic next") < said.index("Clinic later") < said.index("Past")
    assert said.index("Past") < said.index("Clinic done")
    for text in ("1 Dec 2026 09:00", "How to prepare: Do not eat before.", "Dr LEE 李醫生",
                 "Ward 3", "60 minutes", "Booked"):  # fmt: skip
        assert text in said


def test_an_appointment_that_was_called_off_is_told_until_its_day(portal: PortalHouse) -> None:
    add_appointment(
        portal, "off", "cancelled", "2026-12-01", cancelationReason={"text": "The doctor is ill"}
    )
    add_appointment(portal, "old", "cancelled", "2026-10-01")

    said = text_of(portal.log_in("patient").get("/appointments").text)

    assert said.index("Clinic off Cancelled Why: The doctor is ill") < said.index("Past")
    assert said.index("Past") < said.index("Clinic old")


@pytest.mark.parametrize("language", ["en", "zh-Hant-HK", "zh-Hans"])
def test_a_plan_says_its_goals_what_is_to_be_done_and_by_whom(
    portal: PortalHouse, language: str
) -> None:
    portal.add_record("Goal", "g-1", lifecycleStatus="active", description={"text": "Walk again"})
    portal.add_record("Goal", "g-2", lifecycleStatus="active", description={"text": "Sleep better"})
    portal.add_record(
        "CarePlan", "p", status="active", intent="plan", title="After the hip",
        author={"reference": "Practitioner/d", "display": "Dr LEE 李醫生"},
        goal=[{"reference": "Goal/g-1"}],
        activity=[
            {"detail": {"status": "in-progress", "code": {"text": "Exercises"},
                        "description": "Ten minutes",
                        "performer": [{"display": "Ms HO"}]}},
            {"reference": {"reference": "ServiceRequest/s", "display": "Physiotherapy"}},
        ],
    )  # fmt: skip

    said = text_of(portal.log_in("patient", language).get("/care-plan").text)

    for text in ("After the hip", "Dr LEE", "李醫生", "Walk again", "Exercises", "Ten minutes",
                 "Ms HO", "Physiotherapy"):  # fmt: skip
        assert text in said
    # A goal of no plan stands apart, below.
    assert said.index("Physiotherapy") < said.index("Sleep better")
    if language == "en":
        assert "Going on" in said


def test_a_plan_without_anybody_named_says_so(portal: PortalHouse) -> None:
    portal.add_record("CarePlan", "p", status="active", intent="plan", title="Diet")

    assert "Who is responsible: The plan does not say." in text_of(
        portal.log_in("patient").get("/care-plan").text
    )


def test_a_report_stands_with_its_picture_and_its_study_is_not_told_twice(
    portal: PortalHouse,
) -> None:
    category = [{"coding": [{"code": "RAD"}]}]
    link = {"link": {"reference": "Media/m"}, "comment": "From the front"}
    portal.add_record(
        "DiagnosticReport", "r", status="final", code={"text": "X-ray of the chest"},
        category=category, conclusion="Clear lungs.", media=[link],
        imagingStudy=[{"reference": "ImagingStudy/s-1"}], effectiveDateTime="2026-11-01",
    )  # fmt: skip
    for name, day in (("s-1", "2026-11-01"), ("s-2", "2020-01-01")):
        portal.add_record(
            "ImagingStudy",
            name,
            status="available",
            started=day,
            description=f"Study {name}",
        )
    content = {"contentType": "image/png", "data": base64.b64encode(PNG).decode()}
    portal.add_record("Media", "m", status="completed", content=content)
    browser = portal.log_in("patient")

    shown = browser.get("/imaging").text

    said = text_of(shown)
    assert "What the report says: Clear lungs." in said
    assert "From the front" in said
    assert "Study s-1" not in said
    assert "Study s-2" in said
    assert "There is no report of it here." in said
    (address,) = re.findall(r'<img class="ehr-picture" src="([^"]*)"', shown)
    picture = browser.get(address)
    assert picture.headers["content-type"] == "image/png"
    assert picture.content == PNG


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/appointments", "No appointment is recorded."),
        ("/care-plan", "No care plans are recorded."),
        ("/imaging", "No scans are recorded."),
    ],
)
def test_what_is_not_recorded_is_said(portal: PortalHouse, path: str, text: str) -> None:
    assert text in portal.log_in("patient").get(path).text
