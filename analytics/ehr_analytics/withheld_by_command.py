"""Whom a run by a command on the data folder leaves out, as the gateway's store tells."""

from __future__ import annotations

import typer

from ehr_analytics import project as projects
from ehr_analytics.people import Person, get_platform
from ehr_analytics.register import Register
from ehr_analytics.withheld import find_withheld_people

__all__ = ["find_withheld_by_command"]


def find_withheld_by_command(
    context: typer.Context, register: Register, project_id: str, who: Person
) -> frozenset[str]:
    """Return the pseudonyms of the people whom a run that begins now leaves out.

    Raises as the run would where the project is not open for who takes the step.
    """
    project = projects.get_project(register, project_id)
    projects.require_open_for(register, project, who.name, other_names=who.names)
    with get_platform(context).open_changes(register.data) as changed:
        return find_withheld_people(register.data, changed)
