"""`$viewdefinition-run` and `$sqlquery-run`: rows for a project that may read them, no others."""

from __future__ import annotations

import base64
import re
import shutil
from typing import Any

import pytest

from ehr_analytics import project as projects
from ehr_analytics.register import Register
from tests.lib.gateway import House, must
from tests.lib.gold import made_up, write
from tests.lib.research_lake import leave, parameters, serve_with_lake


@pytest.fixture
def lake(furnished: House) -> House:
    """A gateway that is served with the lake; doctor.b is in a project that may read rows."""
    return serve_with_lake(furnished)


def _run_view(house: House, login: str = "doctor.b", **values: Any) -> Any:
    sent = {"project": "falls", "viewReference": "ViewDefinition/patient_demographics", **values}
    return house.login(login).post("$viewdefinition-run", parameters(**sent))


def _run_sql(house: House, sql: str, login: str = "doctor.b", **values: Any) -> Any:
    data = base64.b64encode(sql.encode()).decode()
    library = {
        "resourceType": "Library",
        "content": [{"contentType": "application/sql", "data": data}],
    }
    sent = {"project": "falls", "queryResource": {"resource": library}, **values}
    return house.login(login).post("$sqlquery-run", parameters(**sent))


def test_a_view_is_answered_with_its_approved_columns_under_pseudonyms(lake: House) -> None:
    rows = must(_run_view(lake, _format="json")).json()

    assert len(rows) == 30
    assert set(rows[0]) == {"id", "gender", "birth_year"}
    assert {len(row["id"]) for row in rows} == {64}
    joined = (
        "SELECT count(*) AS n FROM patient_demographics p"
        " JOIN encounter_flat e ON p.id = e.patient_id"
    )
    assert must(_run_sql(lake, joined, _format="json")).json()[0]["n"] > 30


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("csv", "text/csv"),
        ("ndjson", "application/x-ndjson"),
        ("json", "application/json"),
        ("parquet", "application/vnd.apache.parquet"),
    ],
)
def test_every_format_is_answered(lake: House, name: str, media_type: str) -> None:
    answer = must(_run_view(lake, _format=name, _limit=3))

    assert answer.headers["content-type"].startswith(media_type)
    assert answer.content


def test_sql_takes_typedparameters(lake: House) -> None:
    sql = (
        "SELECT gender, count(*) AS n FROM patient_demographics"
        " WHERE birth_year > :born GROUP BY gender"
    )
    values = {"resource": parameters(born=1900)}

    rows = must(_run_sql(lake, sql, parameters=values, _format="json")).json()

    assert sum(row["n"] for row in rows) == 30
    assert _run_sql(lake, sql).status_code == 422


def test_only_the_people_of_an_open_project_that_may_read_rows_are_answered(lake: House) -> None:
    assert _run_view(lake, "doctor.a").status_code == 404
    assert _run_view(lake, "p.pat-1").status_code == 404
    assert _run_view(lake, project="unknown").status_code == 404
    assert _run_view(lake, project="counts").status_code == 403
    assert (
        _run_sql(lake, "SELECT gender FROM patient_demographics", project="counts").status_code
        == 403
    )
    for view in ("condition_flat", "../deid", "../../keys", "patient_demographics/../../silver"):
        assert _run_view(lake, viewReference=f"ViewDefinition/{view}").status_code == 404
    for project in ("../falls", "falls.key", "falls/../falls"):
        assert _run_view(lake, project=project).status_code in (400, 404, 422)
    projects.close_project(Register(lake.settings.data), "falls", "doctor.b")
    assert _run_view(lake).status_code == 409


