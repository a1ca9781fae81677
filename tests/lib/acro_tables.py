"""Tables and models by `acro`, in an environment of its own: CSV on standard input, JSON out.

`make acro` makes the environment: acro's dependencies are not the platform's. Not imported by any
test; `test_acro.py` starts it.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from typing import Any

import pandas as pd

_ALL = "All"


def describe(record: Any, name: str) -> list[dict[str, Any]]:  # Any: acro has no types
    """Return each cell of a table: its labels, its value, and the checks that it fails."""
    values, outcome = record.output[0], record.outcome
    return [
        {
            "statistic": name,
            "row": "" if row == _ALL else row,
            "column": "" if column == _ALL else column,
            "value": None if pd.isna(values.loc[row, column]) else float(values.loc[row, column]),
            "checks": [
                check.strip()
                for check in outcome.loc[row, column].split(";")
                if check.strip() and check.strip() != "ok"
            ],
        }
        for row in outcome.index
        for column in outcome.columns
        if row in values.index and column in values.columns
    ]


def main() -> None:
    """Print the cells of three tables, and of models of the first people whether they pass."""
    from acro import ACRO  # type: ignore[import-not-found]  # in an environment of its own

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    frame = pd.read_csv(sys.stdin)
    acro = ACRO(suppress=False)
    statistics = ("frequency", "mean", "sum")
    acro.crosstab(frame.sex, frame.region, margins=True)
    for name in statistics[1:]:
        acro.crosstab(frame.sex, frame.region, values=frame.visits, aggfunc=name, margins=True)
    sizes = [int(size) for size in sys.argv[1:]]
    for size in sizes:
        own = frame.head(size)
        acro.ols(own.visits, own[["age"]].assign(constant=1.0))
    records = list(acro.results.results.values())
    cells = [
        cell
        for record, name in zip(records, statistics, strict=False)
        for cell in describe(record, name)
    ]
    models = {
        size: record.status for size, record in zip(sizes, records[len(statistics) :], strict=True)
    }
    # The last line: acro prints, too.
    print("\n" + json.dumps({"cells": cells, "models": models}))  # noqa: T201


if __name__ == "__main__":
    main()
