"""The pages of research projects: the catalogue, an application, its decision."""

from __future__ import annotations

from typing import Any

import pytest

from ehr_portal.oversight.research_projects import parse_projects
from tests.lib.portal_house import PortalHouse, portal

__all__ = ["portal"]

TABLE = {
    "name": "table",
    "part": [
        {"name": "view", "valueString": "encounter_flat"},
        {"name": "resource", "valueString": "Encounter"},
        {"name": "rows", "valueInteger": 1300},
        *(
            {"name": "column", "part": [
                {"name": "name", "valueString": name},
                {"name": "type", "valueString": "string"},
                {"name": "meaning", "valueString": meaning},
                {"name": "designation", "part": [
                    {"name": "language", "valueCode": "zh-Hant"},
                    {"name": "value", "valueString": chinese},
                ]},
            ]}
            for name, meaning, chinese in (
                ("patient_id", "Whose visit it is", "這次就診的病人"),
                ("start", "When it began", "開始時間"),
            )
        ),
    ],
}  # fmt: skip


def project(state: str, *more: dict[str, Any], title: str = "Falls <b>again</b>") -> dict[str, Any]:
    """Return one project as the gateway tells of it."""
    values = {
        "id": "falls", "title": title, "purpose": "Who falls?", "ethics": "REC-7",
        "applicant": "someone", "state": state, "from": "2026-01-01", "to": "2027-12-31",
        "dates": "month", "digest": "d1",
        "person": "someone", "item": "encounter_flat.start",
    }  # fmt: skip
    why = [{"name": "view", "valueString": "encounter_flat"},
           {"name": "text", "valueString": "Falls are visits"}]  # fmt: skip
    parts = [{"name": name, "valueString": value} for name, value in values.items()]
    return {"name": "project", "part": [*parts, {"name": "justification", "part": why}, *more]}


@pytest.fixture
def listed(portal: PortalHouse) -> PortalHouse:
    """Return a portal whose gateway has one project that waits, and a catalogue of one table."""
    operations = portal.fake.operations
    operations["$research-projects"] = _parameters(project("submitted"))
    operations["$research-catalogue"] = _parameters(TABLE)
    operations["$research-people"] = _parameters()
    operations["$decide-research"] = operations["$apply-research"] = _parameters()
    return portal


