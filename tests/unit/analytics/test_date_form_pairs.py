"""Two forms of dates that undo a shift: nobody works under both, and approvers are warned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ehr_analytics import project as projects
from ehr_analytics.date_form_pairs import find_combined_forms
from ehr_analytics.project_jobs import build_job
from ehr_analytics.query_job import Withheld
from ehr_analytics.register import Register
from ehr_etl.duckdb_session import QueryLimits
from ehr_fhir.errors import Conflict, Unprocessable
from ehr_privacy.deid import DATE_FORMS, DateForm, load_rules
from tests.lib.research import DRAFT, open_project, register

OTHERS = ("researcher.ho", "researcher.yip")
ROWS = (*DRAFT.items, projects.READ_ROWS)


def draft(book: Register, dates: DateForm, people: tuple[str, ...], name: str = "second") -> None:
    project = replace(DRAFT, id=name, applicant=people[0], people=people, dates=dates, items=ROWS)
    projects.create_project(book, project)


@pytest.mark.parametrize("second", DATE_FORMS)
@pytest.mark.parametrize("first", DATE_FORMS)
def test_nobody_works_under_a_shift_and_a_true_form(
    tmp_path: Path, first: DateForm, second: DateForm
) -> None:
    book = register(tmp_path)
    open_project(book, dates=first, items=ROWS)
    draft(book, second, ("researcher.ho", DRAFT.people[1]))
    gives_away = {first, second} in ({"shift", "month"}, {"shift", "quarter"})

    if gives_away:
        with pytest.raises(Unprocessable, match=f"forms of dates {second} and {first} .* days"):
            projects.submit_project(book, "second", "researcher.ho")
    else:
        assert projects.submit_project(book, "second", "researcher.ho").state == "submitted"


def test_extracts_of_a_closed_project_may_have_been_kept(tmp_path: Path) -> None:
    book = register(tmp_path)
    open_project(book, dates="month", items=ROWS)
    projects.close_project(book, DRAFT.id, DRAFT.applicant)
    draft(book, "shift", (DRAFT.applicant,))

    with pytest.raises(Unprocessable):
        projects.submit_project(book, "second", DRAFT.applicant)


def test_who_reads_no_rows_has_no_dates_to_put_together(tmp_path: Path) -> None:
    book = register(tmp_path)
    open_project(book, dates="month")
    draft(book, "shift", (DRAFT.applicant,))

    assert projects.submit_project(book, "second", DRAFT.applicant).state == "submitted"


def test_of_two_that_are_handed_in_at_once_one_is_approved(tmp_path: Path) -> None:
    book = register(tmp_path)
    for name, dates in (("first", "shift"), ("second", "quarter")):
        draft(book, dates, OTHERS, name)  # type: ignore[arg-type]
        projects.submit_project(book, name, OTHERS[0])
    for name in ("first", "second"):
        projects.approve_project(book, name, "steward.ng")
    projects.approve_project(book, "first", "auditor.tse")

    with pytest.raises(Conflict, match="first"):
        projects.approve_project(book, "second", "auditor.tse")

    assert projects.get_project(book, "second").approvers == ("steward.ng",)


def test_approvers_read_what_a_pair_of_other_people_gives_away(tmp_path: Path) -> None:
    book = register(tmp_path)
    open_project(book, dates="month", items=ROWS)
    draft(book, "shift", OTHERS)
    projects.submit_project(book, "second", OTHERS[0])

    second = projects.get_project(book, "second")
    (found,) = find_combined_forms(second, projects.list_projects(book))

    assert (found.project, found.dates, found.share_undone) == (DRAFT.id, "month", 0.9)
    assert not found.has_shared_people
    projects.approve_project(book, "second", "steward.ng")
    assert projects.approve_project(book, "second", "auditor.tse").state == "approved"


@pytest.mark.parametrize(("wanted", "counted"), [(0, None), (25, 25)])
def test_a_project_may_have_a_higher_threshold_of_rare_codes(
    tmp_path: Path, wanted: int, counted: int | None
) -> None:
    book = register(tmp_path)
    project = open_project(book, rare_code_persons=wanted)
    (tmp_path / "keys" / "deid.key").write_bytes(b"k" * 32)

    job = build_job(
        book, project, (), withheld=Withheld(), sql="", media="json", limits=QueryLimits()
    )

    assert job.rare_code_persons == (counted or load_rules().rare_code_persons)


def test_no_project_has_a_lower_threshold_of_rare_codes(tmp_path: Path) -> None:
    least = load_rules().rare_code_persons
    with pytest.raises(Unprocessable, match=f"rare code are {least} or more"):
        projects.create_project(register(tmp_path), replace(DRAFT, rare_code_persons=least - 1))
