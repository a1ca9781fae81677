"""A study on Delta tables, from the approved project to the released files."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from ehr_analytics import airlock, run_log, sql_guard, study, study_run
from ehr_analytics import project as projects
from ehr_analytics.demo import run_approved_study
from ehr_analytics.gold_views import open_gold_views
from ehr_analytics.project_dates import open_project_dates
from ehr_analytics.register import Register
from ehr_analytics.release_crate import CRATE_FILE
from ehr_etl.lake import TABLES, Lake
from ehr_etl.tables.bucketed import append_rows, create_tables
from ehr_fhir.errors import Conflict, Forbidden, Unavailable, Unprocessable
from tests.conftest import ROOT
from tests.lib import gold
from tests.lib.acute_stays import list_acute_stays
from tests.lib.research import DATES, open_project, register

pytestmark = pytest.mark.spark

PLAN = ROOT / "tests" / "data" / "studies" / "acute-returns-sql.toml"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder with gold tables of 300 made-up people."""
    folder = tmp_path_factory.mktemp("research")
    gold.write(folder, gold.made_up(300))
    return folder


@pytest.fixture(scope="module")
def done(spark: SparkSession, data: Path) -> tuple[Register, run_log.Run]:
    """Return an open project's register and one run of its study."""
    book = register(data)
    open_project(book)
    return book, study_run.run_study(
        book, spark, study.load_study(PLAN), "researcher.lau", withheld=()
    )


def test_the_run_log_says_who_when_which_code_and_which_table_versions(
    done: tuple[Register, run_log.Run],
) -> None:
    book, run = done

    logged = run_log.get_run(book, run.id)

    assert logged == run
    assert run.state == "done"
    assert (run.who, run.at) == ("researcher.lau", "2026-11-22T08:30:00+00:00")
    assert run.tables == {"patient_demographics": 0, "encounter_flat": 0}
    assert re.fullmatch("[0-9a-f]{64}", run.code)
    assert [e.action for e in book.events("acute-returns")][-1] == "run"


def _show_dates(book: Register, encounters: pd.DataFrame) -> pd.DataFrame:
    """Return encounters as the project reads them: which stays are followed to their end hangs on
    the last day of all, and each patient's dates have moved."""
    key = projects.read_project_key(book.data, "acute-returns")
    dates = open_project_dates(book.data, "shift", key)

    def show(text: str, patient: str) -> str:
        return f"{dates.show(date.fromisoformat(text[:10]), patient, '')}{text[10:]}"

    people = encounters["patient_id"]
    shown = {name: list(map(show, encounters[name], people)) for name in ("start", "end")}
    return encounters.assign(**shown)


def test_the_cohort_counts_what_plain_python_counts(
    done: tuple[Register, run_log.Run], data: Path
) -> None:
    book, run = done
    stays = list_acute_stays(_show_dates(book, gold.made_up(300)["encounter_flat"]))
    seen = stays[stays["returned"].notna()]
    back = seen[seen["returned"] == 1]

    raw = run_log.run_folder(book, run.id) / "raw" / "overall.csv"
    with raw.open(newline="") as lines:
        row = next(csv.DictReader(lines))

    assert row == {
        "people": str(seen["patient_id"].nunique()),
        "stays": str(len(seen)),
        "returns": str(len(back)),
        "returns_people": str(back["patient_id"].nunique()),
    }


def test_nothing_is_released_before_two_other_people_approve(
    done: tuple[Register, run_log.Run], data: Path
) -> None:
    book, run = done

    with pytest.raises(Conflict):
        airlock.record_decision(book, run.id, "steward.ng", "approve", "fine", is_unsafe=True)
    assert airlock.propose_outputs(book, run.id, "researcher.lau").passed
    with pytest.raises(Forbidden):
        airlock.record_decision(book, run.id, "researcher.lau", "approve", "mine", is_unsafe=True)
    airlock.record_decision(book, run.id, "steward.ng", "approve", "fine", is_unsafe=True)
    with pytest.raises(Forbidden, match="different person"):
        airlock.record_decision(book, run.id, "steward.ng", "approve", "fine", is_unsafe=True)
    with pytest.raises(Conflict, match="1 approvals"):
        airlock.release_outputs(book, run.id, "steward.ng")

    assert not (data / "research" / "released" / "acute-returns" / run.id).exists()


