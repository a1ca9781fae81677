"""Suspension of an open project: nothing of it runs or leaves until two people resume it."""

from __future__ import annotations

from collections.abc import Collection

from ehr_analytics.project import (
    APPROVALS_NEEDED,
    Project,
    read_project,
    require_independent,
    require_state,
    to_event_detail,
)
from ehr_analytics.register import Register
from ehr_fhir.errors import Forbidden, Unprocessable

__all__ = ["resume_project", "suspend_project"]


def suspend_project(
    register: Register,
    project_id: str,
    login: str,
    reason: str,
    *,
    other_names: Collection[str] = (),
) -> Project:
    """Suspend an open project at once; one person does it alone, of another's project."""
    if not reason.strip():
        raise Unprocessable("Say why the project is suspended: its people read it.")
    with register.transaction() as connection:
        project = read_project(connection, project_id)
        require_state(project, "suspend")
        require_independent(project, {login, *other_names})
        connection.execute("INSERT INTO suspension VALUES (?)", (project_id,))
        register.append_event(
            connection, project_id, login, "suspend", before="open",
            after="suspended", detail=to_event_detail(reason),
        )  # fmt: skip
        return read_project(connection, project_id)


def resume_project(
    register: Register,
    project_id: str,
    login: str,
    *,
    reason: str = "",
    other_names: Collection[str] = (),
) -> Project:
    """Agree that a suspended project goes on; the second of two different people opens it again."""
    names = {login, *other_names}
    with register.transaction() as connection:
        project = read_project(connection, project_id)
        require_state(project, "resume")
        require_independent(project, names)
        agreed = connection.execute(
            "SELECT who FROM event WHERE project = :project AND action = 'resume' AND seq >"
            " (SELECT max(seq) FROM event WHERE project = :project AND action = 'suspend')",
            {"project": project_id},
        ).fetchall()
        if any(row["who"] in names for row in agreed):
            raise Forbidden("You have agreed to it: a different person gives the second.")
        is_last = len(agreed) + 1 >= APPROVALS_NEEDED
        if is_last:
            connection.execute("DELETE FROM suspension WHERE project = ?", (project_id,))
        register.append_event(
            connection, project_id, login, "resume", before="suspended",
            after="open" if is_last else "suspended", detail=to_event_detail(reason),
        )  # fmt: skip
        return read_project(connection, project_id)
