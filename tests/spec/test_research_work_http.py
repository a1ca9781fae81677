"""The work of research over HTTP: live counts, runs, requests for release, two checkers."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ehr_analytics import airlock, live_counts, run_queue, run_worker
from ehr_analytics import project as projects
from ehr_analytics.disclosure.cell_files import read_cells
from ehr_analytics.register import Register
from ehr_analytics.run_log import list_runs, run_folder
from ehr_analytics.withheld import ChangedSubjects, find_withheld_people
from ehr_cli.main import app
from ehr_cli.research_projects import RegisteredProjects
from ehr_cli.research_work import RegisteredWork
from ehr_fhir.errors import Unavailable
from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account
from tests.lib import gold, research
from tests.lib.gateway import House, must
from tests.lib.research_lake import leave, make_lake, parameters

COHORT = """
name = "wards"
title = "People of the wards"

[events.stays]
table = "encounter_flat"
date = "start"

[index]
events = "stays"

[[include]]
name = "adults"
kind = "age"
from = 18

[[exclude]]
name = "early ones"
kind = "age"
from = 100

[[column]]
name = "sex"
kind = "person"
column = "gender"
values = ["female", "male"]
"""
STUDY = f"""{COHORT}
[[analysis]]
kind = "counts"
name = "by-sex"
by = ["sex"]
"""
KEPT = '[events.kept]\nof = "stays"\nkeep = [{ column = "days_to_last", from = 28 }]'
MANY_CRITERIA = "".join(
    f'[[include]]\nname = "again {number}"\nkind = "age"\nfrom = 0\n' for number in range(20)
)
ITEMS = (
    "patient_demographics.id", "patient_demographics.gender", "patient_demographics.birth_year",
    "encounter_flat.patient_id", "encounter_flat.start",
)  # fmt: skip
NOTE = "A table for the paper on falls."
REASON = "No small cell is shown, and the groups are wide."
PEOPLE = 300


@pytest.fixture
def office(furnished: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """A house with a lake of 300 people, an open project of re.lau, and checkers."""
    house, data = furnished, furnished.settings.data
    gateway = house.app.state.gateway
    house.app.state.gateway = replace(
        gateway, projects=RegisteredProjects(data), research_work=RegisteredWork(data)
    )
    for login, role, person in (
        ("re.lau", "researcher", "lau"),
        ("st.lau", "steward", "lau"),
        ("re.mok", "researcher", None),
        ("st.ng", "steward", "ng"),
        ("au.ng", "auditor", "ng"),
        ("au.tse", "auditor", None),
        ("st.ho", "steward", None),
    ):
        account = Account(login, role, login.upper(), "ehr-commons", person=person)
        accounts.add_account(house.gateway.store.database, account)
    make_lake(house, PEOPLE)
    _open_project(data, "falls", "lau")
    _open_project(data, "other", "re.mok")
    monkeypatch.setattr(run_worker, "start_waiting", _run_here)
    return house


def _open_project(data: Path, project: str, person: str) -> None:
    register = Register(data)
    today = register.clock().date()
    research.open_project(
        register, id=project, items=ITEMS, people=(person,), applicant=person,
        period_from=today, period_to=today.replace(year=today.year + 1),
    )  # fmt: skip


def _run_here(register: Register, changed: ChangedSubjects) -> None:
    """Run what waits in this process, which has all imported already."""
    while (claimed := run_queue.claim_next(register)) is not None:
        run_id, lock = claimed
        with lock:
            withheld = find_withheld_people(register.data, changed)
            run_worker.execute_run(register, run_id, withheld)


def _refuse_for_now(*args: object, **kwargs: object) -> None:
    raise Unavailable("Another release is being checked: try again.")


def _post(house: House, login: str, operation: str, **values: Any) -> Any:
    sent = parameters(
        **{
            name.replace("_", "-"): {"valueBoolean": value} if isinstance(value, bool) else value
            for name, value in values.items()
        }
    )
    return house.login(login).post(operation, sent)


def _get(house: House, login: str, operation: str, **values: str) -> Any:
    words = "&".join(f"{name}={value}" for name, value in values.items())
    return house.login(login).get(operation + (f"?{words}" if words else ""))


def _values(answer: Any) -> dict[str, list[Any]]:
    return _read_parts(must(answer).json().get("parameter", []))


def _read_parts(parts: list[dict[str, Any]]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for part in parts:
        value = (
            _read_parts(part["part"])
            if "part" in part
            else next(part[key] for key in part if key.startswith("value"))
        )
        found.setdefault(part["name"], []).append(value)
    return found


def _count(house: House, definition: str = COHORT, login: str = "re.lau") -> Any:
    return _post(house, login, "$research-count", project="falls", definition=definition)


def _run(house: House, **values: Any) -> dict[str, list[Any]]:
    sent = {"project": "falls", **(values or {"definition": STUDY})}
    run_id = _values(_post(house, "re.lau", "$research-run", **sent))["run"][0]["id"][0]
    runs = _values(_get(house, "re.lau", "$research-runs", project="falls"))["run"]
    (run,) = [run for run in runs if run["id"] == [run_id]]
    return dict(run)


def _request(house: House, run: str, login: str = "re.lau") -> Any:
    return _post(house, login, "$request-release", run=run, note=NOTE)


def _decide(
    house: House, login: str, release: str, decision: str, reason: str = REASON, **values: Any
) -> Any:
    if decision == "approve" and "digest" not in values:
        values["digest"] = airlock.digest_outputs(Register(house.settings.data), release)
    return _post(
        house, login, "$decide-release", release=release, decision=decision, reason=reason, **values
    )


def _release(answer: Any) -> dict[str, list[Any]]:
    return dict(_values(answer)["release"][0])


def test_a_live_count_tells_about_how_many_are_left_and_what_it_costs(office: House) -> None:
    counted = _values(_count(office))

    names = [step["name"][0] for step in counted["step"]]
    assert names == [
        "in the data", "population", "index event", "with adults", "without early ones",
    ]  # fmt: skip
    people = [step["people"][0] for step in counted["step"]]
    assert all(count % 5 == 0 and abs(count - PEOPLE) < 200 for count in people)
    assert people == sorted(people, reverse=True)
    limits = live_counts.LIMITS
    assert (counted["left"], counted["limit"]) == ([limits.in_window - 1], [limits.in_window])
    assert counted["until"]


def test_the_same_cohort_under_other_labels_gets_the_same_answer_for_nothing(office: House) -> None:
    first = _values(_count(office))

    renamed = COHORT.replace('"wards"', '"beds"').replace('"adults"', '"grown-ups"')
    again = _values(_count(office, renamed.replace("People of the wards", "Others")))

    assert [step.get("people") for step in again["step"]] == [
        step.get("people") for step in first["step"]
    ]
    assert again["left"] == first["left"]
    assert _values(_count(office, COHORT.replace("from = 18", "from = 19")))["left"] == [
        first["left"][0] - 1
    ]


def test_counts_end_and_say_when_more_come(office: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        live_counts.count_people, "__defaults__", (replace(live_counts.LIMITS, in_window=1),)
    )
    must(_count(office))

    refused = _count(office, COHORT.replace("from = 18", "from = 40"))

    assert refused.status_code == 429
    assert "a day" in refused.json()["issue"][0]["diagnostics"]
    # What was answered is answered still.
    assert _values(_count(office))["left"] == [0]


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ("name = \n", "line 1"),
        (f"x = {'[' * 5000}", "cannot be read"),
        (f"x = {'9' * 5000}", "cannot be read"),
        (COHORT.replace('kind = "age"', 'kind = "ages"', 1), "ages"),
        (COHORT.replace('"gender"', '"region"'), "patient_demographics.region"),
        (COHORT.replace("encounter_flat", "nowhere"), "nowhere"),
        (
            f'{COHORT}\n[follow_up]\ndays = 9\ndata_until = "latest"\nwhole = true',
            "data_until as a date",
        ),
        # One event of one person, late enough, would put everybody out.
        (
            COHORT.replace("[index]", f"{KEPT}\n\n[index]").replace(
                'events = "stays"', 'events = "kept"'
            ),
            "days_to_last",
        ),
        (COHORT + MANY_CRITERIA, "at most 20 criteria"),
    ],
)
def test_a_fault_of_a_cohort_is_named_and_costs_nothing(
    office: House, definition: str, said: str
) -> None:
    refused = _count(office, definition)

    assert refused.status_code == 422
    assert said in refused.json()["issue"][0]["diagnostics"]
    assert _values(_count(office))["left"] == [live_counts.LIMITS.in_window - 1]


def test_only_people_of_an_open_project_count_and_run(office: House) -> None:
    for login, status in (
        ("re.mok", 404), ("st.ng", 403), ("st.lau", 403), ("p.pat-1", 403), ("admin", 403),
    ):  # fmt: skip
        assert _count(office, login=login).status_code == status
        sent = {"project": "falls", "definition": STUDY}
        assert _post(office, login, "$research-run", **sent).status_code == status
    for login in ("re.mok", "st.lau", "p.pat-1"):
        assert _get(office, login, "$research-runs", project="falls").status_code in (403, 404)
    must(_get(office, "st.ng", "$research-runs", project="falls"))
    projects.close_project(Register(office.settings.data), "falls", "lau")
    assert _count(office).status_code == 409


def test_a_study_runs_and_two_checkers_release_its_tables_byte_for_byte(office: House) -> None:
    run = _run(office)
    assert run["state"] == ["ended"]
    assert run["log"][0]["text"][0] == "The run waits for its turn."
    assert {table["name"][0] for table in run["table"]} == {
        "patient_demographics", "encounter_flat",
    }  # fmt: skip
    run_id = run["id"][0]
    asked = _release(_request(office, run_id))
    assert (asked["state"], asked["unsafe"], asked["note"]) == (["waiting"], [False], [NOTE])
    # Which cells are hidden is not for those who may ask again and again.
    assert "rule" not in asked
    assert all("hidden" not in file for file in asked["file"])
    (table,) = [file for file in asked["file"] if file["name"] == ["by-sex.csv"]]
    fetch = {"release": run_id, "file": "by-sex.csv"}
    assert _get(office, "re.lau", "$release-file", **fetch).status_code == 403
    seen = must(_get(office, "st.ng", "$release-file", **fetch))
    assert hashlib.sha256(seen.content).hexdigest() == table["sha256"][0]
    cells = _values(_get(office, "st.ng", "$release-evidence", release=run_id))["cell"]
    assert {cell["file"][0] for cell in cells} == {"by-sex.csv"}

    must(_decide(office, "au.tse", run_id, "ask", "Are the groups those of the protocol?"))
    must(_decide(office, "re.lau", run_id, "answer", "They are, see its third page."))
    must(_decide(office, "st.ng", run_id, "approve"))
    assert _decide(office, "st.ng", run_id, "approve").status_code == 403
    assert _decide(office, "au.ng", run_id, "approve").status_code == 403
    released = _release(_decide(office, "au.tse", run_id, "approve"))

    assert released["state"] == ["released"]
    assert [(event["who"][0], event["action"][0]) for event in released["event"]] == [
        ("lau", "request"), ("au.tse", "ask"), ("lau", "answer"), ("ng", "approve"),
        ("au.tse", "approve"), ("au.tse", "release"),
    ]  # fmt: skip
    file = must(_get(office, "re.lau", "$release-file", **fetch))
    assert file.content == seen.content
    assert file.headers["content-type"].startswith("text/csv")
    assert file.headers["content-disposition"] == 'attachment; filename="by-sex.csv"'
    record = must(_get(office, "re.lau", "$release-file", release=run_id, file="controls.json"))
    assert {one["person"] for one in record.json()["checkers"]} == {"ng", "au.tse"}
    names = [one["name"][0] for one in released["file"]]
    assert names == ["by-sex.csv", "by-sex.png", "controls.json", "ro-crate-metadata.json"]
    for name, one in zip(names, released["file"], strict=True):
        content = must(_get(office, "re.lau", "$release-file", release=run_id, file=name)).content
        assert hashlib.sha256(content).hexdigest() == one["sha256"][0]


def test_nobody_checks_what_a_project_of_theirs_made_whichever_account_they_use(
    office: House,
) -> None:
    run_id = _run(office)["id"][0]
    must(_request(office, run_id))

    # It waits for those who may check it.
    assert _values(_get(office, "st.ng", "$waiting"))["releases"] == [1]
    assert _values(_get(office, "st.lau", "$waiting"))["releases"] == [0]
    for decision in ("approve", "return", "ask"):
        assert _decide(office, "st.lau", run_id, decision).status_code == 403
        assert _decide(office, "re.lau", run_id, decision).status_code == 403
    assert _decide(office, "st.ng", run_id, "answer").status_code == 403
    assert _get(office, "st.lau", "$release-evidence", release=run_id).status_code == 403
    assert _values(_get(office, "st.lau", "$research-releases")) == {}
    assert len(_values(_get(office, "st.ng", "$research-releases", waiting="true"))["release"]) == 1
    # Of others there is nothing.
    assert _request(office, run_id, "re.mok").status_code == 404
    assert _values(_get(office, "re.mok", "$research-releases")) == {}
    for file in ("by-sex.csv", "../cells.ndjson", "evidence.json"):
        fetch = {"release": run_id, "file": file}
        assert _get(office, "re.mok", "$release-file", **fetch).status_code == 404
        assert (_get(office, "st.ng", "$release-file", **fetch).status_code == 404) == (
            file != "by-sex.csv"
        )


def test_a_release_is_approved_by_the_digest_of_the_files_that_were_read(office: House) -> None:
    run_id = _run(office)["id"][0]
    must(_request(office, run_id))
    (read,) = _values(_get(office, "st.ng", "$research-releases"))["release"][0]["digest"]
    register = Register(office.settings.data)
    proposed = {"by-sex.csv": "0" * 64}
    with register.transaction() as connection:
        # As a second proposal with other files leaves it.
        (kept,) = connection.execute("SELECT outputs FROM run WHERE id = ?", (run_id,)).fetchone()
        _write_outputs(connection, run_id, json.dumps(proposed))

    assert _decide(office, "st.ng", run_id, "approve", digest=read).status_code == 409
    unnamed = {"release": run_id, "decision": "approve", "reason": REASON}
    assert _post(office, "st.ng", "$decide-release", **unnamed).status_code == 400

    with register.transaction() as connection:
        _write_outputs(connection, run_id, kept)
    assert _release(_decide(office, "st.ng", run_id, "approve", digest=read))["checker"] == ["ng"]


def _write_outputs(connection: sqlite3.Connection, run_id: str, outputs: str) -> None:
    connection.execute("UPDATE run SET outputs = ? WHERE id = ?", (outputs, run_id))


def test_what_a_checker_returns_stays_inside(office: House) -> None:
    run_id = _run(office)["id"][0]
    must(_request(office, run_id))

    returned = _release(_decide(office, "st.ng", run_id, "return", "The groups are too fine."))

    assert returned["state"] == ["returned"]
    assert _decide(office, "au.tse", run_id, "approve").status_code == 409
    fetch = {"release": run_id, "file": "by-sex.csv"}
    assert _get(office, "re.lau", "$release-file", **fetch).status_code == 403
    (seen,) = _values(_get(office, "re.lau", "$research-releases", project="falls"))["release"]
    assert seen["event"][-1]["reason"] == ["The groups are too fine."]


def test_own_code_is_unsafe_output_that_an_approver_has_judged(office: House) -> None:
    code = "(outputs / 'n.csv').write_text('people\\n150\\n')\nprint('row of pat-1')"
    run = _run(office, code=code, output="n.csv")
    assert (run["state"], run["kind"]) == (["ended"], ["code"])
    assert "pat-1" not in json.dumps(run["log"])
    run_id = run["id"][0]
    asked = _release(_request(office, run_id))
    # A check of what code wrote could tell its author anything.
    assert asked["unsafe"] == [True]
    assert "check" not in asked

    assert _decide(office, "st.ng", run_id, "approve").status_code == 422
    must(_decide(office, "st.ng", run_id, "approve", unsafe_judged=True))
    must(_decide(office, "au.tse", run_id, "approve", unsafe_judged=True))

    file = must(_get(office, "re.lau", "$release-file", release=run_id, file="n.csv"))
    assert file.text == "people\n150\n"


def test_code_that_fails_says_so_and_nothing_of_its_error(office: House) -> None:
    run = _run(office, code="raise ValueError('the row of pat-1')", output="n.csv")

    assert run["state"] == ["failed"]
    assert "pat-1" not in json.dumps([run["fault"], run["log"]])
    assert _request(office, run["id"][0]).status_code == 409


@pytest.mark.parametrize("name", ['a".csv', "a\nb.csv", "表.csv", "../n.csv", ".n.csv", "n.txt"])
def test_a_declared_output_is_a_plain_file_name(office: House, name: str) -> None:
    sent = {"project": "falls", "code": "pass", "output": name}

    assert _post(office, "re.lau", "$research-run", **sent).status_code == 422


def test_a_release_that_came_first_makes_the_approvals_of_another_lapse(office: House) -> None:
    # Two tables that differ by the people of one year of birth, who are few.
    years = gold.made_up(PEOPLE)["patient_demographics"]["birth_year"].value_counts()
    rare = '[[exclude]]\nname = "a year"\nkind = "person"\ncolumn = "birth_year"\n' + (
        f"in = [{years.idxmin()}]\n\n[[column]]"
    )
    first = _run(office)["id"][0]
    second = _run(office, definition=STUDY.replace("[[column]]", rare, 1))["id"][0]
    must(_request(office, first))
    assert _release(_request(office, second))["state"] == ["waiting"]
    for login in ("st.ng", "au.tse"):
        must(_decide(office, login, first, "approve"))

    must(_decide(office, "st.ng", second, "approve"))
    assert _decide(office, "au.tse", second, "approve").status_code == 409

    (found,) = _values(_get(office, "re.lau", "$research-releases", release=second))["release"]
    assert (found["state"], found["event"][-1]["action"]) == (["refused"], ["lapse"])
    assert "checker" not in found
    again = _release(_request(office, second))
    assert again["state"] == ["waiting"]
    seen = _values(_get(office, "st.ng", "$research-releases", release=second))["release"][0]
    assert {rule["name"][0] for rule in seen["rule"]} >= {"differencing"}


def test_a_release_that_was_cut_off_after_both_approvals_is_brought_to_its_end(
    office: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = _run(office)["id"][0]
    must(_request(office, run_id))
    must(_decide(office, "st.ng", run_id, "approve"))
    with monkeypatch.context() as patch:
        patch.setattr(airlock, "release_outputs", _refuse_for_now)
        assert _decide(office, "au.tse", run_id, "approve").status_code == 503

    released = _release(_decide(office, "au.tse", run_id, "approve"))

    assert released["state"] == ["released"]
    assert released["checker"] == ["ng", "au.tse"]


def _release_code(house: House) -> str:
    """Run code, and ask for the release of what it wrote; return the run."""
    code = "(outputs / 'n.csv').write_text('people\\n150\\n')"
    run_id: str = _run(house, code=code, output="n.csv")["id"][0]
    must(_request(house, run_id))
    return run_id


def test_nothing_leaves_a_closed_project_and_what_waits_can_be_returned(office: House) -> None:
    table, code = _run(office)["id"][0], _release_code(office)
    must(_request(office, table))
    for run_id in (table, code):
        must(_decide(office, "st.ng", run_id, "approve", unsafe_judged=True))
    projects.close_project(Register(office.settings.data), "falls", "lau")

    for run_id in (table, code):
        refused = _decide(office, "au.tse", run_id, "approve", unsafe_judged=True)
        assert refused.status_code == 409
        assert "closed" in refused.json()["issue"][0]["diagnostics"]
        returned = _release(_decide(office, "au.tse", run_id, "return"))
        assert returned["state"] == ["returned"]


def test_what_is_closed_while_a_release_waits_for_another_stays_inside(
    office: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, register = _release_code(office), Register(office.settings.data)
    must(_decide(office, "st.ng", run_id, "approve", unsafe_judged=True))

    @contextmanager
    def close_meanwhile(register: Register) -> Iterator[None]:
        projects.close_project(register, "falls", "lau")
        yield

    monkeypatch.setattr(airlock, "lock_releases", close_meanwhile)

    assert _decide(office, "au.tse", run_id, "approve", unsafe_judged=True).status_code == 409
    assert not list((register.folder / "released").rglob("*.csv"))


def test_a_release_that_is_cut_off_leaves_no_half_and_nothing_once_it_is_returned(
    office: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = _run(office)["id"][0]
    must(_request(office, run_id))
    must(_decide(office, "st.ng", run_id, "approve"))
    released = office.settings.data / "research" / "released" / "falls"
    with monkeypatch.context() as patch:
        patch.setattr(airlock, "build_crate", _refuse_for_now)
        assert _decide(office, "au.tse", run_id, "approve").status_code == 503
    # Copied, and not yet described: under a name that nobody reads.
    assert [path.name for path in released.iterdir()] == [f".{run_id}.half"]
    # As a kill between the last file and the commit leaves it.
    (released / f".{run_id}.half").rename(released / run_id)
    fetch = {"release": run_id, "file": "by-sex.csv"}
    assert _get(office, "re.lau", "$release-file", **fetch).status_code == 403

    must(_decide(office, "st.ho", run_id, "return"))

    assert not list(released.iterdir())


def test_files_that_change_while_they_are_copied_do_not_leave(
    office: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = _run(office)["id"][0]
    must(_request(office, run_id))
    must(_decide(office, "st.ng", run_id, "approve"))
    copy = shutil.copytree

    def copy_changed(source: Path, target: Path) -> None:
        (source / "by-sex.csv").write_text("sex,people\nmale,1\n")
        copy(source, target)

    monkeypatch.setattr(shutil, "copytree", copy_changed)

    assert _decide(office, "au.tse", run_id, "approve").status_code == 409
    assert not list((office.settings.data / "research" / "released").rglob("*.csv"))


def test_the_record_of_a_release_is_what_left_and_who_fetches_it_is_on_record(
    office: House,
) -> None:
    run_id = _run(office)["id"][0]
    must(_request(office, run_id))
    for login in ("st.ng", "au.tse"):
        must(_decide(office, login, run_id, "approve"))
    fetch = {"release": run_id, "file": "controls.json"}
    must(_get(office, "re.lau", "$release-file", **fetch))

    register = Register(office.settings.data)
    last = register.events("falls", run_id)[-1]
    assert (last.who, last.action, last.detail) == ("lau", "download", {"file": "controls.json"})
    (register.folder / "released" / "falls" / run_id / "controls.json").write_text("{}")
    assert _get(office, "re.lau", "$release-file", **fetch).status_code == 409


def test_others_cannot_tell_a_run_from_none(office: House) -> None:
    run_id = _run(office)["id"][0]
    must(_request(office, run_id))

    for operation in ("$research-releases", "$release-file"):
        answers = [
            _get(office, "re.mok", operation, release=one, **file).json()["issue"]
            for one in (run_id, "no-such-run")
            for file in ([{"file": "by-sex.csv"}] if operation == "$release-file" else [{}])
        ]
        assert answers[0] == answers[1]


def test_the_audit_log_says_which_project_and_run_each_act_was_about(office: House) -> None:
    run_id = _run(office)["id"][0]
    must(_request(office, run_id))
    must(_count(office))
    must(_get(office, "st.ng", "$research-releases"))
    must(_get(office, "st.ng", "$release-evidence", release=run_id))
    must(_get(office, "st.ng", "$release-file", release=run_id, file="by-sex.csv"))
    must(_decide(office, "st.ng", run_id, "approve"))
    must(_get(office, "re.lau", "$research-dummy", project="falls", people="5"))

    entries = must(office.login("au.tse").get("AuditEvent?_count=100")).json()["entry"]

    about = [
        {
            entity["what"]["reference"]
            for entity in entry["resource"]["entity"]
            if entity.get("what", {}).get("reference", "").startswith(("ResearchStudy/", "Basic/"))
        }
        for entry in reversed(entries)
        if entry["resource"]["subtype"][0]["code"] == "operation"
    ]
    project, both = {"ResearchStudy/falls"}, {"ResearchStudy/falls", f"Basic/{run_id}"}
    assert about == [both, project, both, project, both, both, both, both, project]


def test_a_run_has_a_process_of_its_own(office: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_worker, "start_waiting", run_worker.run_waiting)

    assert _run(office)["state"] == ["ended"]


@pytest.mark.parametrize("category", ["research", "joining"])
def test_whoever_opts_out_is_in_no_count_and_no_run_from_then_on(
    office: House, monkeypatch: pytest.MonkeyPatch, category: str
) -> None:
    counted: list[int] = []

    def count_exactly(groups: list[int], epsilon: float) -> list[int]:
        counted.append(sum(groups))
        return groups

    monkeypatch.setattr(live_counts, "add_noise", count_exactly)
    # In the process that the gateway starts.
    monkeypatch.setattr(run_worker, "start_waiting", run_worker.run_waiting)
    leave(office, category)

    # The lake has not run since.
    must(_count(office))
    assert counted == [PEOPLE - 1]
    everybody = _run(office, definition=STUDY.replace("from = 18", "from = 0"))
    folder = run_folder(Register(office.settings.data), everybody["id"][0])
    assert len({person for cell in read_cells(folder) for person in cell.persons}) == PEOPLE - 1
    code = "(outputs / 'n.csv').write_text(f\"{len(tables['patient_demographics'])}\")"
    run = _run(office, code=code, output="n.csv")["id"][0]
    written = run_folder(Register(office.settings.data), run) / "raw" / "n.csv"
    assert written.read_text() == str(PEOPLE - 1)


def test_a_command_on_the_data_folder_leaves_out_whoever_opted_out(
    office: House, tmp_path: Path
) -> None:
    leave(office, "research")
    file = tmp_path / "wards.toml"
    study = STUDY.replace("from = 18", "from = 0")
    file.write_text(f'project = "falls"\nquestion = "Who stays?"\n{study}', "utf-8")
    settings = office.settings

    ended = CliRunner().invoke(
        app,
        ["research", "run", str(file), "--as", "re.lau", "--data", str(settings.data)],
        env={"EHR_DATABASE": settings.database_url or "sqlite"},
    )

    assert ended.exit_code == 0, ended.output
    register = Register(settings.data)
    [run] = list_runs(register)
    cells = read_cells(run_folder(register, run.id))
    assert len({person for cell in cells for person in cell.persons}) == PEOPLE - 1


def test_nothing_is_counted_or_run_where_it_is_not_known_who_opted_out(
    office: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_worker, "start_waiting", run_worker.run_waiting)
    shutil.rmtree(office.settings.data / "lake" / "bronze")

    assert _count(office).status_code == 503
    run = _run(office)
    assert run["state"] == ["failed"]
    assert "ehr lake run" in run["fault"][0]


@pytest.fixture
def queued(office: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[Register]:
    """The register, with a run that waits."""
    monkeypatch.setattr(run_worker, "start_waiting", lambda register, changed: None)
    must(_post(office, "re.lau", "$research-run", project="falls", definition=STUDY))
    yield Register(office.settings.data)


def test_a_run_that_a_restart_cut_off_says_so_and_one_that_waited_runs(
    office: House, queued: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = run_queue.claim_next(queued)
    assert claimed is not None
    run_id, lock = claimed
    waiting = _post(office, "re.lau", "$research-run", project="falls", definition=STUDY)
    runs = _values(_get(office, "re.lau", "$research-runs", project="falls"))["run"]
    assert [run["state"][0] for run in runs] == ["queued", "running"]
    # What the operating system does when the process ends.
    lock.close()

    monkeypatch.setattr(run_worker, "start_waiting", _run_here)
    work = RegisteredWork(office.settings.data)
    work.resume_runs(office.gateway.store.list_changed_subjects)

    runs = _values(_get(office, "re.lau", "$research-runs", project="falls"))["run"]
    assert [run["state"][0] for run in runs] == ["ended", "failed"]
    assert "restart" in runs[1]["fault"][0]
    assert runs[0]["id"] == _values(waiting)["run"][0]["id"]
    assert _request(office, run_id).status_code in (404, 409)


def test_runs_come_in_pages_and_one_by_its_id(office: House, queued: Register) -> None:
    def page(login: str = "re.lau", **values: str) -> dict[str, Any]:
        return _values(must(_get(office, login, "$research-runs", project="falls", **values)))

    for _ in range(4):
        must(_post(office, "re.lau", "$research-run", project="falls", definition=STUDY))
    every = [run["id"] for run in page()["run"]]
    assert len(every) == 5
    assert "next" not in page()

    first = page(_count="2")
    second = page(_count="2", _cursor=first["next"][0])
    # What begins meanwhile moves no page.
    must(_post(office, "re.lau", "$research-run", project="falls", definition=STUDY))
    third = page(_count="2", _cursor=second["next"][0])
    assert [run["id"] for each in (first, second, third) for run in each["run"]] == every
    assert "next" not in third
    assert [run["id"] for run in page(run=every[3][0])["run"]] == [every[3]]

    refused = {"_count": ("0", "-1", "x", "1e3"), "_cursor": ("", "x", first["next"][0][:-2])}
    for name, values in refused.items():
        for value in values:
            answer = _get(office, "re.lau", "$research-runs", project="falls", **{name: value})
            assert answer.status_code == 400, (name, value)
    # The list of another project goes by cursors of its own, and its runs are not found here.
    stolen = {"project": "other", "_cursor": first["next"][0]}
    assert _get(office, "re.mok", "$research-runs", **stolen).status_code == 400
    for run in (every[0][0], "none"):
        answer = _get(office, "re.mok", "$research-runs", project="other", run=run)
        assert answer.status_code == 404


def test_dummy_tables_are_of_the_shape_of_the_project(office: House) -> None:
    answer = must(_get(office, "re.lau", "$research-dummy", project="falls", people="5"))

    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert sorted(archive.namelist()) == [
            "encounter_flat.parquet", "patient_demographics.parquet",
        ]  # fmt: skip
    assert _get(office, "re.mok", "$research-dummy", project="falls").status_code == 404
    assert _get(office, "re.lau", "$research-dummy", project="falls", people="x").status_code == 400
