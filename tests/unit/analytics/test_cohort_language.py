"""The cohort language: what a file may say, and what no file may."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from typer.testing import CliRunner

from ehr_analytics import study_cli
from ehr_analytics.cohorts import parse_cohort
from ehr_analytics.cohorts.checks import check_cohort
from ehr_analytics.cohorts.compiler import compile_cohort
from ehr_analytics.cohorts.dialects import DUCKDB
from ehr_analytics.cohorts.duckdb_engine import run_on_duckdb
from ehr_analytics.cohorts.project_run import find_sources, list_data_items, run_project_cohort
from ehr_analytics.cohorts.result import build_result
from ehr_analytics.cohorts.sources import list_omop_sources, source_of_view
from ehr_analytics.project import read_project_key
from ehr_analytics.project_dates import ProjectDates
from ehr_etl.gold.library import list_library_names, list_view_names, load_library_view, load_view
from ehr_etl.lake import Lake
from ehr_etl.omop.cdm import table_name
from ehr_etl.omop.identifiers import person_key
from ehr_etl.tables.bucketed import create_tables
from ehr_fhir.errors import EhrError, Fault, Forbidden, Unprocessable
from ehr_privacy.deid import derive_date_key
from tests.conftest import ROOT
from tests.lib import gold
from tests.lib.cohorts import SOURCES
from tests.lib.research import ANY_PLATFORM, DRAFT, open_project, register

FIRST_STROKE = (files("ehr_analytics") / "cohorts/library/first-stroke.toml").read_text("utf-8")
PAGE = (ROOT / "docs" / "reference" / "cohorts.md").read_text("utf-8")
SMALL = """
name = "seen"
[events.visits]
table = "encounter_flat"
date = "start"
[index]
events = "visits"
"""


def document(text: str) -> Any:
    return tomllib.loads(text, parse_float=Decimal)


def column(**keys: object) -> Mapping[str, Any]:
    return {**document(SMALL), "column": [{"name": "c", **keys}]}


def test_the_page_shows_the_cohort_that_comes_with_the_platform() -> None:
    shown = re.search(r"```toml\n(.*?)```", PAGE, re.S)

    assert shown is not None and shown[1] == FIRST_STROKE


def test_every_view_that_is_of_a_patient_names_the_person(tmp_path: Path) -> None:
    views = [load_view(name) for name in list_view_names()]
    views += [load_library_view(name) for name in list_library_names()]

    people = {view.name: source_of_view(view).person for view in views}

    assert people["patient_demographics"] == "id"
    assert set(people.values()) == {"id", "patient_id"}
    assert {source.person for source in list_omop_sources().values()} == {"person_id"}


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"kind": "index", "column": "id"}, "key"),
        ({"kind": "index", "column": "patient_id"}, "key"),
        ({"kind": "distinct", "events": "visits", "column": "patient_id"}, "not counted"),
        ({"kind": "index", "column": "start"}, "date"),
        ({"kind": "person", "column": "region", "top": 5}, "cannot show a text"),
        ({"kind": "person", "column": "region"}, "cannot show a text"),
        ({"kind": "index", "column": "class"}, "cannot show a code"),
        ({"kind": "index", "column": "class", "top": 1000}, "1 to 50"),
        ({"kind": "index", "column": "class", "values": [f"c{n}" for n in range(200)]}, "labels"),
        ({"kind": "index", "column": "class", "values": ["a'b"]}, "not allowed"),
        ({"kind": "index", "column": "class", "values": ["a\\b"]}, "not allowed"),
        ({"kind": "index", "column": "class", "in": ["x\u2028"]}, "cannot be asked"),
        ({"kind": "index", "column": "class", "from": 3}, "cannot be asked"),
        ({"kind": "index", "column": "class", "in": [True]}, "cannot be asked"),
        ({"kind": "age", "from": Decimal("Infinity")}, "cannot be asked"),
        ({"kind": "age", "from": True}, "wrong type"),
        ({"kind": "age", "bands": [65, 18]}, "rise"),
        ({"kind": "age", "bands": [1], "top": 3}, "more than one form"),
        ({"kind": "age", "sql": "SELECT 1"}, "sql, which is not known"),
        ({"kind": "median"}, "none of"),
        ({"kind": "count", "events": "nobody"}, "not there"),
        ({"kind": "count", "events": "visits", "from_days": -10**9}, "allowed"),
        ({"kind": "count", "events": "visits", "from_days": "-1"}, "wrong type"),
        ({"kind": "index_period", "column": "month"}, "index.since"),
        ({"kind": "age", "name": "person"}, "taken twice"),
        ({"kind": "age", "name": 'x" FROM people'}, "not allowed"),
    ],
)  # fmt: skip
def test_a_column_that_could_carry_a_row_out_is_refused(
    keys: Mapping[str, object], fault: str
) -> None:
    with pytest.raises(Unprocessable, match=fault):
        check_cohort(parse_cohort(column(**keys)), SOURCES)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('table = "encounter_flat"', 'table = "silver"', "no table of persons"),
        ('table = "encounter_flat"', 'table = "encounter_flat e JOIN x"', "no table of persons"),
        ('date = "start"', 'date = "class"', "no date"),
        ('date = "start"', 'date = "start"\nperson = "class"', "person, which is not known"),
        ('date = "start"', 'date = "start"\nmerge_gap_days = 1', "need an `end`"),
        ("[events.visits]", '[events."visits; DROP"]', "not allowed"),
        ('events = "visits"', 'events = "visits"\npick = "any"', "first or last"),
        ('events = "visits"', 'events = "visits"\nlookback_days = 3', "come together"),
        ('name = "seen"', 'name = "seen"\nmodel = "silver"', "views or omop"),
        ('name = "seen"', 'name = "Seen"', "not allowed"),
        ('name = "seen"', 'name = 3', "wrong type"),
        ('name = "seen"', "", "lacks `name`"),
        ("[index]", "[index.index]", "not known|lacks"),
    ],
)  # fmt: skip
def test_a_faulty_cohort_is_refused_by_its_fault(old: str, new: str, fault: str) -> None:
    assert old in SMALL
    with pytest.raises(Unprocessable, match=fault):
        check_cohort(parse_cohort(document(SMALL.replace(old, new))), SOURCES)


def test_many_rows_of_one_person_are_one_person() -> None:
    # Ten copies of each encounter once made ten people of one.
    frames = {name: pa.Table.from_pandas(frame) for name, frame in gold.made_up(5).items()}
    frames["encounter_flat"] = pa.concat_tables([frames["encounter_flat"]] * 10)
    sources = {
        name: source_of_view(load_view(name)) for name in ("encounter_flat", "patient_demographics")
    }
    cohort = parse_cohort(document(SMALL))

    rows = run_on_duckdb(compile_cohort(cohort, sources, DUCKDB), frames.__getitem__, "key")
    result = build_result(cohort, rows)

    assert result.table.num_rows == result.people.num_rows == 5
    assert [step.persons for step in result.attrition] == [5, 5, 5]


def test_a_table_of_persons_that_names_somebody_twice_gives_no_cohort() -> None:
    frames = {name: pa.Table.from_pandas(frame) for name, frame in gold.made_up(5).items()}
    frames["patient_demographics"] = pa.concat_tables([frames["patient_demographics"]] * 2)
    cohort = parse_cohort(document(SMALL))
    sources = {
        name: source_of_view(load_view(name)) for name in ("encounter_flat", "patient_demographics")
    }
    rows = run_on_duckdb(compile_cohort(cohort, sources, DUCKDB), frames.__getitem__, "key")

    with pytest.raises(Fault):
        build_result(cohort, rows)


def test_a_code_of_few_people_is_no_label() -> None:
    cohort = parse_cohort(column(kind="index", column="class", top=5))
    codes = ["common"] * 12 + ["less"] * 10 + ["rare"] * 9 + [None]
    rows = pa.table({
        "person": [str(number) for number in range(32)],
        "left_at": [0] * 32,
        "index_date": [None] * 32,
        "c": codes,
    })  # fmt: skip

    result = build_result(cohort, rows)

    assert result.domains["c"] == ("common", "less", "other", "not recorded")
    assert result.table.column("c").to_pylist()[21:23] == ["less", "other"]
    assert result.table.column("c").to_pylist()[-1] == "not recorded"


def test_a_project_runs_a_cohort_on_its_columns_under_its_own_pseudonyms(tmp_path: Path) -> None:
    gold.write(tmp_path, gold.made_up(40))
    book = register(tmp_path)
    file = tmp_path / "seen.toml"
    file.write_text(SMALL, "utf-8")
    cohort = parse_cohort(document(SMALL))
    items = list_data_items(cohort, find_sources(Lake(tmp_path / "lake"), cohort))
    first = open_project(book, id="first", items=items)
    second = open_project(book, id="second", items=items)
    narrow = open_project(book, id="narrow", items=items[:-1])

    people = []
    for project in (first, second):
        result, versions = run_project_cohort(book, project, cohort, DRAFT.applicant, withheld=())
        assert versions == {"patient_demographics": 0, "encounter_flat": 0}
        people.append(set(result.table.column("person").to_pylist()))

    assert items == (
        "patient_demographics.id", "encounter_flat.patient_id", "encounter_flat.start",
    )  # fmt: skip
    assert len(people[0]) == 40 and not people[0] & people[1]
    assert not people[0] & set(gold.made_up(40)["patient_demographics"]["id"])
    with pytest.raises(Unprocessable, match=r"may not read encounter_flat\.start"):
        run_project_cohort(book, narrow, cohort, DRAFT.applicant, withheld=())
    with pytest.raises(Forbidden):
        run_project_cohort(book, first, cohort, "steward.ng", withheld=())

    create_tables(Lake(tmp_path / "lake"))
    shown = CliRunner().invoke(
        study_cli.app,
        [
            *("cohort", str(file), "--project", "first", "--as", DRAFT.applicant),
            *("--data", str(tmp_path)),
        ],
        obj=ANY_PLATFORM,
    )
    assert shown.exit_code == 0, shown.output
    # 40 is shown as the middle of 37 to 42.
    assert re.findall(r"index event\D+(\d+)", shown.output) == ["39"]
    assert [event.action for event in book.events("first")][-1] == "cohort"


def test_two_projects_read_other_persons_of_the_cdm(tmp_path: Path) -> None:
    gold.write(tmp_path, gold.made_up(40))
    patients = list(gold.made_up(40)["patient_demographics"]["id"])
    numbers = [person_key(patient) for patient in patients]
    lake, day = Lake(tmp_path / "lake"), date(2026, 3, 1)
    persons = {"person_id": numbers}
    visits = {**persons, "visit_start_date": [day] * len(numbers)}
    for name, rows in (("person", persons), ("visit_occurrence", visits)):
        path = lake.table_path(table_name(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_deltalake(str(path), pa.table(rows))
    cohort = parse_cohort(
        document(SMALL.replace('"seen"', '"seen"\nmodel = "omop"', 1)
                 .replace("encounter_flat", "visit_occurrence")
                 .replace('"start"', '"visit_start_date"'))
    )  # fmt: skip
    book = register(tmp_path)
    items = list_data_items(cohort, find_sources(lake, cohort))

    people = []
    for name in ("first", "second"):
        project = open_project(book, id=name, items=items)
        result, _ = run_project_cohort(book, project, cohort, DRAFT.applicant, withheld=())
        people.append(set(result.table.column("person").to_pylist()))

    result, _ = run_project_cohort(
        book, project, cohort, DRAFT.applicant, withheld={patients[0], "0" * 32}
    )
    assert people[1] - set(result.table.column("person").to_pylist()) == {
        hashlib.sha256(f"{read_project_key(tmp_path, 'second')}{numbers[0]}".encode()).hexdigest()
    }
    quarters = open_project(book, id="quarters", items=items, dates="quarter")
    result, _ = run_project_cohort(book, quarters, cohort, DRAFT.applicant, withheld=())
    of_lake = ProjectDates("quarter", derive_date_key(b"k" * 32), "")
    assert sorted(result.table.column("index_date").to_pylist()) == sorted(
        of_lake.show(day, patient, "") for patient in patients
    )
    assert [len(each) for each in people] == [40, 40]
    assert not people[0] & people[1]
    assert {len(str(person)) for person in people[0] | people[1]} == {64}


@pytest.mark.parametrize("more", ["", '[[analysis]]\nkind = "attrition"\nname = "flow"\n'])
def test_the_command_lists_the_data_items_that_a_cohort_or_study_needs(
    tmp_path: Path, more: str
) -> None:
    file = tmp_path / "seen.toml"
    file.write_text(f'project = "seen"\nquestion = "Who?"\n{SMALL}\n{more}', "utf-8")

    shown = CliRunner().invoke(study_cli.app, ["cohort", str(file), "--data", str(tmp_path)])

    assert shown.output.split() == [
        "patient_demographics.id", "encounter_flat.patient_id", "encounter_flat.start",
    ]  # fmt: skip


def test_no_engine_error_shows_a_value(tmp_path: Path) -> None:
    # A column of another type than the schema says: the message has no row's value.
    frames = {name: pa.Table.from_pandas(frame) for name, frame in gold.made_up(3).items()}
    people = frames["patient_demographics"]
    frames["patient_demographics"] = people.set_column(2, "birth_year", [["secret"] * 3])
    sources = {
        name: source_of_view(load_view(name)) for name in ("encounter_flat", "patient_demographics")
    }
    compiled = compile_cohort(parse_cohort(column(kind="age")), sources, DUCKDB)

    with pytest.raises(EhrError) as caught:
        run_on_duckdb(compiled, frames.__getitem__, "key")

    assert "secret" not in str(caught.value)
