"""Cells of a run in a file of its folder: the persons once, then sets and amounts, then the cells.

It lies inside the platform, under the project's pseudonyms. An erasure finds a person's pseudonym
in it and deletes the file: what is not released yet is then made by a new run.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ehr_analytics.disclosure.cells import Amounts, Cell, PersonIndex, PersonSet

__all__ = ["CELLS_FILE", "read_cells", "write_cells"]

CELLS_FILE = "cells.ndjson"
_Arrays = dict[bytes, int]


def write_cells(folder: Path, cells: Sequence[Cell]) -> None:
    """Write the cells of a run into its folder."""
    names = _PersonNumbers()
    # Many cells are about the same people and give the same amounts: each array is written once.
    arrays: _Arrays = {}
    lines = []
    for cell in cells:
        own, order = names.find(cell)
        amounts = None if cell.amounts is None else cell.amounts[order]
        lines.append(
            {
                "table": cell.table,
                "labels": cell.labels,
                "statistic": cell.statistic,
                "value": cell.value,
                "unit": cell.unit,
                "persons": _number_array(arrays, own, "<u4"),
                "amounts": None if amounts is None else _number_array(arrays, amounts, "<f8"),
            }
        )
    written = [{"array": b64encode(content).decode("ascii")} for content in arrays]
    with (folder / CELLS_FILE).open("w", encoding="utf-8") as out:
        head = {"persons": list(names.numbers), "arrays": len(arrays)}
        for line in (head, *written, *lines):
            out.write(json.dumps(line, ensure_ascii=False) + "\n")


def read_cells(folder: Path) -> list[Cell]:
    """Return the cells of a run, whose persons are of one index."""
    with (folder / CELLS_FILE).open(encoding="utf-8") as lines:
        head = json.loads(next(lines))
        index = PersonIndex(head["persons"])
        arrays = [b64decode(json.loads(next(lines))["array"]) for _ in range(head["arrays"])]
        return [_read_cell(json.loads(line), index, arrays) for line in lines]


class _PersonNumbers:
    """The numbers that persons have in the file, in the order in which they are met."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self._by_index: dict[int, NDArray[np.uint32]] = {}

    def find(self, cell: Cell) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Return a cell's persons as sorted numbers, and from where in its order each comes."""
        if isinstance(cell.persons, PersonSet):
            index = cell.persons.index
            if id(index) not in self._by_index:
                self._by_index[id(index)] = self._number(index.persons)
            own = self._by_index[id(index)][cell.persons.numbers]
        else:
            own = self._number(list(cell.persons))
        order = np.argsort(own, kind="stable")
        return own[order], order

    def _number(self, persons: Sequence[str]) -> NDArray[np.uint32]:
        known = self.numbers
        return np.array([known.setdefault(person, len(known)) for person in persons], np.uint32)


def _number_array(arrays: _Arrays, values: NDArray[Any], kind: str) -> int:  # Any: either kind
    return arrays.setdefault(values.astype(kind).tobytes(), len(arrays))


def _read_cell(content: Any, index: PersonIndex, arrays: Sequence[bytes]) -> Cell:  # Any: JSON
    persons = PersonSet(index, np.frombuffer(arrays[content["persons"]], "<u4"))
    amounts = content["amounts"]
    value = content["value"]
    return Cell(
        table=str(content["table"]),
        labels=tuple((str(name), str(category)) for name, category in content["labels"]),
        statistic=str(content["statistic"]),
        value=float(value) if isinstance(value, int | float) else None,
        unit=str(content["unit"]),
        persons=persons,
        contributions=None
        if amounts is None
        else Amounts(persons, np.frombuffer(arrays[amounts], "<f8")),
    )