def test_no_small_count_is_in_the_released_files_and_each_has_its_controls(
    spark: SparkSession, tmp_path: Path
) -> None:
    gold.write(tmp_path, gold.made_up(60, seed=7))

    report = run_approved_study(spark, tmp_path, study_file=PLAN)

    controls = json.loads((report.folder / "controls.json").read_text())
    assert {path.name for path in report.folder.iterdir()} == set(report.files)
    assert {entry["file"] for entry in controls["files"]} == set(report.files) - {
        "controls.json",
        CRATE_FILE,
    }
    assert [c["person"] for c in controls["checkers"]] == ["steward.ng", "auditor.tse"]
    assert controls["tables"] == {"patient_demographics": 0, "encounter_flat": 0}
    assert all(entry["controls"]["policy"] for entry in controls["files"])
    shown = [
        int(row[count])
        for path in report.folder.glob("*.csv")
        for row in csv.DictReader(path.read_text().splitlines())
        for count in ("people", "stays", "returns", "returns_people")
        if row[count] != "[hidden]"
    ]
    assert shown and not [count for count in shown if count < 8 or count % 5]
    assert report.cells_hidden > 0


def test_outputs_changed_after_the_check_do_not_leave(
    spark: SparkSession, done: tuple[Register, run_log.Run]
) -> None:
    book, _ = done
    plan = study.load_study(PLAN)
    short = study.Study(**{**plan.__dict__, "measures": plan.measures[:1]})
    run = study_run.run_study(book, spark, short, "researcher.lau", withheld=())
    airlock.propose_outputs(book, run.id, "researcher.lau")
    for checker in ("steward.ng", "auditor.tse"):
        airlock.record_decision(book, run.id, checker, "approve", "fine", is_unsafe=True)
    (run_log.run_folder(book, run.id) / "outputs" / "overall.csv").write_text("people\n3\n")

    with pytest.raises(Conflict, match="not the ones that were checked"):
        airlock.release_outputs(book, run.id, "steward.ng")


def test_a_column_that_was_not_approved_is_not_there(spark: SparkSession, data: Path) -> None:
    book = register(data)
    items = ("patient_demographics.gender", "encounter_flat.patient_id")
    open_project(book, id="narrow", items=items)
    plan = study.load_study(PLAN)
    narrow = study.Study(**{**plan.__dict__, "project": "narrow"})

    with pytest.raises(Unprocessable, match="UNRESOLVED_COLUMN"):
        study_run.run_study(book, spark, narrow, "researcher.lau", withheld=())


def test_a_study_of_sql_reads_no_row_of_whoever_opted_out(
    spark: SparkSession, tmp_path: Path
) -> None:
    views = {
        name: frame.assign(_key=name + frame["id"]) for name, frame in gold.made_up(60).items()
    }
    gold.write(tmp_path, views)
    first, second, *_ = views["patient_demographics"]["id"]
    stays = views["encounter_flat"]
    # A visit of the second, which names the first as well, has no patient of its own.
    [shared, *_] = stays[stays["patient_id"] == second]["_key"]
    records = [
        {
            "bucket": 0, "type": "Patient", "id": row["_key"],
            "patient": None if row["_key"] == shared else row.get("patient_id", row["id"]),
            "resource": f'{{"Patient/{second}": "Patient/{first}"}}',
        }
        for frame in views.values()
        for row in frame.to_dict("records")
    ]  # fmt: skip
    deid = pa.Table.from_pylist(records, schema=TABLES["deid"].schema)
    create_tables(Lake(tmp_path / "lake"))
    append_rows(Lake(tmp_path / "lake"), "deid", deid)
    book = register(tmp_path)
    project = open_project(book)
    key = projects.read_project_key(tmp_path, project.id)
    columns = project.columns_by_view()

    left_out = study_run._select_records(spark, tmp_path, {first})
    gold_views = open_gold_views(tmp_path, columns)
    study_run.create_temporary_views(spark, gold_views, key, DATES, left_out)

    people = {row[0] for row in spark.sql("SELECT id FROM patient_demographics").collect()}
    assert len(people) == 59
    assert hashlib.sha256(f"{key}{first}".encode()).hexdigest() not in people
    read = spark.sql("SELECT count(*) FROM encounter_flat").collect()[0][0]
    assert read == len(stays) - sum(stays["patient_id"] == first) - 1


