"""Attacks on releases by somebody who knows a lot: outside lists, rows in labels, projects."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest

from ehr_analytics.disclosure.cells import Cell, PersonIndex
from ehr_analytics.disclosure.classes import load_classes
from ehr_analytics.disclosure.control import EarlierCell, control_release
from ehr_analytics.disclosure.primary import Reason
from ehr_privacy.disclosure import POLICIES, Policy
from tests.conftest import ROOT

EXACT, ROUNDED = POLICIES["acro-10"], POLICIES["opensafely-7-5"]
DIMENSIONS = ("sex", "age", "region")


def population(count: int) -> tuple[PersonIndex, list[dict[str, str]]]:
    """Return people as an outside list has them, and who of them has the diagnosis."""
    chance = random.Random(3)
    index = PersonIndex(f"person-{number}" for number in range(count))
    rows = [
        {
            "sex": chance.choice(("f", "m")),
            "age": chance.choice(("0-17", "18-39", "40-64", "65-79", "80+")),
            "region": chance.choices(("island", "kowloon", "new territories"), (2, 3, 9))[0],
            "diagnosis": chance.choices(("yes", "no"), (1, 5))[0],
        }
        for _ in index.persons
    ]
    return index, rows


def tabulate(
    index: PersonIndex, rows: Sequence[dict[str, str]], names: Sequence[str]
) -> list[Cell]:
    """Return the table of counts by some columns, as one cell per combination."""
    cells = []
    for labels in sorted({tuple(row[name] for name in names) for row in rows}):
        own = index.select(
            np.array([tuple(row[name] for name in names) == labels for row in rows], bool)
        )
        cells.append(
            Cell(
                "by-" + "-".join(names) if names else "all",
                tuple(zip(names, labels, strict=True)),
                "frequency",
                len(own),
                "persons",
                own,
            )
        )
    return cells


@pytest.mark.parametrize("policy", [EXACT, ROUNDED], ids=lambda policy: policy.name)
def test_an_outside_list_finds_nobody(policy: Policy) -> None:
    index, rows = population(300)
    cells = [
        cell
        for size in range(4)
        for names in combinations(DIMENSIONS, size)
        for cell in tabulate(index, rows, [*names, "diagnosis"])
    ]

    release = control_release(cells, policy)

    # Who of the outside list is alone, or one of few, in a combination that is shown?
    shown = [cell for cell in release.cells if cell.shown is not None]
    assert shown and release.unprotected == 0
    assert min(len(cell.cell.persons) for cell in shown) >= policy.min_persons
    # And whose diagnosis is told by a group in which everybody has it?
    groups = {
        tuple(label for label in cell.cell.labels if label[0] != "diagnosis"): cell
        for cell in shown
        if ("diagnosis", "yes") in cell.cell.labels
    }
    for labels, cell in groups.items():
        others = [row for row in rows if all(row[name] == value for name, value in labels)]
        assert len(cell.cell.persons) < len(others)


def test_labels_that_carry_rows_are_about_too_few() -> None:
    index, rows = population(139)
    for number, row in enumerate(rows):
        row["label"] = f"born {1900 + number} male seen 1964-08-07 class EMER"

    release = control_release(tabulate(index, rows, ["label"]), ROUNDED)

    assert {cell.reason for cell in release.cells} == {Reason.THRESHOLD}


def test_a_label_on_many_copies_of_a_person_is_about_one() -> None:
    index = PersonIndex([f"person-{number}" for number in range(40)])
    # Ten rows of each person: the set has them once, whatever the rows were.
    rows = [person for person in index.persons[:3] for _ in range(10)]

    copied = Cell("t", (("x", "y"),), "frequency", 3, "persons", index.pick(rows))

    assert [c.reason for c in control_release([copied], ROUNDED).cells] == [Reason.THRESHOLD]


def test_two_projects_cannot_take_the_intersection() -> None:
    # The first released all, and all without the diagnosis; the second asks for those with it.
    def earlier(release: str, first: int, last: int, shown: float | None) -> EarlierCell:
        numbers = np.arange(first, last, dtype=np.uint32)
        return EarlierCell(release, "frequency", "persons", numbers, None, shown)

    before = [earlier("a", 0, 100, 100.0), earlier("b", 40, 100, 60.0)]
    index = PersonIndex([f"person-{number}" for number in range(100)])
    asked = [
        Cell("t", (("part", "one"),), "frequency", 36, "persons", index.pick(index.persons[:36])),
        Cell("t", (("part", "two"),), "frequency", 4, "persons", index.pick(index.persons[36:40])),
    ]

    release = control_release(
        asked, EXACT, before, lambda names: np.arange(len(names), dtype=np.uint32)
    )

    # 100 - 60 - 36 would be the four.
    assert all(cell.reason for cell in release.cells)


def test_the_page_has_every_class_with_its_way_and_test() -> None:
    page = (ROOT / "docs" / "reference" / "disclosure.md").read_text("utf-8")

    for entry in load_classes().values():
        names = ", ".join(entry.statistics)
        assert f"| {entry.title} | {names} | {entry.way} | {entry.test} |" in page
