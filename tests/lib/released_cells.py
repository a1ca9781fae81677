"""Runs with typed cells, as an analysis leaves them for the airlock."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from ehr_analytics import project as projects
from ehr_analytics.disclosure.cell_files import write_cells
from ehr_analytics.disclosure.cells import Cell
from ehr_analytics.register import Register
from ehr_analytics.run_log import Run, run_folder
from tests.lib import gold
from tests.lib.research import NOW

__all__ = ["count_persons", "own_pseudonyms", "store_run", "write_persons"]


def write_persons(data: Path, number: int) -> list[str]:
    """Write gold tables of made-up people; return their pseudonyms in the lake."""
    tables = gold.made_up(number)
    gold.write(data, tables)
    return [str(person) for person in tables["patient_demographics"]["id"]]


def own_pseudonyms(register: Register, project: str, persons: Iterable[str]) -> frozenset[str]:
    """Return the project's own pseudonyms of people of the lake."""
    key = projects.read_project_key(register.data, project)
    return frozenset(hashlib.sha256(f"{key}{person}".encode()).hexdigest() for person in persons)


def count_persons(
    register: Register, project: str, persons: Iterable[str], table: str = "all", **labels: str
) -> Cell:
    """Return the cell that counts people of the lake."""
    own = own_pseudonyms(register, project, persons)
    return Cell(table, tuple(labels.items()), "frequency", len(own), "persons", own)


def store_run(register: Register, name: str, cells: list[Cell], project: str, who: str) -> str:
    """Store a run that gave these cells; return its id."""
    run = Run(name, project, "study", who, NOW.isoformat(), "code", "1", {})
    folder = run_folder(register, name)
    folder.mkdir(parents=True)
    write_cells(folder, cells)
    with register.transaction() as connection:
        connection.execute(
            "INSERT INTO run(id, project, study, who, at, code, version, tables, state)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, '{}', 'done')",
            (run.id, run.project, run.study, run.who, run.at, run.code, run.version),
        )
    return name
