"""Reading a study's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from ehr_analytics import run_log, study
from ehr_fhir.errors import NotFound, Unprocessable
from tests.conftest import ROOT
from tests.lib.research import register

PLAN = ROOT / "tests" / "data" / "studies" / "acute-returns-sql.toml"
TEXT = PLAN.read_text("utf-8")


def changed(tmp_path: Path, old: str, new: str) -> Path:
    assert old in TEXT
    path = tmp_path / "study.toml"
    path.write_text(TEXT.replace(old, new), "utf-8")
    return path


def test_the_committed_study_counts_people_stays_and_returns() -> None:
    plan = study.load_study(PLAN)

    assert plan.count_columns() == ("people", "stays", "returns", "returns_people")
    assert [measure.name for measure in plan.measures] == [
        "overall",
        "by-age-band",
        "by-sex",
        "by-region",
        "by-age-band-and-sex",
        "top-reasons",
    ]


def test_the_digest_of_a_study_is_that_of_its_text(tmp_path: Path) -> None:
    same = changed(tmp_path, "name", "name")
    first = study.load_study(same).digest
    other = changed(tmp_path, "28 days", "30 days")

    assert first == study.load_study(PLAN).digest
    assert study.load_study(other).digest != first


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("[cohort]", 'policy = "midpoint-6"\n[cohort]', "its project's agreement"),
        ('name = "overall"', 'name = "../overall"', "Names"),
        ('name = "overall"', 'name = "by-sex"', "same name"),
        ('by = ["sex"]', 'by = "sex"', "measure.by"),
        ('by = ["sex"]', 'by = ["stays"]', "name of a count"),
        ("[cohort]", "[cohort", "not TOML"),
    ],
)
def test_a_faulty_file_is_refused_by_its_fault(
    tmp_path: Path, old: str, new: str, fault: str
) -> None:
    with pytest.raises(Unprocessable, match=fault):
        study.load_study(changed(tmp_path, old, new))


def test_an_unknown_study_or_run_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        study.load_study(tmp_path / "none.toml")
    with pytest.raises(NotFound):
        study.bundled_study_path("none")
    with pytest.raises(NotFound):
        run_log.get_run(register(tmp_path), "none")
