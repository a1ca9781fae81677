"""`$viewdefinition-run` of a ViewDefinition of one's own: under the item `views.own` alone."""

from __future__ import annotations

import json
import re
from typing import Any

import pyarrow as pa
import pytest

from ehr_analytics.register import Register
from ehr_etl.lake import TABLES, Lake
from ehr_etl.tables.bucketed import append_rows
from tests.lib.gateway import House, must
from tests.lib.research_lake import leave, parameters, serve_with_lake

PSEUDONYM = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")


@pytest.fixture
def lake(furnished: House) -> House:
    """A gateway that is served with the lake; doctor.b is in a project that may run own views."""
    return serve_with_lake(furnished)


def _columns(**paths: str) -> list[dict[str, Any]]:
    return [{"column": [{"name": name, "path": path} for name, path in paths.items()]}]


def _view(resource: str = "Patient", **content: Any) -> dict[str, Any]:
    select = _columns(id="getResourceKey()", gender="gender")
    head = {"resourceType": "ViewDefinition", "name": "mine", "status": "active"}
    return {**head, "resource": resource, "select": select, **content}


def _run(house: House, view: Any, login: str = "doctor.b", **values: Any) -> Any:
    sent = {"project": "own", "_format": "json", "viewResource": {"resource": view}, **values}
    return house.login(login).post("$viewdefinition-run", parameters(**sent))


def test_a_view_of_ones_own_is_run_over_deid(lake: House) -> None:
    rows = must(_run(lake, _view())).json()

    assert len(rows) == 30
    assert set(rows[0]) == {"id", "gender"}
    # Keys join with those of the project's other views.
    values = {"project": "own", "_format": "json", "viewReference": "patient_demographics"}
    known = must(lake.login("doctor.b").post("$viewdefinition-run", parameters(**values))).json()
    assert {row["id"] for row in rows} == {row["id"] for row in known}
    assert len(must(_run(lake, _view(), _limit=3)).json()) == 3


def test_a_code_of_one_person_is_not_shown(lake: House) -> None:
    coded = {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": "E75.2"}]}
    record = {"resourceType": "Condition", "id": "c", "code": coded}
    row = {"bucket": 0, "type": "Condition", "id": "c", "patient": "p", "episode": "c",
           "resource": json.dumps(record, separators=(",", ":"))}  # fmt: skip
    rows = pa.Table.from_pylist([row], schema=TABLES["deid"].schema)
    append_rows(Lake(lake.settings.data / "lake"), "deid", rows)

    shown = must(_run(lake, _view("Condition", select=_columns(code="code.coding.code")))).json()

    assert [row.get("code") for row in shown] == [None]


@pytest.mark.parametrize(
    "path",
    ["id", "subject.reference", "subject.getReferenceKey(Patient)", "getResourceKey()", "subject"],
)
def test_no_pseudonym_of_the_lake_leaves(lake: House, path: str) -> None:
    answer = _run(lake, _view("Encounter", select=_columns(who=path)))

    assert answer.status_code in (200, 422)
    assert not PSEUDONYM.search(answer.text)


@pytest.mark.parametrize(
    "path",
    ["id.substring(0, 4)", "id.upper()", "id = 'x'", "id.length()", "getResourceKey() + 'x'",
     "subject.reference.replace('Patient/', '')", "iif(id > '8', 'a', 'b')"],
)  # fmt: skip
def test_what_is_computed_from_a_key_is_refused(lake: House, path: str) -> None:
    assert _run(lake, _view("Encounter", select=_columns(part=path))).status_code == 422
    chosen = _view("Encounter", where=[{"path": "id.startsWith('0')"}])
    assert _run(lake, {**chosen, "select": _columns(type="status")}).status_code == 422


@pytest.mark.parametrize(
    "content",
    [
        {"name": "../../keys/deid"},
        {"name": "/etc/passwd"},
        {"name": 'x"; DROP TABLE records; --'},
        {"resource": "Patient' OR '1'='1"},
        {"resource": "silver"},
        {"select": _columns(**{"a\" FROM read_text('/etc/passwd')--": "id"})},
        {"select": _columns(a="' || read_text('/etc/passwd')")},
        {"select": []},
        {"resourceType": "Patient"},
    ],
)
def test_names_reach_no_path_and_no_sql(lake: House, content: dict[str, Any]) -> None:
    answer = _run(lake, _view(**content))

    assert answer.status_code in (400, 422)
    assert "root:" not in answer.text


def test_only_a_project_with_the_item_may(lake: House) -> None:
    assert _run(lake, _view(), project="falls").status_code == 403
    assert _run(lake, _view(), project="counts").status_code == 403
    assert _run(lake, _view(), "doctor.a").status_code == 404
    assert _run(lake, _view(), viewReference="patient_demographics").status_code == 400
    without = parameters(project="own")
    assert lake.login("doctor.b").post("$viewdefinition-run", without).status_code == 400


@pytest.mark.parametrize("category", ["research", "joining"])
def test_whoever_opts_out_is_in_no_view_of_ones_own(lake: House, category: str) -> None:
    visits = _view("Encounter", select=_columns(who="subject.getReferenceKey(Patient)"))
    people = {row["who"] for row in must(_run(lake, visits)).json()}
    leave(lake, category)

    assert len(must(_run(lake, _view())).json()) == 29
    assert len({row["who"] for row in must(_run(lake, visits)).json()}) == len(people) - 1


def test_it_is_in_the_log_of_the_project_without_its_text(lake: House) -> None:
    must(_run(lake, _view(name="a_name_that_tells")))

    [event] = [
        each for each in Register(lake.settings.data).events("own") if each.action == "query"
    ]
    assert event.detail["rows"] == 30
    assert "a_name_that_tells" not in str(event)
