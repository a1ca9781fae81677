"""The data item `notes.read`: notes are granted whole, as rows, and never to a study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ehr_analytics import project as projects
from ehr_analytics.register import Register
from ehr_fhir.errors import Unprocessable
from tests.lib.research import DRAFT

ITEM = "patient_demographics.gender"


@pytest.mark.parametrize(
    "items",
    [
        (ITEM, "notes.note"),
        (ITEM, projects.READ_ROWS, "notes.note"),
        (ITEM, projects.READ_NOTES),
    ],
)
def test_notes_are_applied_for_as_a_whole_and_as_rows(tmp_path: Path, items: tuple[str]) -> None:
    with pytest.raises(Unprocessable, match="notes are"):
        projects.create_project(Register(tmp_path), replace(DRAFT, items=items))


def test_studies_read_no_notes() -> None:
    project = replace(DRAFT, items=(ITEM, projects.READ_ROWS, projects.READ_NOTES))
    assert projects.NOTES_VIEW not in project.columns_by_view()
    assert project.row_columns_by_view()[projects.NOTES_VIEW] == projects.NOTES_COLUMNS
    assert projects.NOTES_VIEW not in replace(project, items=(ITEM,)).row_columns_by_view()


def test_a_column_of_notes_that_an_old_register_has_is_not_read() -> None:
    assert replace(DRAFT, items=(ITEM, "notes.note")).row_columns_by_view() == {
        "patient_demographics": ("gender",)
    }
