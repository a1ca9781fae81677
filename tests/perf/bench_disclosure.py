"""Time of disclosure control: `python -m tests.perf.bench_disclosure [--shapes 10x10x10,...]`.

Each release has the counts of made-up people by some dimensions with all margins, under an exact
and a rounding policy. Categories are as frequent as 1/rank^0.6, which makes 10 to 45 % of the cells
small. Not a test: it prints processor seconds and seconds by the clock.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from ehr_analytics.disclosure.cells import Cell, PersonIndex
from ehr_analytics.disclosure.control import control_release
from ehr_privacy.disclosure import POLICIES, Policy

_SHAPES = "9x9x9,13x13x13,16x16x16,21x21x21,100x100,9x9x9x9,26x26x26"
_PERSONS_PER_CELL = 20


def make_release(shape: Sequence[int], people: int) -> list[Cell]:
    """Return the counts of people by so many categories of each dimension, with all margins."""
    generator = np.random.default_rng(1)
    columns = []
    for categories in shape:
        frequencies = np.arange(1, categories + 1) ** -0.6
        columns.append(generator.choice(categories, people, p=frequencies / frequencies.sum()))
    index = PersonIndex(str(number) for number in range(people))
    cells = []
    for size in range(len(shape) + 1):
        for names in combinations(range(len(shape)), size):
            own_shape = tuple(shape[name] for name in names) or (1,)
            own_columns = [columns[name] for name in names] or [np.zeros(people, int)]
            keys = np.ravel_multi_index(own_columns, own_shape)
            for key in range(math.prod(own_shape)):
                places = np.unravel_index(key, own_shape)
                labels = tuple(
                    (f"d{name}", str(int(place)))
                    for name, place in zip(names, places, strict=False)
                )
                persons = index.select(keys == key)
                table = "by-" + "-".join(map(str, names)) if names else "all"
                cells.append(Cell(table, labels, "frequency", len(persons), "persons", persons))
    return cells


def measure(cells: Sequence[Cell], policy: Policy) -> str:
    """Return one line: what was hidden and how long it took."""
    elapsed, processor = time.perf_counter(), time.process_time()
    record = control_release(cells, policy).record
    elapsed, processor = time.perf_counter() - elapsed, time.process_time() - processor
    small = sum(0 < len(cell.persons) < policy.min_persons for cell in cells)
    return (
        f"{policy.name:16} {len(cells):6} cells {small:6} small {processor:7.1f} s processor"
        f" {elapsed:7.1f} s clock  programs {record['linear_programs']}"
        f"  unprotected {record['unprotected']}  {record['hidden']}"
    )


def main() -> None:
    """Print a line for each shape and policy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default=_SHAPES)
    for text in parser.parse_args().shapes.split(","):
        shape = [int(part) for part in text.split("x")]
        cells = make_release(shape, _PERSONS_PER_CELL * math.prod(shape))
        for name in ("acro-10", "opensafely-7-5"):
            print(f"{text:12}", measure(cells, POLICIES[name]), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
