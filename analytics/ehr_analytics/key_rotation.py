"""Rotation of a project's key: from the next read on its pseudonyms and shifts are new ones.

There is one generation of a key at a time. What began to read before it ends with the old key, and
what is not released by then has to be run again: its persons lead back no more. The old key is
gone, so rows that somebody kept join with nothing that is read from now on but by what they say.
"""

from __future__ import annotations

from collections.abc import Collection

from ehr_analytics.project import (
    Project,
    project_key_path,
    read_project,
    to_event_detail,
    write_new_key,
)
from ehr_analytics.register import Register
from ehr_fhir.errors import Conflict, Forbidden

__all__ = ["rotate_project_key"]


def rotate_project_key(
    register: Register,
    project_id: str,
    login: str,
    *,
    reason: str = "",
    other_names: Collection[str] = (),
) -> Project:
    """Replace the key of an open or suspended project; one of its approvers may."""
    with register.transaction() as connection:
        project = read_project(connection, project_id)
        if project.state not in ("open", "suspended"):
            raise Conflict(f"Project {project_id} is {project.state}: it has no key.")
        if not {login, *other_names} & {*project.approvers}:
            raise Forbidden("One of the project's approvers replaces its key.")
        register.append_event(
            connection, project_id, login, "rotate-key", before=project.state,
            after=project.state, detail=to_event_detail(reason),
        )  # fmt: skip
        # Before the commit, so that the log never tells of a key that stays.
        write_new_key(project_key_path(register.data, project_id))
    return project