def _parameters(*parameters: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Parameters", "parameter": list(parameters)}


def _form(**changes: str) -> dict[str, str]:
    return {
        "title": "Falls at home", "purpose": "Who falls again?", "ethics": "REC-7",
        "people": "re.lau\nre.mok", "from": "2026-12-01", "to": "2027-11-30", "dates": "quarter",
        "item": "encounter_flat.start", "why.encounter_flat": "Falls are visits",
        "step": "submit", **changes,
    }  # fmt: skip


def _sent(house: PortalHouse) -> dict[str, list[Any]]:
    values: dict[str, list[Any]] = {}
    for parameter in house.fake.written()[-1]["parameter"]:
        value = next(parameter[key] for key in parameter if key.startswith("value"))
        values.setdefault(parameter["name"], []).append(value)
    return values


def test_a_researcher_finds_projects_and_the_way_to_a_new_one(listed: PortalHouse) -> None:
    shown = listed.log_in("researcher").get("/projects").text

    assert "Falls &lt;b&gt;again&lt;/b&gt;" in shown
    assert "Waits for approval" in shown
    assert 'href="/projects/new"' in shown


def test_the_catalogue_shows_meanings_and_rounded_counts(listed: PortalHouse) -> None:
    shown = listed.log_in("researcher").get("/projects/catalogue").text

    assert "When it began" in shown
    assert "1,300" in shown


@pytest.mark.parametrize("page", ["/projects/catalogue", "/projects/new", "/projects/falls"])
def test_columns_mean_something_in_the_readers_language(listed: PortalHouse, page: str) -> None:
    shown = listed.log_in("researcher", "zh-Hant-HK").get(page).text
    assert 'lang="zh-Hant">開始時間<' in shown
    # What nobody has translated is marked as English.
    assert 'lang="en">When it began<' in listed.log_in("researcher", "zh-Hans").get(page).text


def test_a_table_of_several_kinds_of_records_is_not_titled_by_a_list_of_types(
    listed: PortalHouse,
) -> None:
    view, *_ = TABLE["part"]
    timeline = {"name": "resource", "valueString": "Claim, Condition"}
    listed.fake.operations["$research-catalogue"] = _parameters(
        {"name": "table", "part": [view, timeline]}
    )
    client = listed.log_in("researcher")

    for page in ("/projects/catalogue", "/projects/new"):
        shown = client.get(page).text
        assert "Records of several kinds" in shown
        assert "Claim, Condition" not in shown


@pytest.mark.parametrize(("step", "handed_in"), [("submit", True), ("draft", False)])
def test_an_application_is_sent_whole(listed: PortalHouse, step: str, handed_in: bool) -> None:
    listed.log_in("researcher")
    answer = listed.send("/projects/new", "/projects/new", **_form(step=step))

    assert answer.status_code == 303
    sent = _sent(listed)
    assert sent["project"][0].startswith("falls-at-home-")
    assert sent["person"] == ["re.lau", "re.mok"]
    assert sent["item"] == ["encounter_flat.start"]
    assert sent["justification"] == ["encounter_flat: Falls are visits"]
    assert sent["dates"] == ["quarter"]
    assert sent["submit"] == [handed_in]


def test_who_decides_reads_what_two_forms_of_dates_tell_together(listed: PortalHouse) -> None:
    other = {"name": "combined-dates", "part": [
        {"name": "project", "valueString": "others"}, {"name": "dates", "valueCode": "shift"},
        {"name": "share-undone", "valueDecimal": 0.9},
        {"name": "shared-people", "valueBoolean": False},
    ]}  # fmt: skip
    persons = {"name": "rare-code-persons", "valueInteger": 25}
    listed.fake.operations["$research-projects"] = _parameters(project("submitted", other, persons))

    shown = listed.log_in("steward").get("/projects/falls").text

    assert "Of 100 patients 90 had all their true days known" in shown
    assert 'href="/projects/others"' in shown
    assert "A code that fewer than 25 people have" in shown


def test_the_threshold_of_rare_codes_is_sent_and_kept(listed: PortalHouse) -> None:
    listed.log_in("researcher")
    assert listed.send("/projects/new", "/projects/new", **_form(rare="25")).status_code == 303
    assert _sent(listed)["rare-code-persons"] == [25]
    assert 'href="#rare"' in listed.send("/projects/new", "/projects/new", **_form(rare="x")).text


@pytest.mark.parametrize("field", ["title", "purpose", "ethics", "people", "from", "to", "dates"])
def test_what_is_missing_is_named_and_nothing_typed_is_lost(
    listed: PortalHouse, field: str
) -> None:
    listed.log_in("researcher")
    answer = listed.send("/projects/new", "/projects/new", **_form(**{field: ""}))

    assert answer.status_code == 422
    place = "from" if field == "to" else field
    assert f'href="#{place}"' in answer.text
    assert 'value="encounter_flat.start"' in answer.text
    assert "checked" in answer.text
    assert listed.fake.written() == []


def test_who_decides_sees_the_columns_beside_the_reason(listed: PortalHouse) -> None:
    shown = listed.log_in("steward").get("/projects/falls").text

    assert "When it began" in shown
    assert "Falls are visits" in shown
    assert 'name="digest" value="d1"' in shown
    assert 'value="approve"' in shown
    assert 'value="open"' not in shown


def test_a_decision_is_sent_with_its_reason(listed: PortalHouse) -> None:
    listed.log_in("steward")
    answer = listed.send(
        "/projects/falls",
        "/projects/falls",
        decision="approve",
        reason="The items are few.",
        digest="d1",
    )

    assert answer.status_code == 303
    assert _sent(listed) == {
        "project": ["falls"], "decision": ["approve"], "reason": ["The items are few."],
        "digest": ["d1"],
    }  # fmt: skip


def test_a_researcher_is_offered_no_decision_on_a_project_that_waits(listed: PortalHouse) -> None:
    assert "<textarea" not in listed.log_in("researcher").get("/projects/falls").text


@pytest.mark.parametrize("who", ["patient", "carer", "administrator"])
def test_the_pages_are_for_researchers_and_who_decides(listed: PortalHouse, who: str) -> None:
    assert listed.log_in(who).get("/projects").status_code == 403
    assert listed.log_in(who).get("/projects/new").status_code == 403


@pytest.mark.parametrize(
    ("who", "state", "offered"),
    [
        ("steward", "open", {"suspend"}),
        ("auditor", "open", set()),
        ("researcher", "open", set()),
        ("steward", "suspended", {"resume"}),
        ("auditor", "suspended", {"resume"}),
        ("researcher", "suspended", set()),
        ("steward", "closed", set()),
    ],
)
def test_an_open_project_is_suspended_by_a_steward_and_resumed_by_who_decides(
    listed: PortalHouse, who: str, state: str, offered: set[str]
) -> None:
    listed.fake.operations["$research-projects"] = _parameters(project(state))

    shown = listed.log_in(who).get("/projects/falls").text

    decisions = ("approve", "return", "open", "suspend", "resume", "close")
    assert {each for each in decisions if f'value="{each}"' in shown} == offered


@pytest.mark.parametrize("state", ["open", "suspended"])
def test_an_approver_is_offered_to_close(state: str) -> None:
    approver = {"name": "approver", "valueString": "ng"}
    (parsed,) = parse_projects(_parameters(project(state, approver)))

    assert "close" in parsed.decisions_for("ng", "steward")
    assert "close" in parsed.decisions_for("someone", "researcher")
    assert "close" not in parsed.decisions_for("ho", "steward")


def test_the_page_says_what_became_of_the_key(listed: PortalHouse) -> None:
    key = {"name": "key", "valueBoolean": True}
    listed.fake.operations["$research-projects"] = _parameters(project("open", key))
    assert "It is there" in listed.log_in("steward").get("/projects/falls").text

    key["valueBoolean"] = False
    listed.fake.operations["$research-projects"] = _parameters(project("closed", key))
    assert "It is destroyed" in listed.browser.get("/projects/falls").text


def test_a_patient_reads_which_projects_are_open(portal: PortalHouse) -> None:
    values = {"title": "Falls", "purpose": "Who falls?", "ethics": "REC-7", "to": "2027-12-31"}
    parts = [{"name": name, "valueString": value} for name, value in values.items()]
    opened = {"name": "opened", "valueInstant": "2026-11-22T08:00:00Z"}
    kind = {"name": "type", "valueCode": "Encounter"}
    portal.fake.operations["$research-projects"] = _parameters(
        {"name": "project", "part": [*parts, opened, kind]}
    )

    shown = portal.log_in("patient").get("/research-choice").text

    assert "Who falls?" in shown
    assert "since 22 Nov 2026" in shown


def test_the_choice_stands_without_research_beside_the_gateway(portal: PortalHouse) -> None:
    shown = portal.log_in("patient").get("/research-choice")

    assert shown.status_code == 200
    assert "Projects that are open now" not in shown.text