def test_a_project_sees_pseudonyms_of_its_own(spark: SparkSession, data: Path) -> None:
    book = register(data)
    open_project(book, id="keyed", items=("patient_demographics.id",))
    plan = study.load_study(PLAN)
    keyed = study.Study(
        **{
            **plan.__dict__,
            "project": "keyed",
            "sql": "SELECT id AS patient_id, id AS reason, true AS returned"
            " FROM patient_demographics",
            "measures": (study.Measure("ids", "Ids", ("reason",)),),
        }
    )

    run = study_run.run_study(book, spark, keyed, "researcher.lau", withheld=())

    raw = (run_log.run_folder(book, run.id) / "raw" / "ids.csv").read_text()
    assert not [patient for patient in gold.made_up(300)["patient_demographics"]["id"]
                if patient in raw]  # fmt: skip
    # And a pseudonym as a stratum is a row about one person: it does not get as far as the door.
    airlock.propose_outputs(book, run.id, "researcher.lau")
    ready = (run_log.run_folder(book, run.id) / "outputs" / "ids.csv").read_text()
    assert ready.splitlines() == ["reason,people,stays,returns,returns_people"]


# Ten copies of each person: what a study may want to count as ten people.
COPIES = """
SELECT {person} AS patient_id, e.reason_code AS reason, true AS returned
FROM encounter_flat e JOIN patient_demographics p ON p.id = e.patient_id
JOIN (SELECT row_number() OVER (ORDER BY id) AS n FROM patient_demographics) x ON x.n <= 10
"""
# And what the first guard does not let through: the second would hold by itself.
UNGUARDED = ["md5(p.id || x.n)", "md5(p.id)", "sha2(p.id, 256)", "uuid()"]
MADE_UP = [
    "concat(p.id, x.n)", "p.id || x.n", "x.n", "'somebody'", "cast(x.n AS string)",
    "cast(p.birth_year AS string)",
    "concat(p.id, '-', cast(x.n AS string))", "upper(p.id)", "substring(p.id, 1, 63)",
    "lpad(p.id, 65, '0')", "e.id", "coalesce(nullif(p.id, p.id), concat(p.id, x.n))",
    "CASE WHEN x.n = 1 THEN p.id ELSE concat(p.id, x.n) END",
    "(SELECT concat(max(q.id), 'x') FROM patient_demographics q)",
]  # fmt: skip


def copied(person: str) -> study.Study:
    """Return a study of its own SQL that says so of whom each row is."""
    plan = study.load_study(PLAN)
    measures = (study.Measure("all", "All", ()),)
    sql = COPIES.format(person=person)
    return study.Study(**{**plan.__dict__, "project": "copies", "sql": sql, "measures": measures})


@pytest.fixture(scope="module")
def copying(data: Path) -> Register:
    """Return the register with a project that may read what the copies are made of."""
    book = register(data)
    columns = ("id", "birth_year"), ("id", "patient_id", "reason_code")
    views = ("patient_demographics", "encounter_flat")
    items = [f"{view}.{name}" for view, names in zip(views, columns, strict=True) for name in names]
    open_project(book, id="copies", items=tuple(items))
    return book


