"""Districts and hours in a study: counted from identified records, for projects that may."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from ehr_analytics import airlock, cohort_study
from ehr_analytics.disclosure.cell_files import read_cells
from ehr_analytics.project import COUNT_DISTRICTS, COUNT_HOURS
from ehr_analytics.run_log import run_folder
from ehr_etl.jobs import LocalRunner
from ehr_etl.lake import Lake
from ehr_etl.lake_run import run_once
from ehr_fhir.errors import Unprocessable
from tests.lib.feed_lines import consent, decision_lines, feed_line
from tests.lib.lake_input import KEY, NOW_MS, Pages, encounter, patient
from tests.lib.research import DRAFT, open_project, register

STUDY = """
name = "where-and-when"
project = "where-and-when"
title = "Where people live, and when they come"
question = "From which districts do people come, and at which hours?"
[events.visits]
table = "encounter_flat"
date = "start"
where = [{ column = "class", in = ["EMER"] }]
[index]
events = "visits"
[[column]]
name = "female"
kind = "person"
column = "gender"
in = ["female"]
[[analysis]]
kind = "people_by_district"
name = "districts"
[[analysis]]
kind = "attendances_by_hour"
name = "hours"
"""
ITEMS = (
    "patient_demographics.id",
    "patient_demographics.gender",
    "encounter_flat.patient_id",
    "encounter_flat.class",
    "encounter_flat.start",
)
EMERGENCY = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "EMER"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the lake of 50 people: 30 of Wan Chai, 18 of Sha Tin, 2 of Islands.

    Each came once at 09:00 of Hong Kong, those of Wan Chai a second time at 23:00; one who has not
    joined came too.
    """
    folder = tmp_path_factory.mktemp("places")
    homes = ["灣仔區"] * 30 + ["Sha Tin"] * 18 + ["离岛区"] * 2
    resources = [patient("p-closed", address=[{"district": "North"}]), visit("p-closed", 0, "01")]
    for number, home in enumerate(homes):
        name = f"p-{number}"
        resources += [patient(name, address=[{"district": home}]), consent(name, "joining")]
        resources += [visit(name, 1, "01")] + ([visit(name, 2, "15")] if number < 30 else [])
    lines = [feed_line(number, one) for number, one in enumerate(resources, 1)]
    feed = Pages([b"\n".join([*lines, *decision_lines(resources)])])
    run_once(Lake(folder / "lake"), feed, deid_key=KEY, now_ms=NOW_MS, runner=LocalRunner(1))
    (folder / "keys").mkdir(exist_ok=True)
    (folder / "keys" / "deid.key").write_bytes(KEY)
    return folder


def visit(whose: str, number: int, hour: str) -> dict[str, object]:
    """Return an attendance that begins at an hour of UTC, eight before Hong Kong's."""
    period = {
        "start": f"2026-01-0{number + 1}T{hour}:00:00Z",
        "end": f"2026-01-0{number + 1}T{hour}:30:00Z",
    }
    return encounter(f"{whose}-{number}", whose, **{"class": EMERGENCY, "period": period})


def test_a_study_counts_districts_and_hours_under_the_same_control(data: Path) -> None:
    book = register(data)
    open_project(book, id="where-and-when", items=(*ITEMS, COUNT_DISTRICTS, COUNT_HOURS))
    file = data / "study.toml"
    file.write_text(STUDY, "utf-8")

    run = cohort_study.run_cohort_study(
        book, cohort_study.load_cohort_study(file), DRAFT.applicant, withheld=()
    )
    cells = {cell.labels[0]: cell for cell in read_cells(run_folder(book, run.id))}
    proposal = airlock.propose_outputs(book, run.id, DRAFT.applicant)

    assert {name: cell.value for (_, name), cell in cells.items() if cell.value} == {
        "Wan Chai": 30, "Sha Tin": 18, "Islands": 2, "09": 50, "23": 30,
    }  # fmt: skip
    assert proposal.passed, [check for check in proposal.checks if not check.passed]
    outputs = run_folder(book, run.id) / "outputs"
    assert {path.name for path in outputs.iterdir()} == {
        "districts.csv", "districts.png", "hours.csv", "hours.png",
    }  # fmt: skip
    rows = list(csv.reader((outputs / "districts.csv").read_text("utf-8").splitlines()))
    # Two people of Islands are hidden, and with them a row that would tell them from the total.
    assert "Islands" not in {row[0] for row in rows} and len(rows) >= 2


def test_a_project_that_was_not_granted_them_counts_neither(data: Path) -> None:
    book = register(data)
    open_project(book, id="only-views", items=(*ITEMS, COUNT_HOURS))
    file = data / "other.toml"
    file.write_text(STUDY.replace("where-and-when", "only-views"), "utf-8")

    with pytest.raises(Unprocessable, match=r"may not count districts\.count"):
        cohort_study.run_cohort_study(
            book, cohort_study.load_cohort_study(file), DRAFT.applicant, withheld=()
        )
