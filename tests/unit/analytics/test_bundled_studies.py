"""Studies that come with the platform: they run, find what is there, and plot what may leave."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from ehr_analytics import airlock, cohort_study, study
from ehr_analytics.cohorts.project_run import find_sources, list_data_items
from ehr_analytics.register import Register
from ehr_etl.lake import Lake
from tests.conftest import ROOT
from tests.lib.research import DRAFT, open_project, register
from tests.lib.study_population import make_population, write_population

STUDIES = sorted(
    path.stem for path in Path(study.bundled_study_path("acute-returns")).parent.iterdir()
)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Register:
    """Return a register beside a lake of 8,000 made-up people."""
    data = tmp_path_factory.mktemp("studies")
    write_population(data, make_population(8_000))
    return register(data)


@pytest.mark.parametrize("name", ["length-of-stay", "polypharmacy"])
def test_a_study_that_comes_along_leaves_tables_and_plots(name: str, book: Register) -> None:
    outputs = propose(name, book)

    plotted = {path.stem for path in outputs.glob("*.png")}
    assert len(plotted) >= len(list(outputs.glob("*.csv"))) - 2


def test_drugs_are_paired_with_the_outcome_that_they_have(book: Register) -> None:
    outputs = propose("drug-outcomes", book)

    rows = list(csv.DictReader((outputs / "pairs.csv").read_text("utf-8").splitlines()))
    ratios = {
        (row["exposure"], row["outcome"]): float(row["risk-ratio of ratio"])
        for row in rows
        if row["measure"] == "risk ratio" and row["risk-ratio of ratio"] != "[hidden]"
    }
    # Made up so: bleeding in 6 % of those with an anti-inflammatory and in 2 % of the others.
    # A ratio goes with a count that is hidden for others: by the people drawn, which of the nine.
    assert ratios.get(("anti_inflammatory", "bleeds"), 3) == pytest.approx(3, rel=0.3)
    admitted = [ratio for (_, outcome), ratio in ratios.items() if outcome == "admitted"]
    assert admitted == [pytest.approx(1, rel=0.2)] * len(admitted)
    assert len(ratios) >= 3
    plotted = {path.stem for path in outputs.glob("*.png")}
    assert {"pairs", "time-to-bleeding"} <= plotted
    # By the people drawn, no hazard ratio may leave, and then there is nothing to plot.
    hazards = csv.DictReader((outputs / "hazards-of-bleeding.csv").read_text("utf-8").splitlines())
    are_shown = any(
        row["hazard-ratio of ratio"] != "[hidden]"
        for row in hazards
        if row["measure"] == "hazard ratio"
    )
    assert ("hazards-of-bleeding" in plotted) == are_shown


def test_the_page_names_every_study_that_comes_along() -> None:
    page = (ROOT / "docs" / "reference" / "analyses.md").read_text("utf-8")

    assert [name for name in STUDIES if f"| `{name}` |" not in page] == []


def propose(name: str, book: Register) -> Path:
    """Run a study in a project of its own; return the folder of what may leave."""
    plan = cohort_study.load_cohort_study(study.bundled_study_path(name))
    items = list_data_items(plan.cohort, find_sources(Lake(book.data / "lake"), plan.cohort))
    open_project(book, id=plan.project, items=items)
    run = cohort_study.run_cohort_study(book, plan, DRAFT.applicant, withheld=())
    proposal = airlock.propose_outputs(book, run.id, DRAFT.applicant)
    assert proposal.passed, [check for check in proposal.checks if not check.passed]
    return book.folder / "runs" / run.id / "outputs"
