"""Who may read rows: the people of an open project whose approvers granted it."""

from __future__ import annotations

from ehr_analytics import project as projects
from ehr_analytics.register import Register
from ehr_fhir.errors import Forbidden, NotFound

__all__ = ["require_own_views", "require_row_project"]


def require_row_project(register: Register, login: str, project_id: str) -> projects.Project:
    """Return a project whose rows a person may read now; refuse whoever may not."""
    try:
        project = projects.get_project(register, project_id)
    except NotFound:
        project = None
    # A project that is not yours and one that is not there are the same answer.
    if project is None or login not in project.people:
        raise NotFound(f"You have no project {project_id!r}.")
    projects.require_open_for(register, project, login)
    if not project.may_read_rows:
        raise Forbidden(
            f"Project {project_id} may not read rows: run a study, or apply for the data item"
            f" {projects.READ_ROWS}."
        )
    return project


def require_own_views(project: projects.Project) -> None:
    """Refuse a view of a person's own in a project whose approvers did not grant it."""
    if not project.may_run_own_views:
        raise Forbidden(
            f"Project {project.id} may not run views of its own: name a view by reference, or"
            f" apply for the data item {projects.OWN_VIEWS}."
        )
