"""A study of a typed cohort, from its file to the released tables."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.compute as pc
import pytest

from ehr_analytics import airlock, cohort_study, study
from ehr_analytics import project as projects
from ehr_analytics.analyses.plan import ANALYSES
from ehr_analytics.cohorts.project_run import run_project_cohort
from ehr_analytics.disclosure.cell_files import read_cells
from ehr_analytics.run_log import get_run, run_folder
from ehr_fhir.errors import Conflict, NotFound, Unprocessable
from tests.conftest import ROOT
from tests.lib import gold
from tests.lib.acute_stays import list_acute_stays
from tests.lib.research import DRAFT, open_project, register

PLAN = study.bundled_study_path("acute-returns")
TEXT = PLAN.read_text("utf-8")


def test_the_study_counts_what_plain_python_counts(tmp_path: Path) -> None:
    gold.write(tmp_path, gold.made_up(300))
    book = register(tmp_path)
    project = open_project(book)
    stays = list_acute_stays(gold.made_up(300)["encounter_flat"])
    seen = stays[stays["returned"].notna()]
    back = seen[seen["returned"] == 1]

    plan = cohort_study.load_cohort_study(PLAN)
    result, _ = run_project_cohort(book, project, plan.cohort, DRAFT.applicant, withheld=())

    table = result.table
    assert table.num_rows == pytest.approx(seen["patient_id"].nunique(), abs=1)
    # By whole days; the plain one goes by the hour.
    assert pc.sum(table.column("stays")).as_py() == pytest.approx(len(seen), rel=0.02)
    assert pc.sum(table.column("returns")).as_py() == pytest.approx(len(back), rel=0.02)


def test_tables_leave_through_the_airlock_with_no_small_number(tmp_path: Path) -> None:
    gold.write(tmp_path, gold.made_up(300))
    book = register(tmp_path)
    open_project(book)

    run = cohort_study.run_cohort_study(
        book, cohort_study.load_cohort_study(PLAN), DRAFT.applicant, withheld=()
    )
    assert get_run(book, run.id) == run
    assert run.tables == {"patient_demographics": 0, "encounter_flat": 0}
    proposal = airlock.propose_outputs(book, run.id, DRAFT.applicant)
    assert proposal.passed, [check for check in proposal.checks if not check.passed]
    assert not proposal.is_unsafe
    with pytest.raises(Conflict):
        airlock.release_outputs(book, run.id, "steward.ng")
    for checker in ("steward.ng", "auditor.tse"):
        airlock.record_decision(book, run.id, checker, "approve", "fine")
    released = airlock.release_outputs(book, run.id, "steward.ng")

    controls = json.loads((released.folder / "controls.json").read_text("utf-8"))
    assert not controls["unsafe_output"]
    assert {path.stem for path in released.folder.glob("*.csv")} == {
        plan.name for plan in cohort_study.load_cohort_study(PLAN).analyses
    }
    # A plot beside each table that has a count to show.
    plots = {path.stem for path in released.folder.glob("*.png")}
    assert {"attrition", "returned-by-sex", "stays"} <= plots
    counts = [
        int(text)
        for path in released.folder.glob("*.csv")
        for row in csv.DictReader(path.read_text("utf-8").splitlines())
        for column, text in row.items()
        if column == "persons" and text not in ("", "[hidden]")
    ]
    assert counts and not [count for count in counts if count < 8 or count % 5]


def test_the_cells_of_a_run_name_the_projects_own_pseudonyms(tmp_path: Path) -> None:
    gold.write(tmp_path, gold.made_up(30))
    book = register(tmp_path)
    open_project(book)

    run = cohort_study.run_cohort_study(
        book, cohort_study.load_cohort_study(PLAN), DRAFT.applicant, withheld=()
    )

    people = {person for cell in read_cells(run_folder(book, run.id)) for person in cell.persons}
    assert len(people) == 30
    assert not people & set(gold.made_up(30)["patient_demographics"]["id"])


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('kind = "attrition"', 'kind = "rows"', "one of"),
        ('name = "attrition"', 'name = "../attrition"', "small letters"),
        ('name = "attrition"', 'name = "stays"', "same name"),
        ('column = "returned"\nby', 'column = 3\nby', "no option column"),
        ('unit = "days"', 'limit = "days"', "no option limit"),
        ('unit = "days"\n', "", "lacks unit"),
        ('project = "acute-returns"', "", "lacks `project`"),
        ('question = "Who', 'sql = "SELECT 1"\nquestion = "Who', "sql, which is not known"),
        ('by = ["sex"]', 'by = ["days_in_hospital"]', "no label"),
        ('column = "stays"\nunit', 'column = "sex"\nunit', "no number"),
    ],
)  # fmt: skip
def test_a_faulty_study_is_refused_by_its_fault(
    tmp_path: Path, old: str, new: str, fault: str
) -> None:
    assert old in TEXT
    gold.write(tmp_path, gold.made_up(20))
    book = register(tmp_path)
    open_project(book)
    file = tmp_path / "study.toml"
    file.write_text(TEXT.replace(old, new), "utf-8")

    with pytest.raises(Unprocessable, match=fault):
        cohort_study.run_cohort_study(
            book, cohort_study.load_cohort_study(file), DRAFT.applicant, withheld=()
        )


def test_a_closed_project_runs_no_more(tmp_path: Path) -> None:
    gold.write(tmp_path, gold.made_up(20))
    book = register(tmp_path)
    open_project(book)
    projects.close_project(book, DRAFT.id, "steward.ng")

    with pytest.raises(Conflict):
        cohort_study.run_cohort_study(
            book, cohort_study.load_cohort_study(PLAN), DRAFT.applicant, withheld=()
        )
    with pytest.raises(NotFound):
        cohort_study.load_cohort_study(tmp_path / "none.toml")


def test_the_page_names_every_analysis_with_its_options() -> None:
    page = (ROOT / "docs" / "reference" / "analyses.md").read_text("utf-8")

    for kind, analysis in ANALYSES.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{kind}` |"))
        for option in (*analysis.required, *analysis.optional):
            assert f"`{option}`" in row, (kind, option)
