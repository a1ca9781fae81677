"""Typed cells: runs as an analysis leaves them for the airlock, and a reader who attacks them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from scipy.optimize import linprog

from ehr_analytics import project as projects
from ehr_analytics.disclosure.cell_files import write_cells
from ehr_analytics.disclosure.cells import Cell
from ehr_analytics.register import Register
from ehr_analytics.run_log import Run, run_folder
from ehr_privacy.disclosure import Policy
from tests.lib import gold
from tests.lib.research import NOW

__all__ = ["count_persons", "measure_atoms", "own_pseudonyms", "store_run", "write_persons"]


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


def measure_atoms(
    cells: Sequence[Cell], shown: Sequence[float | None], policy: Policy
) -> list[tuple[frozenset[str], float]]:
    """Return every atom of the cells' sets, and how wide a reader's interval of it is.

    A program of its own by the simplex: one unknown per atom, the persons who are in the same
    cells; each shown cell is a sum of atoms.
    """
    by_cells: dict[tuple[bool, ...], set[str]] = {}
    for person in {person for cell in cells for person in cell.persons}:
        by_cells.setdefault(tuple(person in cell.persons for cell in cells), set()).add(person)
    rows, highs = [], []
    for place, value in enumerate(shown):
        if value is not None:
            low, high = policy.interval(round(value))
            row = [float(places[place]) for places in by_cells]
            rows += [row, [-each for each in row]]
            highs += [high, -low]
    found = []
    for number, persons in enumerate(by_cells.values()):
        ends = []
        for sign in (1, -1):
            result = linprog(
                [float(sign * (each == number)) for each in range(len(by_cells))],
                A_ub=rows or None,
                b_ub=highs or None,
                bounds=(0, 1000),
                method="highs-ds",
            )
            ends.append(result.x[number])
        found.append((frozenset(persons), ends[1] - ends[0]))
    return found
