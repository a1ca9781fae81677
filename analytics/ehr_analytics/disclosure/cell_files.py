"""Cells of a run in a file of its folder: the persons once, then one JSON line per cell.

It lies inside the platform, under the project's pseudonyms. An erasure finds a person's pseudonym
in it and deletes the file: what is not released yet is then made by a new run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ehr_analytics.disclosure.cells import Cell, PersonIndex, PersonSet

__all__ = ["CELLS_FILE", "read_cells", "write_cells"]

CELLS_FILE = "cells.ndjson"


def write_cells(folder: Path, cells: Sequence[Cell]) -> None:
    """Write the cells of a run into its folder."""
    numbers: dict[str, int] = {}
    lines = []
    for cell in cells:
        persons = list(cell.persons)
        own = [numbers.setdefault(person, len(numbers)) for person in persons]
        amounts = cell.contributions
        lines.append(
            {
                "table": cell.table,
                "labels": cell.labels,
                "statistic": cell.statistic,
                "value": cell.value,
                "unit": cell.unit,
                "persons": own,
                "amounts": None if amounts is None else [amounts.get(p, 0.0) for p in persons],
            }
        )
    with (folder / CELLS_FILE).open("w", encoding="utf-8") as out:
        for line in ({"persons": list(numbers)}, *lines):
            out.write(json.dumps(line, ensure_ascii=False) + "\n")


def read_cells(folder: Path) -> list[Cell]:
    """Return the cells of a run."""
    with (folder / CELLS_FILE).open(encoding="utf-8") as lines:
        names = json.loads(next(lines))["persons"]
        index = PersonIndex(names)
        return [_read_cell(json.loads(line), index) for line in lines]


def _read_cell(content: dict[str, object], index: PersonIndex) -> Cell:
    numbers = content["persons"]
    amounts = content["amounts"]
    if not isinstance(numbers, list):
        raise TypeError("persons")
    names = [index.persons[number] for number in numbers]
    labels = content["labels"]
    value = content["value"]
    return Cell(
        table=str(content["table"]),
        labels=tuple((str(name), str(category)) for name, category in labels)
        if isinstance(labels, list)
        else (),
        statistic=str(content["statistic"]),
        value=float(value) if isinstance(value, int | float) else None,
        unit=str(content["unit"]),
        persons=PersonSet(index, np.sort(np.array(numbers, np.uint32))),
        contributions=dict(zip(names, amounts, strict=True)) if isinstance(amounts, list) else None,
    )