@pytest.mark.parametrize("person", [*MADE_UP, *UNGUARDED])
def test_a_study_that_makes_people_up_is_refused(
    spark: SparkSession, copying: Register, person: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if person in UNGUARDED:
        with pytest.raises(Unprocessable):
            sql_guard.check_sql_text(copied(person).sql, {"patient_demographics", "encounter_flat"})
        monkeypatch.setattr(sql_guard, "check_sql_text", lambda sql, views: None)

    with pytest.raises(Unprocessable, match="whom the platform does not"):
        study_run.run_study(copying, spark, copied(person), "researcher.lau", withheld=())

    assert not [run for run in run_log.list_runs(copying) if run.project == "copies"]


def test_copies_of_a_persons_rows_are_one_person(spark: SparkSession, data: Path) -> None:
    book = register(data)
    items = ("patient_demographics.id", "encounter_flat.patient_id", "encounter_flat.reason_code")
    open_project(book, id="counted", items=items)
    counted = study.Study(**{**copied("trim(p.id)").__dict__, "project": "counted"})

    run = study_run.run_study(book, spark, counted, "researcher.lau", withheld=())

    with (run_log.run_folder(book, run.id) / "raw" / "all.csv").open(newline="") as lines:
        [row] = csv.DictReader(lines)
    visits = gold.made_up(300)["encounter_flat"]
    assert int(row["people"]) == visits["patient_id"].nunique()
    assert int(row["stays"]) == 10 * len(visits)


def test_a_cohort_spark_does_not_understand_is_refused(spark: SparkSession, data: Path) -> None:
    book = register(data)
    open_project(book, id="wrong")
    sql = "SELECT no_such_column FROM encounter_flat"
    wrong = study.Study(**{**study.load_study(PLAN).__dict__, "project": "wrong", "sql": sql})

    with pytest.raises(Unprocessable, match="UNRESOLVED_COLUMN"):
        study_run.run_study(book, spark, wrong, "researcher.lau", withheld=())


def test_a_closed_project_runs_no_more(spark: SparkSession, data: Path) -> None:
    book = register(data)
    open_project(book, id="over")
    projects.close_project(book, "over", "steward.ng")
    over = study.Study(**{**study.load_study(PLAN).__dict__, "project": "over"})

    with pytest.raises(Conflict, match="closed"):
        study_run.run_study(book, spark, over, "researcher.lau", withheld=())


def test_without_the_lake_the_study_says_what_to_do(spark: SparkSession, tmp_path: Path) -> None:
    book = register(tmp_path)
    open_project(book)

    with pytest.raises(Unavailable, match="ehr lake run"):
        study_run.run_study(book, spark, study.load_study(PLAN), "researcher.lau", withheld=())


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM delta.`/lake/silver`",
        "SELECT * FROM (SELECT * FROM silver)",
        "SELECT (SELECT max(id) FROM silver) FROM encounter_flat",
        "SELECT * FROM encounter_flat WHERE EXISTS (SELECT 1 FROM silver)",
        "SELECT * FROM range(3)",
        "SELECT TRANSFORM(id) USING 'cat' AS x FROM encounter_flat",
        "INSERT INTO encounter_flat SELECT 1",
        "CREATE TABLE x AS SELECT 1",
        "SELECT * FROM IDENTIFIER('silver')",
        "SHOW TABLES",
    ],
)
def test_the_second_guard_alone_refuses_what_sparks_parser_sees(
    spark: SparkSession, sql: str
) -> None:
    with pytest.raises(Unprocessable):
        sql_guard.check_sql_plan(spark, sql, {"encounter_flat"})


def test_the_second_guard_takes_the_committed_study(spark: SparkSession) -> None:
    views = {"encounter_flat", "patient_demographics"}

    sql_guard.check_sql_plan(spark, study.load_study(PLAN).sql, views)
