"""Disclosure control of a table of counts: the policy's rule per cell, and a threshold of people.

A cell with forty stays of three people tells about three people. So a count is shown only where the
number of people behind it is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ehr_privacy import disclosure

Cell = int | None


@dataclass(frozen=True)
class CountTable:
    """A table of counts: strata as text, counts as numbers (None: hidden)."""

    strata: tuple[str, ...]
    counts: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], tuple[Cell, ...]], ...]


@dataclass(frozen=True)
class ControlledTable:
    """A table that may be released, and the record of the controls applied to it."""

    table: CountTable
    record: Mapping[str, object]


def control_table(
    policy: str, table: CountTable, people_behind: Mapping[str, str]
) -> ControlledTable:
    """Apply a policy to every count, then hide counts whose number of people is hidden.

    `people_behind` names, for a count, the count of the people it is about.
    """
    dictionaries: Sequence[Mapping[str, object]] = [
        {
            **dict(zip(table.strata, strata, strict=True)),
            **dict(zip(table.counts, cells, strict=True)),
        }
        for strata, cells in table.rows
    ]
    applied = disclosure.control_table(policy, dictionaries, table.counts)
    rows, hidden_for_people = [], 0
    for (strata, _), row in zip(table.rows, applied.rows, strict=True):
        cells: dict[str, Cell] = {count: _count_or_hidden(row[count]) for count in table.counts}
        for count, people in people_behind.items():
            if cells[people] is None and cells[count] is not None:
                cells[count] = None
                hidden_for_people += 1
        rows.append((strata, tuple(cells[count] for count in table.counts)))
    # A row of nothing but hidden counts would reveal that somebody is in it, and by its position
    # about how many: it is left out, like a row of nobody.
    kept = tuple(row for row in rows if any(cell is not None for cell in row[1]))
    shown = CountTable(table.strata, table.counts, kept)
    cells_shown = [cell for _, row_cells in rows for cell in row_cells]
    # The digest of the file stands beside the record, in controls.json.
    record = {
        **{name: value for name, value in applied.record.items() if name != "sha256"},
        "rows_left_out": len(rows) - len(kept),
        "hidden_because_few_people": hidden_for_people,
        "cells": len(cells_shown),
        "cells_hidden": cells_shown.count(None),
    }
    return ControlledTable(shown, record)


def _count_or_hidden(value: object) -> Cell:
    return value if isinstance(value, int) else None
