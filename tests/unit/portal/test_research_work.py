"""The pages of research work: a cohort and its counts, runs, releases and their checkers."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.lib.portal_house import PEOPLE, PortalHouse, portal
from tests.unit.portal.test_research_projects import project

__all__ = ["portal"]

ITEMS = (
    *("patient_demographics.id", "patient_demographics.gender", "patient_demographics.birth_year"),
    *("encounter_flat.patient_id", "encounter_flat.start", "encounter_flat.class"),
)
TYPES = {"start": "dateTime", "class": "code", "patient_id": "string"}
DAY = "2026-11-22T08:00:00Z"


def parameter(name: str, value: object) -> dict[str, Any]:
    """Return a parameter: a list of pairs is multi-part."""
    if isinstance(value, list):
        return {"name": name, "part": [parameter(*pair) for pair in value]}
    if isinstance(value, bool):
        return {"name": name, "valueBoolean": value}
    kind = "valueInteger" if isinstance(value, int) else "valueString"
    return {"name": name, kind: value}


def parameters(*pairs: tuple[str, object]) -> dict[str, Any]:
    return {"resourceType": "Parameters", "parameter": [parameter(*pair) for pair in pairs]}


def columns(*names: str) -> list[tuple[str, object]]:
    return [("column", [("name", n), ("type", TYPES.get(n, "string"))]) for n in names]


CATALOGUE = parameters(
    ("table", [("view", "encounter_flat"), ("resource", "Encounter"),
               *columns("patient_id", "start", "class")]),
    ("table", [("view", "patient_demographics"), ("resource", "Patient"),
               *columns("id", "gender", "birth_year")]),
)  # fmt: skip
COUNTS = parameters(
    ("step", [("name", "in the data"), ("people", 1203)]),
    ("step", [("name", "index event"), ("people", 417)]),
    ("step", [("name", "with age 18 or more")]),
    ("left", 17), ("limit", 20), ("until", DAY),
)  # fmt: skip
RUN = ("run", [
    ("id", "falls-1"), ("project", "falls"), ("kind", "cohort-study"), ("name", "falls"),
    ("title", "Falls <b>again</b>"), ("who", "researcher.lau"), ("state", "ended"),
    ("asked", DAY), ("ended", DAY), ("table", [("name", "encounter_flat"), ("version", 3)]),
    ("log", [("at", DAY), ("text", "The cohort was counted.")]),
    ("step", [("name", "in the data"), ("people", 1203)]),
    ("definition", 'name = "falls"\n[index]\nevents = "stays"\n'),
])  # fmt: skip
RELEASE = [
    ("id", "rel-1"), ("project", "falls"), ("title", "Falls"), ("run", "falls-1"),
    ("unsafe", False), ("state", "waiting"), ("asked", DAY), ("by", "researcher.lau"),
    ("note", "For a <i>paper</i>."), ("digest", "d1"),
    ("file", [("name", "counts.csv"), ("media", "text/csv"), ("bytes", 1234),
              ("sha256", "ab12"), ("cells", 6), ("hidden", 2)]),
    ("check", [("name", "type"), ("passed", True), ("detail", "It is CSV.")]),
    ("rule", [("name", "threshold"), ("cells", 2), ("meaning", "Up to 7 are hidden.")]),
    ("event", [("at", DAY), ("who", "researcher.lau"), ("action", "request")]),
]  # fmt: skip
EVIDENCE = parameters(
    ("cell", [("file", "counts.csv"), ("row", "female"), ("column", "people"), ("shown", "20")]),
    ("cell", [("file", "counts.csv"), ("row", "male"), ("column", "people"),
              ("rule", "threshold"), ("meaning", "Up to 7 are hidden.")]),
)  # fmt: skip


@pytest.fixture
def house(portal: PortalHouse) -> PortalHouse:
    """Return a portal with an open project of some columns, a run and a release that waits."""
    more = [{"name": "item", "valueString": item} for item in ITEMS]
    portal.fake.operations |= {
        "$research-projects": {"resourceType": "Parameters", "parameter": [project("open", *more)]},
        "$research-catalogue": CATALOGUE,
        "$research-count": COUNTS,
        "$research-runs": parameters(RUN),
        "$research-run": parameters(RUN),
        "$research-releases": parameters(("release", RELEASE)),
        "$release-evidence": EVIDENCE,
        "$request-release": parameters(("release", RELEASE)),
        "$decide-release": parameters(("release", RELEASE)),
    }
    return portal


def form(**changes: str) -> dict[str, str]:
    return {
        "title": "Stays in hospital", "age_from": "18", "index_source": "encounter_flat.class",
        "index_codes": "IMP EMER", "washout_days": "90", "1.use": "exclude",
        "1.source": "encounter_flat.class", "1.codes": "AMB*", "1.days": "365",
        **changes,
    }  # fmt: skip


def sent(house: PortalHouse) -> dict[str, list[Any]]:
    """Return the values of the Parameters that were sent last, by name."""
    values: dict[str, list[Any]] = {}
    for each in house.fake.written()[-1]["parameter"]:
        value = next(each[key] for key in each if key.startswith("value"))
        values.setdefault(each["name"], []).append(value)
    return values


COHORT = "/projects/falls/cohort"


def test_older_runs_are_a_page_further(house: PortalHouse) -> None:
    house.fake.operations["$research-runs"] = parameters(RUN, ("next", "sealed"))
    client = house.log_in("researcher")

    shown = client.get("/projects/falls/runs").text
    (older,) = re.findall(r'href="(/projects/falls/runs\?older=[^"]+)"', shown)
    assert "sealed" not in shown
    house.fake.operations["$research-runs"] = parameters(RUN)
    shown = client.get(older).text
    assert 'href="/projects/falls/runs"' in shown
    assert "older=" not in shown
    (asked,) = (each for each in house.fake.asked if "sealed" in str(each.url))
    assert asked.url.params["_cursor"] == "sealed"


def test_a_clinician_who_is_on_a_project_has_its_pages(house: PortalHouse) -> None:
    client = house.log_in("doctor")

    assert 'href="/projects"' in client.get("/my-patients").text
    for page in ("/projects", "/projects/new", COHORT, "/projects/falls/runs",
                 "/projects/falls/runs/new", "/projects/falls/runs/falls-1"):  # fmt: skip
        assert client.get(page).status_code == 200, page
    assert COHORT in client.get("/projects/falls").text


def test_a_clinician_without_a_project_has_no_link_to_research(house: PortalHouse) -> None:
    house.fake.operations["$research-projects"] = parameters()
    assert 'href="/projects"' not in house.log_in("doctor").get("/my-patients").text
    # Nor is a log-in stopped by a gateway that has no research.
    del house.fake.operations["$research-projects"]
    assert house.log_in("doctor").get("/my-patients").status_code == 200


def test_a_cohort_in_plain_words_is_counted_and_shown_with_what_is_hidden(
    house: PortalHouse,
) -> None:
    house.log_in("researcher")
    answer = house.send(COHORT, COHORT, **form())

    assert answer.status_code == 303
    definition = sent(house)["definition"][0]
    assert 'where = [{ column = "class", in = ["IMP", "EMER"] }]' in definition
    assert "washout_days = 90" in definition
    shown = house.browser.get(COHORT).text
    assert "1,203" in shown
    assert "−786" in shown
    assert "With: age 18 or more" in shown
    assert "too few to tell" in shown
    assert "17 counts of 20 are left" in shown
    # What was typed stands in the form again, and in the text.
    assert 'value="IMP EMER"' in shown
    assert "washout_days = 90" in shown


def test_a_form_offers_only_what_the_project_was_granted(house: PortalHouse) -> None:
    shown = house.log_in("researcher").get(COHORT).text

    assert 'value="encounter_flat.class"' in shown
    assert 'name="sex"' in shown
    assert 'name="region"' not in shown


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"title": ""}, "title"),
        ({"index_source": ""}, "index_source"),
        ({"index_source": "encounter_flat.reason_code"}, "index_source"),
        ({"index_codes": ""}, "index_codes"),
        ({"washout_days": "ninety"}, "washout_days"),
        ({"lookback_days": "30"}, "lookback_source"),
        ({"age_to": "17"}, "age_to"),
        ({"since": "2024-02-30"}, "since"),
        ({"outcome_source": "encounter_flat.class"}, "follow_up_days"),
        ({"follow_up_days": "28", "whole": "1"}, "data_until"),
    ],
)
def test_what_is_wrong_in_a_cohort_is_named_and_nothing_typed_is_lost(
    house: PortalHouse, changes: dict[str, str], field: str
) -> None:
    house.log_in("researcher")
    answer = house.send(COHORT, COHORT, **form(**changes))

    assert answer.status_code == 422
    assert f'href="#{field}"' in answer.text
    assert 'value="AMB*"' in answer.text
    assert house.fake.written() == []


def test_a_text_that_the_form_cannot_say_is_kept_whole(house: PortalHouse) -> None:
    text = 'name = "falls"\n[events.a]\ntable = "t"\nmerge_gap_days = 1\n[index]\nevents = "a"\n'
    house.log_in("researcher")
    assert house.send(COHORT, COHORT, way="text", definition=text).status_code == 303

    shown = house.browser.get(COHORT).text
    assert "merge_gap_days = 1" in shown
    assert "says more than the form can" in shown
    assert 'name="index_codes"' not in shown


@pytest.mark.parametrize("text", ["name = ", "", "x" * 20_001])
def test_a_text_that_is_no_definition_is_not_sent(house: PortalHouse, text: str) -> None:
    house.log_in("researcher")
    answer = house.send(COHORT, COHORT, way="text", definition=text)

    assert answer.status_code == 422
    assert house.fake.written() == []


def test_the_gateways_fault_stands_beside_the_text(house: PortalHouse) -> None:
    fault = "events.a needs a date: onset is no date."
    house.fake.refused_operations["$research-count"] = (422, fault)
    house.log_in("researcher")
    answer = house.send(COHORT, COHORT, **form())

    assert answer.status_code == 422
    assert "events.a needs a date" in answer.text
    assert 'href="#definition"' in answer.text


def test_without_counts_left_the_cohort_is_kept(house: PortalHouse) -> None:
    house.fake.refused_operations["$research-count"] = (429, "No counts are left.")
    house.log_in("researcher")
    assert house.send(COHORT, COHORT, **form()).status_code == 303

    shown = house.browser.get(COHORT).text
    assert "No counts are left for now" in shown
    assert 'value="Stays in hospital"' in shown


RUNS = "/projects/falls/runs"


def test_analyses_of_a_cohort_are_handed_in_as_one_text(house: PortalHouse) -> None:
    house.log_in("researcher")
    house.send(COHORT, COHORT, **form(follow_up_days="365", outcome_name="stay after",
               outcome_source="encounter_flat.class", outcome_codes="IMP"))  # fmt: skip
    fields: dict[str, str | list[str]] = {
        "kind": "study",
        "analysis": ["attrition", "incidence"],
        "incidence.outcome": "stay_after",
        "incidence.by": ["sex", "age_band"],
    }
    answer = house.send(f"{RUNS}/new", f"{RUNS}/new", **fields)

    assert answer.headers["location"] == f"{RUNS}/falls-1"
    definition = sent(house)["definition"][0]
    assert 'project = "falls"' in definition
    assert 'outcome = "stay_after"\nby = ["sex", "age_band"]' in definition


def test_an_analysis_that_the_cohort_has_no_column_for_says_so(house: PortalHouse) -> None:
    house.log_in("researcher")
    house.send(COHORT, COHORT, **form())
    shown = house.browser.get(f"{RUNS}/new").text

    assert 'value="counts"' in shown
    assert 'value="cox"' not in shown
    assert "Cox regression" in shown


def test_without_a_cohort_the_page_leads_to_one(house: PortalHouse) -> None:
    shown = house.log_in("researcher").get(f"{RUNS}/new").text

    assert f'href="{COHORT}"' in shown
    assert house.send(f"{RUNS}/new?kind=code", f"{RUNS}/new", kind="study").status_code == 422


def test_own_code_names_the_files_that_it_writes(house: PortalHouse) -> None:
    house.log_in("researcher")
    page = f"{RUNS}/new?kind=code"
    assert house.send(page, f"{RUNS}/new", kind="code", code="x = 1").status_code == 422
    house.send(page, f"{RUNS}/new", kind="code", code="x = 1\n", outputs="a.csv b.csv")

    assert sent(house) == {"project": ["falls"], "code": ["x = 1\n"], "output": ["a.csv", "b.csv"]}


def test_a_run_shows_its_log_and_asks_for_a_release(house: PortalHouse) -> None:
    shown = house.log_in("researcher").get(f"{RUNS}/falls-1").text
    assert "Falls &lt;b&gt;again&lt;/b&gt;" in shown
    assert "The cohort was counted." in shown
    assert "version 3" in shown

    answer = house.send(f"{RUNS}/falls-1", f"{RUNS}/falls-1", note="For a paper.")
    assert answer.headers["location"] == "/projects/falls/releases/rel-1"
    assert sent(house) == {"run": ["falls-1"], "note": ["For a paper."]}


def test_a_new_cohort_begins_with_that_of_a_run(house: PortalHouse) -> None:
    house.log_in("researcher")
    house.browser.get(f"{COHORT}?run=falls-1")

    assert "events = &#34;stays&#34;" in house.browser.get(COHORT).text
    house.fake.refused_operations["$research-runs"] = (404, "There is no such run.")
    assert house.browser.get(f"{COHORT}?run=other").status_code == 404


@pytest.mark.parametrize("who", ["steward", "auditor"])
def test_a_checker_sees_the_hidden_cell_and_the_rule_beside_it(
    house: PortalHouse, who: str
) -> None:
    house.log_in(who)
    assert 'href="/releases/rel-1"' in house.browser.get("/releases").text
    shown = house.browser.get("/releases/rel-1").text

    assert "For a &lt;i&gt;paper&lt;/i&gt;." in shown
    assert 'hidden</strong> <span class="ehr-meta">Too few people</span>' in shown
    assert "Fewer people than the policy shows." in shown
    assert 'value="approve"' in shown
    assert 'name="digest" value="d1"' in shown


def test_a_decision_is_sent_with_the_tick_of_unsafe_output(house: PortalHouse) -> None:
    unsafe = [(name, True if name == "unsafe" else value) for name, value in RELEASE]
    house.fake.operations["$research-releases"] = parameters(("release", unsafe))
    house.log_in("steward")
    page = "/releases/rel-1"
    answer = house.send(
        page, page, decision="approve", reason="Coarse strata.", unsafe="1", digest="d1"
    )

    assert answer.status_code == 303
    assert sent(house) == {
        "release": ["rel-1"], "decision": ["approve"], "reason": ["Coarse strata."],
        "unsafe-judged": [True], "digest": ["d1"],
    }  # fmt: skip


def test_unsafe_output_that_nobody_judged_is_named(house: PortalHouse) -> None:
    fault = "Say that you judged the unsafe output."
    house.fake.refused_operations["$decide-release"] = (422, fault)
    house.log_in("steward")
    page = "/releases/rel-1"
    answer = house.send(page, page, decision="approve", reason="Coarse strata.")

    assert answer.status_code == 422
    assert 'href="#unsafe"' in answer.text


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ((), "mine"),
        ((("checker", "steward.ng"),), "others"),
        ((("checker", "auditor.tse"),), "mine"),
        ((("event", [("at", DAY), ("action", "ask"), ("reason", "Why?")]),), "others"),
    ],
    ids=["new", "approved by me", "approved by another", "asked"],
)
def test_the_list_tells_what_waits_for_me(
    monkeypatch: pytest.MonkeyPatch, house: PortalHouse, more: tuple[Any, ...], place: str
) -> None:
    monkeypatch.setitem(PEOPLE["steward"], "person", "steward.ng")
    house.fake.operations["$research-releases"] = parameters(("release", [*RELEASE, *more]))
    shown = house.log_in("steward").get("/releases").text

    section = re.search(rf'aria-labelledby="{place}">(.*?)</section>', shown, re.S)
    assert section
    assert 'href="/releases/rel-1"' in section[1]
    assert shown.count('href="/releases/rel-1"') == 1


def test_a_researcher_answers_a_question_and_downloads_only_what_is_released(
    house: PortalHouse,
) -> None:
    page = "/projects/falls/releases/rel-1"
    asked = [*RELEASE, ("event", [("at", DAY), ("who", "steward.ng"), ("action", "ask"),
                                  ("reason", "Why by age?")])]  # fmt: skip
    house.fake.operations["$research-releases"] = parameters(("release", asked))
    shown = house.log_in("researcher").get(page).text
    assert "Why by age?" in shown
    assert f'href="{page}/files/' not in shown

    house.send(page, page, reason="It is the question.")
    assert sent(house)["decision"] == ["answer"]


def test_released_files_come_with_their_record(house: PortalHouse) -> None:
    released = [(name, "released" if name == "state" else value) for name, value in RELEASE]
    house.fake.operations["$research-releases"] = parameters(("release", released))
    house.fake.operations["$release-file"] = parameters()
    page = "/projects/falls/releases/rel-1"
    shown = house.log_in("researcher").get(page).text

    assert f'href="{page}/files/counts.csv"' in shown
    assert f'href="{page}/files/controls.json"' in shown
    file = house.browser.get(f"{page}/files/counts.csv")
    assert file.headers["content-disposition"] == 'attachment; filename="counts.csv"'
    assert house.browser.get("/projects/other/releases/rel-1/files/counts.csv").status_code == 404


@pytest.mark.parametrize("who", ["patient", "carer", "administrator"])
def test_the_pages_of_research_work_are_for_researchers_and_checkers(
    house: PortalHouse, who: str
) -> None:
    house.log_in(who)
    for path in (COHORT, RUNS, "/releases", "/releases/rel-1", "/projects/falls/dummy"):
        assert house.browser.get(path).status_code == 403, path


@pytest.mark.parametrize(("dates", "is_warned"), [("shift", True), ("quarter", False)])
def test_who_decides_reads_beside_the_rows_what_one_known_date_gives_away(
    house: PortalHouse, dates: str, is_warned: bool
) -> None:
    asked = project("submitted", {"name": "item", "valueString": "rows.read"})
    parts = [part for part in asked["part"] if part["name"] != "dates"]
    asked["part"] = [*parts, {"name": "dates", "valueString": dates}]
    house.fake.operations["$research-projects"] = {
        "resourceType": "Parameters",
        "parameter": [asked],
    }
    shown = house.log_in("auditor").get("/projects/falls").text

    card = shown.split("Read rows of single")[1].split("</div>")[0]
    assert ("one true date of a person" in card) == is_warned


def test_the_page_of_a_project_lists_what_was_released(house: PortalHouse) -> None:
    released = [(name, "released" if name == "state" else value) for name, value in RELEASE]
    house.fake.operations["$research-releases"] = parameters(("release", released))
    shown = house.log_in("researcher").get("/projects/falls").text

    assert 'href="/projects/falls/releases/rel-1/files/counts.csv"' in shown
    assert 'href="/projects/falls/releases/rel-1/files/controls.json"' in shown
    assert f'href="{COHORT}"' in shown
    assert "/files/" not in house.log_in("steward").get("/projects/falls").text


def test_the_list_of_runs_says_how_far_the_release_of_each_is(house: PortalHouse) -> None:
    kind, parts = RUN
    house.fake.operations["$research-runs"] = parameters((kind, [*parts, ("release", "rel-1")]))
    waiting = house.log_in("researcher").get(RUNS).text
    released = [(name, "released" if name == "state" else value) for name, value in RELEASE]
    house.fake.operations["$research-releases"] = parameters(("release", released))

    assert "Waits for two people</strong>" in waiting
    assert "Released</strong>" in house.browser.get(RUNS).text


def test_who_approved_is_not_asked_to_approve_again(
    house: PortalHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PEOPLE["steward"], "person", "steward-ng")
    approved = [*RELEASE, ("checker", "steward-ng")]
    house.fake.operations["$research-releases"] = parameters(("release", approved))
    shown = house.log_in("steward").get("/releases/rel-1").text

    assert 'value="approve"' not in shown
    assert 'value="ask"' in shown