@pytest.mark.sampled
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT region FROM patient_demographics",
        "SELECT * FROM condition_flat",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM silver",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM duckdb_views()",
        "SELECT read_text('/etc/passwd')",
        "SELECT getenv('HOME')",
        "COPY patient_demographics TO '/tmp/x.csv'",
        "SET enable_external_access = true",
        "SELECT 1; SELECT 2",
        "PRAGMA database_list",
        "ATTACH '/tmp/x.db'",
        "SELECT * FROM query('SELECT 1')",
        "SELECT sum(range) FROM range(10)",
        "SELECT nonsense(gender) FROM patient_demographics",
        "",
    ],
)
def test_sql_that_is_more_than_a_select_of_views_is_refused(lake: House, sql: str) -> None:
    answer = _run_sql(lake, sql)

    assert answer.status_code in (400, 422)
    assert "root:" not in answer.text


def test_every_query_is_in_the_log_of_its_project_without_its_text(lake: House) -> None:
    must(_run_sql(lake, "SELECT gender FROM patient_demographics WHERE gender = 'female'"))

    [event] = [e for e in Register(lake.settings.data).events("falls") if e.action == "query"]
    assert event.who == "doctor.b"
    assert event.detail["tables"] == {"patient_demographics": 0, "encounter_flat": 0}
    assert "female" not in str(event)
    assert _run_sql(lake, "SELECT cast(gender AS int) FROM patient_demographics").status_code == 422
    *_, event = Register(lake.settings.data).events("falls")
    assert event.detail["refused"] == "Unprocessable"


@pytest.mark.parametrize("category", ["research", "joining"])
def test_whoever_opts_out_is_in_no_query_from_then_on(lake: House, category: str) -> None:
    people = "SELECT id FROM patient_demographics"
    visits = "SELECT patient_id FROM encounter_flat"

    def count(sql: str) -> tuple[int, int]:
        rows = must(_run_sql(lake, sql, _format="json")).json()
        return len(rows), len({tuple(row.values()) for row in rows})

    before = count(visits)
    assert count(people) == (30, 30)
    leave(lake, category)

    # The lake has not run since.
    assert count(people) == (29, 29)
    assert count(visits)[0] < before[0]
    assert count(visits)[1] == before[1] - 1
    assert len(must(_run_view(lake, _format="json")).json()) == 29


def test_a_table_without_the_lakes_keys_is_not_read_while_somebody_is_withheld(
    lake: House,
) -> None:
    write(lake.settings.data, made_up(30))
    assert _run_view(lake).status_code == 200
    leave(lake, "research")

    assert _run_view(lake).status_code == 503


def test_a_lake_that_knows_of_no_decision_is_not_read(lake: House) -> None:
    shutil.rmtree(lake.settings.data / "lake" / "bronze")

    assert _run_view(lake).status_code == 503


def test_a_gateway_without_the_lake_says_so(furnished: House) -> None:
    assert _run_view(furnished).status_code == 503
    assert _run_sql(furnished, "SELECT 1").status_code == 503


def test_notes_are_read_by_a_project_that_was_granted_them_alone(lake: House) -> None:
    """Tags are the project's own; a note whose record has left deid is out."""
    reference = {"viewReference": "ViewDefinition/notes"}
    [row] = must(_run_view(lake, project="notes", _format="json", **reference)).json()
    assert re.fullmatch(r"\[PATIENT [0-9a-f]{6}\] fell on \[DATE\]", row["note"])
    assert set(row) == set(projects.NOTES_COLUMNS)
    assert {len(row["record_id"]), len(row["patient_id"])} == {64}
    joined = "SELECT n.note FROM notes n JOIN patient_demographics p ON p.id = n.patient_id"
    assert len(must(_run_sql(lake, joined, project="notes", _format="json")).json()) == 1

    for project in ("falls", "own"):
        assert _run_view(lake, project=project, **reference).status_code == 404
        assert _run_sql(lake, "SELECT note FROM notes", project=project).status_code in (
            400,
            404,
            422,
        )


def test_the_notes_of_whoever_opts_out_are_read_no_more(lake: House) -> None:
    leave(lake, "research")
    rows = must(
        _run_view(lake, project="notes", _format="json", viewReference="ViewDefinition/notes")
    ).json()
    assert rows == []
