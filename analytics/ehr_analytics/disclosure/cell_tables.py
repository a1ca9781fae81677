"""Files of a release: one CSV per table of controlled cells, and the evidence for its checkers."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ehr_analytics.disclosure.control import ControlledCell

__all__ = ["HIDDEN", "CellTable", "describe_evidence", "write_tables"]

HIDDEN = "[hidden]"


@dataclass(frozen=True)
class CellTable:
    """A written file: its columns of counts and of other numbers, and what is hidden in it."""

    name: str
    counts: tuple[str, ...]
    numbers: tuple[str, ...]
    cells: int
    cells_hidden: int


def write_tables(folder: Path, cells: Sequence[ControlledCell]) -> list[CellTable]:
    """Write the tables of a release; a row of nothing but hidden cells is left out."""
    names = dict.fromkeys(controlled.cell.table for controlled in cells)
    return [
        _write_table(folder, name, [c for c in cells if c.cell.table == name]) for name in names
    ]


def describe_evidence(cells: Sequence[ControlledCell]) -> list[dict[str, object]]:
    """Return what a checker sees of each cell: the persons behind it, and which rule hid it.

    It holds true counts and stays inside the platform.
    """
    return [
        {
            "table": controlled.cell.table,
            "labels": dict(controlled.cell.labels),
            "statistic": controlled.cell.statistic,
            "unit": controlled.cell.unit,
            "persons": len(controlled.cell.persons),
            "shown": controlled.shown,
            "hidden_by": controlled.reason,
        }
        for controlled in cells
    ]


def _write_table(folder: Path, name: str, cells: Sequence[ControlledCell]) -> CellTable:
    dimensions = list(dict.fromkeys(label for c in cells for label, _ in c.cell.labels))
    columns = dict.fromkeys(_column(controlled) for controlled in cells)
    rows: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
    for controlled in cells:
        row = rows.setdefault(controlled.cell.labels, {})
        row[_column(controlled)] = (
            HIDDEN if controlled.shown is None else f"{controlled.shown:.10g}"
        )
    with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow([*dimensions, *columns])
        for labels, values in rows.items():
            if any(value != HIDDEN for value in values.values()):
                categories = dict(labels)
                writer.writerow(
                    [
                        *(categories.get(dimension, "") for dimension in dimensions),
                        *(values.get(column, HIDDEN) for column in columns),
                    ]
                )
    counts = {_column(c) for c in cells if c.cell.statistic == "frequency"}
    return CellTable(
        name=f"{name}.csv",
        counts=tuple(column for column in columns if column in counts),
        numbers=tuple(column for column in columns if column not in counts),
        cells=len(cells),
        cells_hidden=sum(controlled.shown is None for controlled in cells),
    )


def _column(controlled: ControlledCell) -> str:
    cell = controlled.cell
    return cell.unit if cell.statistic == "frequency" else f"{cell.statistic} of {cell.unit}"
