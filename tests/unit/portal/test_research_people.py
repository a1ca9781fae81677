"""The page of who works with data, and what other pages tell of training."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from ehr_portal.oversight.researchers import parse_researchers
from tests.lib.portal_house import PortalHouse, portal
from tests.unit.portal.test_research_projects import listed, project

__all__ = ["listed", "portal"]

TODAY = date(2026, 11, 28)


def person(name: str, *expiries: str, affiliation: str = "HKU") -> dict[str, Any]:
    """Return one person as the gateway tells of them; with a course for each day of expiry."""
    parts: list[dict[str, Any]] = [
        {"name": "person", "valueString": name},
        {"name": "affiliation", "valueString": affiliation},
        {"name": "project", "valueString": "falls"},
    ]
    for number, expires in enumerate(expiries):
        course = [
            {"name": "course", "valueString": f"Course <{number}>"},
            {"name": "day", "valueDate": "2026-01-05"},
            {"name": "expires", "valueDate": expires},
        ]
        parts.append({"name": "training", "part": course})
    return {"name": "researcher", "part": parts}


def people(*listed: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of `$research-people`."""
    return {"resourceType": "Parameters", "parameter": list(listed)}


@pytest.mark.parametrize(
    ("expiries", "state"),
    [
        ((), "none"),
        (("2026-11-28",), "expired"),
        (("2026-11-29",), "expiring"),
        (("2026-12-28",), "expiring"),
        (("2026-12-29",), "trained"),
        # The first to expire decides.
        (("2099-01-01", "2026-11-28"), "expired"),
    ],
)
def test_the_first_course_to_expire_is_the_state_of_somebody(
    expiries: tuple[str, ...], state: str
) -> None:
    (parsed,) = parse_researchers(people(person("lau", *expiries)), TODAY)

    assert parsed.state_on(TODAY) == state


def test_who_may_not_work_comes_first() -> None:
    answer = people(
        person("a", "2099-01-01"), person("b", "2026-12-01"), person("c", "2026-01-06"), person("d")
    )

    assert [each.person for each in parse_researchers(answer, TODAY)] == ["d", "c", "b", "a"]


def test_a_steward_sees_and_records_trainings(listed: PortalHouse) -> None:
    listed.fake.operations["$research-people"] = people(person("re-lau", "2099-01-01"))
    listed.fake.operations["$record-training"] = people()
    shown = listed.log_in("steward").get("/research-people").text
    assert "Course &lt;0&gt;" in shown
    assert "Trained" in shown
    typed = {
        "person": "re.lau", "affiliation": "HKU", "course": "Privacy", "day": "2026-01-05",
        "expires": "2027-01-05",
    }  # fmt: skip

    answer = listed.send("/research-people", "/research-people", **typed)

    assert answer.status_code == 303
    sent = listed.fake.written()[-1]["parameter"]
    assert {each["name"]: each["valueString"] for each in sent} == typed


@pytest.mark.parametrize("field", ["person", "affiliation", "course", "day", "expires"])
def test_what_is_missing_is_named(listed: PortalHouse, field: str) -> None:
    listed.log_in("steward")
    typed = {
        "person": "re.lau", "affiliation": "HKU", "course": "Privacy", "day": "2026-01-05",
        "expires": "2027-01-05", field: "",
    }  # fmt: skip

    answer = listed.send("/research-people", "/research-people", **typed)

    assert answer.status_code == 422
    assert f'href="#{field}"' in answer.text
    assert listed.fake.written() == []


def test_a_course_is_taken_off_the_record(listed: PortalHouse) -> None:
    listed.fake.operations["$research-people"] = people(person("re-lau", "2099-01-01"))
    listed.fake.operations["$record-training"] = people()
    listed.log_in("steward")

    answer = listed.send(
        "/research-people", "/research-people/withdraw", person="re-lau", course="Course <0>"
    )

    assert answer.status_code == 303
    sent = {each["name"]: each for each in listed.fake.written()[-1]["parameter"]}
    assert sent["withdraw"]["valueBoolean"] is True


@pytest.mark.parametrize("who", ["patient", "carer", "doctor", "researcher", "auditor"])
def test_the_page_is_for_stewards(listed: PortalHouse, who: str) -> None:
    assert listed.log_in(who).get("/research-people").status_code == 403


def test_approvers_see_training_beside_the_people_and_researchers_their_own(
    listed: PortalHouse,
) -> None:
    listed.fake.operations["$research-people"] = people(person("someone", "2026-01-06"))
    listed.fake.operations["$research-projects"] = people(project("open"))

    for who in ("steward", "auditor", "researcher"):
        for page in ("/projects/falls", "/projects"):
            assert "Training has expired" in listed.log_in(who).get(page).text


def test_a_project_whose_period_has_ended_says_so(listed: PortalHouse) -> None:
    ended = project("open")
    next(part for part in ended["part"] if part["name"] == "to")["valueString"] = "2026-01-31"
    listed.fake.operations["$research-projects"] = people(ended)

    assert "Its period has ended" in listed.log_in("steward").get("/projects").text
