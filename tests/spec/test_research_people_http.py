"""Researchers over HTTP: training on record, and suspension of an open project."""

from __future__ import annotations

from typing import Any

import pytest

from ehr_analytics import project as projects
from ehr_analytics.register import Register
from ehr_fhir.errors import Conflict, Forbidden
from tests.lib.gateway import House, must
from tests.spec.test_research_projects_http import REASON, apply, decide, office, read_projects

__all__ = ["office"]

TRAINING = {
    "person": "re.lau", "affiliation": "University of Kowloon", "course": "Research data",
    "day": "2026-01-05", "expires": "2099-01-05",
}  # fmt: skip


def record(house: House, login: str = "st.ng", **changes: Any) -> Any:
    """Record a training; a value of None leaves its parameter out."""
    listed = [
        {"name": name, ("valueBoolean" if isinstance(value, bool) else "valueString"): value}
        for name, value in {**TRAINING, **changes}.items()
        if value is not None
    ]
    sent = {"resourceType": "Parameters", "parameter": listed}
    return house.login(login).post("$record-training", sent)


def people(house: House, login: str) -> dict[str, list[dict[str, Any]]]:
    """Return the courses on record of each person that somebody sees."""
    listed = must(house.login(login).get("$research-people")).json().get("parameter", [])
    return {
        researcher["part"][0]["valueString"]: [
            {each["name"]: each.get("valueString") or each["valueDate"] for each in part["part"]}
            for part in researcher["part"]
            if part["name"] == "training"
        ]
        for researcher in listed
    }


def open_falls(house: House) -> None:
    """Take the project of the application to open."""
    must(apply(house))
    for login, decision in (("st.ng", "approve"), ("au.tse", "approve"), ("au.tse", "open")):
        must(decide(house, login, decision))


def work(house: House) -> None:
    """Let the applicant begin to work, as each step on a project's data does."""
    register = Register(house.settings.data)
    projects.require_open_for(register, projects.get_project(register, "falls"), "re.lau")


def test_who_has_no_training_works_from_when_a_steward_records_one(office: House) -> None:
    open_falls(office)
    assert people(office, "st.ng") == people(office, "re.lau") == {"re.lau": []}

    with pytest.raises(Forbidden, match="No training"):
        work(office)
    must(record(office))

    work(office)
    course = {name: TRAINING[name] for name in ("course", "day", "expires")}
    assert people(office, "au.tse") == people(office, "re.lau") == {"re.lau": [course]}
    assert people(office, "re.mok") == {}
    must(record(office, withdraw=True, day=None, expires=None, affiliation=None))
    assert people(office, "st.ng") == {"re.lau": []}


@pytest.mark.parametrize("login", ["re.lau", "re.mok", "au.tse", "doctor.b", "p.pat-1", "admin"])
def test_nobody_but_a_steward_records_a_training(office: House, login: str) -> None:
    assert record(office, login).status_code == 403
    assert people(office, "st.ng") == {}


def test_nobody_records_their_own_training_by_another_account(office: House) -> None:
    assert record(office, "st.lau").status_code == 403
    assert record(office, "st.lau", withdraw=True).status_code == 403


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"person": "nobody"}, "person"),
        ({"person": "st.ng"}, "person"),
        ({"day": "2099-01-01"}, "day"),
        ({"day": "yesterday"}, "day"),
        ({"expires": "2026-01-05"}, "expires"),
        ({"affiliation": " "}, "affiliation"),
    ],
)
def test_a_wrong_record_is_refused_and_says_where(
    office: House, changes: dict[str, str], place: str
) -> None:
    answer = record(office, **changes)

    assert answer.status_code in (400, 422)
    assert place in answer.text
    assert people(office, "st.ng") == {}


@pytest.mark.parametrize("login", ["p.pat-1", "admin"])
def test_others_do_not_read_who_works_with_data(office: House, login: str) -> None:
    assert office.login(login).get("$research-people").status_code == 403


def test_a_steward_suspends_alone_and_two_people_resume(office: House) -> None:
    open_falls(office)
    must(record(office))
    assert decide(office, "au.tse", "suspend").status_code == 403

    must(decide(office, "st.ng", "suspend"))
    with pytest.raises(Conflict, match="is suspended"):
        work(office)
    assert must(office.login("p.pat-1").get("$research-projects")).json().get("parameter") is None
    must(decide(office, "st.ng", "resume"))
    assert decide(office, "au.ng", "resume").status_code == 403
    assert decide(office, "st.lau", "resume").status_code == 403
    must(decide(office, "au.tse", "resume"))

    work(office)
    assert decide(office, "st.ng", "suspend", "-").status_code == 422


def test_a_suspended_project_is_closed_and_says_that_its_key_is_gone(office: House) -> None:
    open_falls(office)
    assert read_projects(office, "st.ng")[0]["key"] == [True]
    must(decide(office, "st.ng", "suspend", REASON))

    must(decide(office, "au.tse", "close"))

    (project,) = read_projects(office, "st.ng")
    assert (project["state"], project["key"]) == (["closed"], [False])
