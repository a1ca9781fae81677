"""Attacks on releases by somebody who knows a lot: outside lists, rows in labels, projects."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest

from ehr_analytics.disclosure.cells import Cell, EarlierCell, PersonIndex
from ehr_analytics.disclosure.classes import load_classes
from ehr_analytics.disclosure.control import control_release
from ehr_analytics.disclosure.primary import Reason
from ehr_privacy.disclosure import POLICIES, Policy
from tests.conftest import ROOT
from tests.lib.released_cells import measure_atoms

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


def count(table: str, first: int, last: int, **labels: str) -> Cell:
    persons = frozenset(f"person-{number}" for number in range(first, last))
    return Cell(table, tuple(labels.items()), "frequency", len(persons), "persons", persons)


def number(names: Sequence[str]) -> np.ndarray:
    return np.array([int(name.removeprefix("person-")) for name in names], np.uint32)


def share(table: str, persons: int, having: int, statistic: str = "proportion") -> Cell:
    """Return a share of the first persons, of whom the very first have the outcome."""
    amounts = {f"person-{number}": float(number < having) for number in range(persons)}
    return Cell(table, (), statistic, having / persons, "share", frozenset(amounts), amounts)


def find_reasons(cells: Sequence[Cell], policy: Policy) -> list[Reason | None]:
    release = control_release(cells, policy)
    assert release.unprotected == 0
    return [cell.reason for cell in release.cells]


@pytest.mark.parametrize("statistic", ["proportion", "mean"])
def test_a_percentage_is_a_count_in_other_words(statistic: str) -> None:
    # 6.4 % of 1,000 are 64; 60 of them are women, so 4 are men.
    women = count("yes-by-sex", 0, 60, sex="f")
    men = count("yes-by-sex", 60, 64, sex="m")

    reasons = find_reasons([share("all", 1000, 64, statistic), women, men], EXACT)

    assert reasons.count(Reason.SECONDARY) == 1


def test_a_percentage_is_of_the_counts_that_are_shown() -> None:
    # 57 of 127 are 0.449: of 55 to 59 in 123 to 127, no other two give that.
    [cell] = control_release([share("all", 127, 57)], ROUNDED).cells

    assert cell.shown == 0.44  # 55 of 125


def test_two_means_with_their_counts_do_not_give_the_sum_of_few() -> None:
    stays = {f"person-{number}": 3.0 + number % 5 for number in range(64)}
    of_sixty = dict(list(stays.items())[:60])
    cells = [
        Cell(name, (), "mean", sum(own.values()) / len(own), "days", frozenset(own), own)
        for name, own in (("all", stays), ("most", of_sixty))
    ]

    assert find_reasons(cells, EXACT).count(Reason.SECONDARY) == 1


def test_steps_of_a_survival_curve_do_not_tell_of_two_events() -> None:
    # Without censoring 0.700 and 0.680 of 100 people are 30 and 32 events.
    def survival(day: int, events: int) -> Cell:
        amounts = {f"person-{number}": float(number < events) for number in range(100)}
        place = (("day", str(day)),)
        return Cell(
            "curve", place, "survival", 1 - events / 100, "share", frozenset(amounts), amounts
        )

    steps = [survival(30, 15), survival(60, 30), survival(90, 32)]

    assert find_reasons(steps, EXACT) == [None, Reason.SECONDARY, None]


def test_a_model_of_all_but_one_person_is_held_back() -> None:
    def hazard(last: int) -> Cell:
        amounts = {f"person-{number}": 1.0 for number in range(last)}
        return Cell("cox", (), "hazard-ratio", 1.5, "ratio", frozenset(amounts), amounts)

    everybody = np.arange(80, dtype=np.uint32)
    before = [EarlierCell("a", "hazard-ratio", "ratio", everybody, np.ones(80), 1.52)]

    [cell] = control_release([hazard(79)], EXACT, before, number).cells

    assert cell.reason == Reason.DIFFERENCING
    assert find_reasons([hazard(80), hazard(79)], EXACT) == [None, Reason.DIFFERENCING]


def test_another_policy_on_the_same_cells_tells_no_more() -> None:
    cells = [count("all", 0, 64), count("sex", 0, 60, sex="f"), count("sex", 60, 64, sex="m")]
    first = control_release(cells, ROUNDED)
    assert [cell.shown for cell in first.cells] == [65, 60, None]
    before = [
        EarlierCell(
            "a", "frequency", "persons", number(sorted(cell.cell.persons)), None, cell.shown,
            policy=ROUNDED.name,
        )
        for cell in first.cells
    ]  # fmt: skip

    # 64 exactly, less 58 to 62, would leave 2 to 6 men.
    again = control_release(cells, EXACT, before, number)

    assert [cell.shown for cell in again.cells] == [None, None, None]
    # The same policy shows the same, and that tells nothing new.
    same = control_release(cells, ROUNDED, before, number)
    assert [cell.shown for cell in same.cells] == [65, 60, None]


def test_the_order_and_names_of_labels_hide_no_difference() -> None:
    persons = np.arange(45, dtype=np.uint32)
    before = [EarlierCell("a", "frequency", "persons", persons, None, 45.0)]
    asked = [count("anything", 0, 41, region="north", sex="f"), count("at-all", 1, 45, x="y")]

    release = control_release(asked, EXACT, before, number)

    assert [cell.reason for cell in release.cells] == [Reason.DIFFERENCING] * 2


@pytest.mark.parametrize("policy", [EXACT, ROUNDED], ids=lambda policy: policy.name)
def test_sliding_windows_of_days_do_not_tell_of_a_day(policy: Policy) -> None:
    chance = random.Random(5)
    days = [chance.randrange(12) for _ in range(60)]
    windows = [(first, first + 6) for first in range(7)] + [(0, 12), (0, 3), (3, 12)]
    cells = []
    for first, last in windows:
        own = frozenset(f"person-{n}" for n, day in enumerate(days) if first <= day < last)
        cells.append(
            Cell("by-days", (("days", f"{first}-{last}"),), "frequency", len(own), "persons", own)
        )

    release = control_release(cells, policy)

    assert release.unprotected == 0
    for persons, width in measure_atoms(cells, [cell.shown for cell in release.cells], policy):
        assert len(persons) >= policy.min_persons or width >= policy.protection - 1e-6


@pytest.mark.parametrize(("with_outcome", "is_shown"), [(3, False), (40, True)])
def test_a_ratio_does_not_give_the_few_exposed_with_the_outcome(
    with_outcome: int, is_shown: bool
) -> None:
    # Of 100 exposed few have it, of 200 others 60: the ratio times 0.3 times 100 are the few.
    pair = (("exposure", "drug"), ("outcome", "falls"))
    parts = {
        "exposed, with": (0, with_outcome),
        "exposed, without": (with_outcome, 100),
        "not exposed, with": (100, 160),
        "not exposed, without": (160, 300),
    }
    cells = [
        count("pairs", first, last, **dict(pair), measure=name)
        for name, (first, last) in parts.items()
    ]
    everybody = frozenset(f"person-{number}" for number in range(300))
    ill = {*cells[0].persons, *cells[2].persons}
    flags = {person: float(person in ill) for person in everybody}
    for statistic, name, amounts in (
        ("risk-ratio", "risk ratio", flags),
        ("confidence-limit", "risk ratio, lower limit", dict.fromkeys(everybody, 1.0)),
    ):
        labels = (*pair, ("measure", name))
        cells.append(Cell("pairs", labels, statistic, 0.5, "ratio", everybody, amounts))

    release = control_release(cells, EXACT)

    assert [cell.shown is not None for cell in release.cells[4:]] == [is_shown, is_shown]


def test_the_page_has_every_class_with_its_way_and_test() -> None:
    page = (ROOT / "docs" / "reference" / "disclosure.md").read_text("utf-8")

    for entry in load_classes().values():
        names = ", ".join(entry.statistics)
        assert f"| {entry.title} | {names} | {entry.way} | {entry.test} |" in page
