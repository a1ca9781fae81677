"""A project's key is replaced by an approver, whole and on record; what was read joins no more."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from ehr_analytics import project as projects
from ehr_analytics.disclosure.lake_persons import find_lake_pseudonyms
from ehr_analytics.key_rotation import rotate_project_key
from ehr_analytics.project_dates import open_project_dates
from ehr_fhir.errors import Conflict, Forbidden
from tests.lib import gold
from tests.lib.research import DRAFT, open_project, register


def test_a_new_key_gives_other_pseudonyms_and_shifts_and_old_ones_lead_nowhere(
    tmp_path: Path,
) -> None:
    gold.write(tmp_path, gold.made_up(3))
    book = register(tmp_path)
    project = open_project(book)
    old = projects.read_project_key(tmp_path, project.id)
    dates = open_project_dates(tmp_path, project.dates, old)

    rotate_project_key(book, project.id, "steward.ng", reason="An extract was lost.")

    path = projects.project_key_path(tmp_path, project.id)
    new = projects.read_project_key(tmp_path, project.id)
    assert new != old and len(new) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert open_project_dates(tmp_path, project.dates, new).project_key != dates.project_key
    last = book.events(project.id)[-1]
    assert (last.action, last.before, last.after) == ("rotate-key", "open", "open")
    assert last.detail == {"reason": "An extract was lost."}
    # A run of before has persons of the old key: it is not released.
    with pytest.raises(Conflict, match="run the study again"):
        find_lake_pseudonyms(tmp_path, new, ["0" * 64])


def test_only_an_approver_replaces_the_key_of_a_project_that_has_one(tmp_path: Path) -> None:
    book = register(tmp_path)
    project = open_project(book)
    key = projects.read_project_key(tmp_path, project.id)

    for login in (DRAFT.applicant, "steward.other"):
        with pytest.raises(Forbidden):
            rotate_project_key(book, project.id, login)
    assert projects.read_project_key(tmp_path, project.id) == key

    projects.close_project(book, project.id, DRAFT.applicant)
    with pytest.raises(Conflict):
        rotate_project_key(book, project.id, "steward.ng")
    assert not projects.project_key_path(tmp_path, project.id).exists()
