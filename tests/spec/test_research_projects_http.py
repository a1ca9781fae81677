"""Research projects over HTTP: applying, deciding, listing, and the catalogue of columns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ehr_analytics import project as projects
from ehr_analytics.register import Register
from ehr_cli.research_projects import RegisteredProjects
from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account
from tests.lib.gateway import House, must

APPLICATION = {
    "project": "falls",
    "title": "Falls at home",
    "purpose": "Who falls again within a year?",
    "ethics": "REC-7",
    "item": ["encounter_flat.patient_id", "encounter_flat.start"],
    "justification": ["encounter_flat: falls are counted by their visits"],
    "person": ["re.lau"],
    "from": "2026-01-01",
    "to": "2027-12-31",
}
_VALUES = {bool: "valueBoolean", int: "valueInteger"}
REASON = "The purpose is plain and the items are few."


@pytest.fixture
def office(furnished: House) -> House:
    """Return a house with two researchers and enough approvers, one of them with two accounts."""
    house = furnished
    gateway = house.app.state.gateway
    house.app.state.gateway = replace(gateway, projects=RegisteredProjects(house.settings.data))
    for login, role, person in (
        ("re.lau", "researcher", None),
        ("re.mok", "researcher", None),
        ("st.ng", "steward", "ng"),
        ("au.ng", "auditor", "ng"),
        ("au.tse", "auditor", None),
        ("st.lau", "steward", "re.lau"),
        # The same by the electronic identity of `st.lau` alone.
        ("au.lau", "auditor", "other-lau"),
    ):
        account = Account(login, role, login.upper(), "ehr-commons", person=person)
        identity = {"identity_number": "ZB234567(3)", "pin": "246810"}
        accounts.add_account(
            house.gateway.store.database,
            account,
            **identity if login in ("st.lau", "au.lau") else {},
        )
    return house


def apply(house: House, login: str = "re.lau", **changes: Any) -> Any:
    """Send an application; a value of None leaves its parameter out."""
    values = {**APPLICATION, "submit": True, **changes}
    listed = [
        {"name": name, _VALUES.get(type(one), "valueString"): one}
        for name, value in values.items()
        if value is not None
        for one in (value if isinstance(value, list) else [value])
    ]
    return house.login(login).post(
        "$apply-research", {"resourceType": "Parameters", "parameter": listed}
    )


def digest_falls(house: House) -> str:
    """Return the digest of the application as it is now."""
    register = Register(house.settings.data)
    return projects.digest_application(projects.get_project(register, "falls"))


def decide(
    house: House, login: str, decision: str, reason: str = REASON, read: str | None = None
) -> Any:
    """Take a step with the project of the application; `read` is the digest that is approved."""
    sent = {"project": "falls", "decision": decision, "reason": reason}
    if decision == "approve":
        sent["digest"] = read or digest_falls(house)
    listed = [{"name": name, "valueString": value} for name, value in sent.items()]
    return house.login(login).post(
        "$decide-research", {"resourceType": "Parameters", "parameter": listed}
    )


def read_projects(house: House, login: str) -> list[dict[str, list[Any]]]:
    """Return the projects that somebody sees: the values of each by name."""
    listed = must(house.login(login).get("$research-projects")).json().get("parameter", [])
    return [_values(project["part"]) for project in listed]


def _values(parts: list[dict[str, Any]]) -> dict[str, list[Any]]:
    values: dict[str, list[Any]] = {}
    for part in parts:
        value = part.get("part") or next(part[key] for key in part if key.startswith("value"))
        values.setdefault(part["name"], []).append(value)
    return values


def test_a_project_goes_from_an_application_to_open_by_two_people(office: House) -> None:
    must(apply(office))
    must(decide(office, "st.ng", "approve"))
    must(decide(office, "au.tse", "approve"))
    must(decide(office, "au.tse", "open"))

    (project,) = read_projects(office, "re.lau")
    assert project["state"] == ["open"]
    assert project["item"] == APPLICATION["item"]
    steps = [_values(event) for event in project["event"]]
    assert [(step["who"][0], step["action"][0]) for step in steps] == [
        ("re.lau", "new"), ("re.lau", "submit"), ("ng", "approve"), ("au.tse", "approve"),
        ("au.tse", "open"),
    ]  # fmt: skip
    assert [step.get("reason") for step in steps[2:]] == [[REASON]] * 3
    assert (office.settings.data / "keys" / "research" / "falls.key").exists()
    must(decide(office, "re.lau", "close"))
    assert not (office.settings.data / "keys" / "research" / "falls.key").exists()


def test_who_decides_reads_of_dates_that_give_true_days_away_together(office: House) -> None:
    threshold: dict[str, Any] = {"rare-code-persons": 40}
    rows = [*APPLICATION["item"], "rows.read"]
    must(apply(office, dates="month", item=rows, **threshold))
    must(decide(office, "st.ng", "approve"))
    must(decide(office, "au.tse", "approve"))

    assert apply(office, project="again", item=rows, dates="shift").status_code == 422
    must(apply(office, "re.mok", project="other", person=["re.mok"], item=rows, dates="shift"))

    falls, other = (
        next(p for p in read_projects(office, "st.ng") if p["id"] == [name])
        for name in ("falls", "other")
    )
    assert falls["rare-code-persons"] == [40]
    (warning,) = map(_values, other["combined-dates"])
    assert warning == {
        "project": ["falls"], "dates": ["month"], "share-undone": [0.9], "shared-people": [False]
    }  # fmt: skip
    assert "combined-dates" not in read_projects(office, "re.mok")[0]


def test_a_draft_is_kept_changed_and_seen_by_its_applicant_alone(office: House) -> None:
    must(apply(office, submit=False))
    must(apply(office, submit=False, title="Falls at home and on the ward"))

    assert [p["title"] for p in read_projects(office, "re.lau")] == [
        ["Falls at home and on the ward"]
    ]
    assert read_projects(office, "re.mok") == read_projects(office, "st.ng") == []
    assert apply(office, "re.mok", person=["re.mok"]).status_code == 409
    must(apply(office))
    assert apply(office).status_code == 409


@pytest.mark.parametrize(
    ("first", "second"),
    [("st.ng", "st.ng"), ("st.ng", "au.ng"), ("au.ng", "st.ng")],
)
def test_one_person_gives_one_approval_whichever_account_they_use(
    office: House, first: str, second: str
) -> None:
    must(apply(office))
    must(decide(office, first, "approve"))

    assert decide(office, second, "approve").status_code == 403
    assert read_projects(office, "re.lau")[0]["state"] == ["submitted"]


@pytest.mark.parametrize("login", ["st.lau", "au.lau"])
def test_who_applied_approves_with_no_account_of_theirs(office: House, login: str) -> None:
    must(apply(office))

    assert decide(office, login, "approve").status_code == 403
    assert decide(office, login, "return").status_code == 403


@pytest.mark.parametrize("decision", ["approve", "return", "open", "suspend", "resume"])
@pytest.mark.parametrize("login", ["re.lau", "re.mok", "doctor.b", "p.pat-1", "admin"])
def test_nobody_but_stewards_and_auditors_decides(office: House, login: str, decision: str) -> None:
    must(apply(office))

    assert decide(office, login, decision).status_code in (403, 404)
    assert read_projects(office, "re.lau")[0]["state"] == ["submitted"]


def test_a_returned_project_tells_its_applicant_why(office: House) -> None:
    must(apply(office))
    must(decide(office, "au.tse", "approve"))
    must(decide(office, "st.ng", "return", "Say why the start of a visit is needed."))

    (project,) = read_projects(office, "re.lau")
    assert project["state"] == ["draft"]
    assert "approver" not in project
    assert "Say why" in str(project["event"][-1])


@pytest.mark.parametrize(
    "changes",
    [
        {"item": ["encounter_flat.name"]}, {"item": ["encounter_flat"]}, {"item": None},
        {"person": ["nobody.at-all"]}, {"person": ["p.pat-1"]}, {"person": None},
        {"from": "2027-13-01"}, {"from": "2028-01-01"}, {"purpose": "x"}, {"ethics": None},
        {"project": "../outside"}, {"justification": ["nothing"]}, {"colour": "red"},
        {"justification": ["encounter_flat: \x07bell rings"]},
    ],
)  # fmt: skip
def test_an_application_that_says_too_little_is_refused_and_not_kept(
    office: House, changes: dict[str, Any]
) -> None:
    assert apply(office, **changes).status_code in (400, 422)
    assert read_projects(office, "re.lau") == []


def test_an_application_that_took_the_place_of_the_one_read_is_not_approved(office: House) -> None:
    must(apply(office))
    (project,) = read_projects(office, "st.ng")
    (read,) = project["digest"]
    must(decide(office, "au.tse", "return"))
    must(apply(office, purpose="Who falls, and where do they live?"))

    assert decide(office, "st.ng", "approve", read=read).status_code == 409
    sent = {"project": "falls", "decision": "approve", "reason": REASON}
    listed = [{"name": name, "valueString": value} for name, value in sent.items()]
    unnamed = office.login("st.ng").post(
        "$decide-research", {"resourceType": "Parameters", "parameter": listed}
    )
    assert unnamed.status_code == 400
    (project,) = read_projects(office, "st.ng")
    assert "approver" not in project
    must(decide(office, "st.ng", "approve", read=project["digest"][0]))


def test_a_patient_reads_what_open_projects_are_for_and_nobodys_name(office: House) -> None:
    must(apply(office))
    assert read_projects(office, "p.pat-1") == []
    for login, decision in (("st.ng", "approve"), ("au.tse", "approve"), ("au.tse", "open")):
        must(decide(office, login, decision))

    (project,) = read_projects(office, "p.pat-1")
    assert set(project) == {"title", "purpose", "ethics", "opened", "to", "type"}
    assert project["type"] == ["Encounter"]


def test_the_catalogue_says_what_each_column_means(office: House) -> None:
    tables = must(office.login("re.lau").get("$research-catalogue")).json()["parameter"]

    views = {_values(table["part"])["view"][0]: _values(table["part"]) for table in tables}
    columns = [_values(column) for column in views["encounter_flat"]["column"]]
    assert {"patient_id", "start"} <= {column["name"][0] for column in columns}
    assert all(column["meaning"][0] for column in columns)
    assert "rows" not in views["encounter_flat"]
    assert office.login("p.pat-1").get("$research-catalogue").status_code == 403


def test_without_the_lake_the_operations_say_so(furnished: House) -> None:
    accounts.add_account(
        furnished.gateway.store.database, Account("re.lau", "researcher", "Lau", "ehr-commons")
    )
    assert furnished.login("re.lau").get("$research-projects").status_code == 503
