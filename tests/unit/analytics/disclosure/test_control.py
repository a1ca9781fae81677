"""Disclosure control of releases: what a reader of all cells together can still work out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, pairwise, product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from ehr_analytics.disclosure.cells import Cell, EarlierCell, PersonIndex
from ehr_analytics.disclosure.control import ControlledRelease, control_release
from ehr_analytics.disclosure.margins import CellSets, MarginFinder
from ehr_analytics.disclosure.primary import Reason
from ehr_fhir.errors import Invalid
from ehr_privacy.disclosure import POLICIES, Policy
from tests.lib.released_cells import measure_atoms

EXACT, ROUNDED, MIDPOINT = (POLICIES[name] for name in ("acro-10", "opensafely-7-5", "midpoint-6"))


def people(first: int, last: int) -> frozenset[str]:
    return frozenset(f"person-{number}" for number in range(first, last))


def count(table: str, persons: Iterable[str], **labels: str) -> Cell:
    own = frozenset(persons)
    return Cell(table, tuple(labels.items()), "frequency", len(own), "persons", own)


def amount(
    table: str, amounts: Mapping[str, float], statistic: str = "sum", unit: str = "visits"
) -> Cell:
    total = sum(amounts.values())
    value = total / len(amounts) if statistic in ("mean", "proportion") else total
    return Cell(table, (), statistic, value, unit, frozenset(amounts), dict(amounts))


def hidden(release: ControlledRelease) -> list[Reason | None]:
    return [cell.reason for cell in release.cells]


def test_two_tables_that_differ_by_four_people_do_not_reveal_them() -> None:
    cells = [
        count("by-group", people(0, 64), group="x"),
        count("by-group", people(64, 130), group="y"),
        count("by-group-and-sex", people(0, 60), group="x", sex="female"),
        count("by-group-and-sex", people(60, 64), group="x", sex="male"),
        count("by-group-and-sex", people(64, 90), group="y", sex="female"),
        count("by-group-and-sex", people(90, 130), group="y", sex="male"),
    ]

    release = control_release(cells, EXACT)

    assert hidden(release)[3] == Reason.THRESHOLD
    assert Reason.SECONDARY in hidden(release)
    assert release.unprotected == 0


def test_what_the_tables_are_called_does_not_matter() -> None:
    cells = [
        count("one", people(0, 64), group="x"),
        count("another", people(0, 60), anything="at all"),
    ]

    assert Reason.SECONDARY in hidden(control_release(cells, EXACT))


@pytest.mark.parametrize("policy", [EXACT, ROUNDED], ids=lambda policy: policy.name)
def test_those_without_the_outcome_are_as_protected_as_those_with_it(policy: Policy) -> None:
    # 12 people had a stay, 10 of them came back.
    cells = [
        count("returns", people(0, 12), count="people"),
        count("returns", people(0, 10), count="returned"),
    ]

    assert hidden(control_release(cells, policy)) == [None, Reason.SECONDARY]


def test_everybody_in_one_of_several_categories_is_told_of_none() -> None:
    cells = [
        count("by-region", people(0, 40), region="north"),
        count("by-region-and-result", people(0, 40), region="north", result="positive"),
        count("by-region-and-result", people(40, 80), region="south", result="negative"),
    ]

    assert hidden(control_release(cells, EXACT))[1] == Reason.ONE_SIDED
    assert hidden(control_release(cells, MIDPOINT)) == [None, None, None]


def test_a_sum_that_is_one_persons_is_hidden() -> None:
    visits = dict.fromkeys(people(0, 45), 1.0) | {"person-0": 1441.0}

    release = control_release(
        [
            amount("visits", visits),
            amount("visits", visits, "mean"),
            amount("visits", visits, "frequency"),
        ],
        ROUNDED,
    )

    assert hidden(release) == [Reason.DOMINANCE] * 3


def test_a_category_of_nobody_does_not_keep_the_proportions_beside_it_from_leaving() -> None:
    shares = {"female": 60, "male": 40, "other": 0}
    everybody = sorted(people(0, 100))
    start, cells = 0, []
    for sex, size in shares.items():
        has = {name: float(start <= place < start + size) for place, name in enumerate(everybody)}
        start += size
        labels = (("sex", sex), ("measure", "proportion"))
        persons = frozenset(everybody)
        cells.append(Cell("one", labels, "proportion", size / 100, "proportion", persons, has))

    release = control_release(cells, POLICIES["opensafely-7-5"])

    assert release.unprotected == 0
    assert [controlled.shown for controlled in release.cells] == [0.6, 0.4, None]


def test_the_second_largest_learns_little_of_the_largest() -> None:
    # Two largest have 62 of 80; the others' 4 do not blur the largest.
    amounts = {"person-0": 50.0, "person-1": 14.0} | dict.fromkeys(people(2, 12), 0.4)

    assert hidden(control_release([amount("costs", amounts)], EXACT))[0] in (
        Reason.DOMINANCE,
        Reason.P_PERCENT,
    )


def test_a_value_that_its_persons_do_not_give_is_no_value() -> None:
    amounts = dict.fromkeys(people(0, 20), 1.0)
    row_as_a_number = Cell("t", (), "sum", 193_607_011_030.0, "visits", frozenset(amounts), amounts)

    assert hidden(control_release([row_as_a_number], EXACT)) == [Reason.NOT_ITS_VALUE]
    with pytest.raises(Invalid):
        Cell("t", (), "frequency", 45, "persons", people(0, 3))


def test_no_sum_is_shown_without_the_amounts() -> None:
    cell = Cell("t", (), "sum", 100.0, "days", people(0, 40))

    assert hidden(control_release([cell], EXACT)) == [Reason.NO_CONTRIBUTIONS]


def test_no_limit_leaves_without_its_estimate() -> None:
    few, many = people(0, 5), people(0, 50)

    def row(group: str, persons: frozenset[str]) -> list[Cell]:
        flags = dict.fromkeys(persons, 1.0)
        return [
            Cell(
                "rates",
                (("group", group), ("measure", measure)),
                statistic,
                value,
                "per 1,000 person-years",
                # The limits are of everybody in the table, and so many enough.
                persons if statistic == "rate" else many,
                flags if statistic == "rate" else dict.fromkeys(many, 1.0),
            )
            for statistic, measure, value in (
                ("rate", "rate", 1000.0),
                ("confidence-limit", "rate, lower limit", 0.4),
            )
        ]

    release = control_release([*row("few", few), *row("many", many)], EXACT)

    assert [cell.shown is None for cell in release.cells] == [True, True, False, False]


def test_extremes_never_leave_and_clusters_need_people() -> None:
    ages = {person: float(number) for number, person in enumerate(sorted(people(0, 40)))}
    cells = [
        Cell("t", (), "maximum", 39.0, "years", frozenset(ages), ages),
        Cell("t", (), "cluster", 1.0, "years", frozenset(ages), ages),
    ]

    assert hidden(control_release(cells, EXACT)) == [Reason.NEVER, Reason.NEEDS_PEOPLE]


def test_parts_of_a_sum_do_not_reveal_a_hidden_part() -> None:
    def visits(first: int, last: int) -> dict[str, float]:
        return dict.fromkeys(people(first, last), 3.0)

    cells = [
        amount("all", visits(0, 64)),
        Cell("by-sex", (("sex", "f"),), "sum", 180.0, "visits", people(0, 60), visits(0, 60)),
        Cell("by-sex", (("sex", "m"),), "sum", 12.0, "visits", people(60, 64), visits(60, 64)),
    ]

    assert hidden(control_release(cells, EXACT)) == [None, Reason.SECONDARY, Reason.THRESHOLD]


def test_means_of_groups_that_differ_by_one_person_do_not_both_leave() -> None:
    ages = {f"person-{number}": 40.0 + number for number in range(30)}
    medians = [
        Cell("a", (), "median", 54.5, "years", frozenset(ages), ages),
        Cell("b", (), "median", 54.0, "years", people(0, 29), {
            person: age for person, age in ages.items() if person != "person-29"
        }),
    ]  # fmt: skip

    assert hidden(control_release(medians, EXACT)) == [None, Reason.DIFFERENCING]


def earlier(persons: Sequence[int], shown: float | None, **changes: object) -> EarlierCell:
    numbers = np.array(sorted(persons), np.uint32)
    cell = EarlierCell("earlier", "frequency", "persons", numbers, None, shown)
    return EarlierCell(**{**cell.__dict__, **changes})


def number_persons(names: Sequence[str]) -> np.ndarray:
    return np.array([int(name.removeprefix("person-")) for name in names], np.uint32)


def test_a_release_of_nobody_has_nobody_in_common_with_an_earlier_one() -> None:
    nobody = Cell("t", (("sex", "female"),), "frequency", 0.0, "persons", frozenset())

    release = control_release([nobody], ROUNDED, [earlier(range(40), 40)], number_persons)

    assert release.cells[0].shown is None


@pytest.mark.parametrize("statistic", ["frequency", "sum", "mean"])
@pytest.mark.parametrize(("late", "reason"), [(0, None), (3, Reason.DIFFERENCING), (40, None)])
def test_the_same_people_with_records_of_few_that_came_late_are_held_back(
    statistic: str, late: int, reason: Reason | None
) -> None:
    before = np.full(60, 2.0)
    now = {f"person-{number}": 3.0 if number < late else 2.0 for number in range(60)}
    cells = [amount("visits", now, statistic)]
    first = earlier(range(60), 120, statistic=statistic, unit="visits", amounts=before)

    release = control_release(cells, EXACT, [first], number_persons)

    assert hidden(release) == [reason]


@pytest.mark.parametrize("policy", [EXACT, ROUNDED, MIDPOINT], ids=lambda policy: policy.name)
def test_a_second_release_of_all_but_four_is_held_back(policy: Policy) -> None:
    cells = [count("all", people(0, 41))]

    first = control_release(cells, policy, [earlier(range(45), 45)], number_persons)
    same = control_release(cells, policy, [earlier(range(41), 40)], number_persons)
    other = control_release(cells, policy, [earlier(range(80), 80)], number_persons)

    assert hidden(first) == [Reason.DIFFERENCING]
    assert hidden(same) == hidden(other) == [None]


def test_four_exchanged_for_four_are_a_difference_of_eight_people() -> None:
    cells = [count("all", people(4, 49))]

    release = control_release(cells, EXACT, [earlier(range(45), 45)], number_persons)

    assert hidden(release) == [Reason.DIFFERENCING]


def test_an_earlier_total_does_not_reveal_a_part_that_is_hidden_now() -> None:
    cells = [
        count("by-sex", people(0, 60), sex="female"),
        count("by-sex", people(60, 64), sex="male"),
    ]

    release = control_release(cells, EXACT, [earlier(range(64), 64)], number_persons)

    assert all(hidden(release))


def test_what_was_hidden_earlier_stays_hidden() -> None:
    # 100 were released, 96 of them now: the four that were hidden would be their difference.
    before = [earlier(range(100), 100), earlier(range(96, 100), None)]

    release = control_release([count("all", people(0, 96))], EXACT, before, number_persons)

    assert hidden(release) == [Reason.DIFFERENCING]


def test_the_erased_still_count_as_a_difference() -> None:
    # The person was taken out of the earlier set; the number that was shown still has them.
    cells = [count("all", people(0, 40))]
    before = [earlier(range(40), 41, erased=1)]

    assert hidden(control_release(cells, EXACT, before, number_persons)) == [Reason.DIFFERENCING]


SIZES = st.lists(st.integers(0, 30), min_size=6, max_size=6)


def table_of(sizes: Sequence[int]) -> list[Cell]:
    """Return a table of two by three with its margins, as one person set per cell."""
    starts = np.concatenate([[0], np.cumsum(sizes)])
    index = PersonIndex(f"person-{number}" for number in range(int(starts[-1])))
    inner = {
        (row, column): index.pick(
            index.persons[starts[3 * row + column] : starts[3 * row + column + 1]]
        )
        for row, column in product(range(2), range(3))
    }
    cells = [
        Cell("inner", (("row", str(r)), ("column", str(c))), "frequency", len(s), "persons", s)
        for (r, c), s in inner.items()
    ]
    for name, places in (("row", range(2)), ("column", range(3))):
        for place in places:
            parts = [s for key, s in inner.items() if key[name == "column"] == place]
            own = index.pick(person for part in parts for person in part)
            cells.append(
                Cell(f"by-{name}", ((name, str(place)),), "frequency", len(own), "persons", own)
            )
    everybody = index.pick(index.persons)
    return [*cells, Cell("all", (), "frequency", len(everybody), "persons", everybody)]


def attack(cells: Sequence[Cell], shown: Sequence[float | None], policy: Policy) -> list[float]:
    """Return how wide a reader's interval of each inner cell is, by a program of its own.

    It knows the table's shape and nothing of the sets: six unknown counts, sums of them shown.
    """
    rows, highs = [], []
    for cell, value in zip(cells, shown, strict=True):
        if value is None:
            continue
        labels = dict(cell.labels)
        row = [
            float(labels.get("row", str(r)) == str(r) and labels.get("column", str(c)) == str(c))
            for r, c in product(range(2), range(3))
        ]
        low, high = policy.interval(round(value))
        rows += [row, [-each for each in row]]
        highs += [high, -low]
    widths = []
    for place in range(6):
        ends = []
        for sign in (1, -1):
            objective = [float(sign * (each == place)) for each in range(6)]
            result = linprog(objective, A_ub=rows or None, b_ub=highs or None, bounds=(0, 1000))
            ends.append(result.x[place])
        widths.append(ends[1] - ends[0])
    return widths


@settings(max_examples=30)
@given(sizes=SIZES, policy=st.sampled_from([EXACT, ROUNDED]))
def test_no_reader_places_a_small_count_in_a_narrow_interval(
    sizes: list[int], policy: Policy
) -> None:
    cells = table_of(sizes)

    release = control_release(cells, policy)

    assert release.unprotected == 0
    widths = attack(cells, [cell.shown for cell in release.cells], policy)
    for cell, size, width in zip(release.cells, sizes, widths, strict=False):
        if 0 < size < policy.min_persons:
            assert cell.shown is None
            assert width >= policy.protection - 1e-6


def test_what_cells_tell_of_each_other_is_found_in_the_same_order_each_time() -> None:
    # What was checked is worked out again as it leaves: another order may hide other cells.
    choose = np.random.default_rng(1).random((6, 40)) < 0.6
    numbers = [np.flatnonzero(own).astype(np.uint32) for own in choose]
    sets = CellSets(
        numbers,
        [np.ones(len(own)) for own in numbers],
        np.arange(len(numbers)),
        choose.shape[1],
        lambda whole, part: False,
    )

    found = [MarginFinder(sets, EXACT.min_persons).find() for _ in range(4)]

    assert found[0].relations
    assert [margins == found[0] for margins in found] == [True] * 4


def test_a_published_union_does_not_reveal_an_intersection() -> None:
    # 50 + 73 - 120 are the three who are in both.
    cells = [
        count("by-drug", people(0, 50), drug="a"),
        count("by-disease", people(47, 120), disease="b"),
        count("either", people(0, 120)),
    ]

    assert hidden(control_release(cells[:2], EXACT)) == [None, None]
    release = control_release(cells, EXACT)

    assert hidden(release).count(Reason.SECONDARY) == 1
    assert release.unprotected == 0


@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(0, 25), min_size=7, max_size=7),
    unions=st.lists(st.integers(1, 127), min_size=2, max_size=6, unique=True),
    policy=st.sampled_from([EXACT, ROUNDED]),
)
def test_no_sets_that_overlap_reveal_few_persons(
    sizes: list[int], unions: list[int], policy: Policy
) -> None:
    # Any unions of seven groups of people: overlapping, nested, complements of each other.
    starts = np.concatenate([[0], np.cumsum(sizes)])
    groups = [people(int(first), int(last)) for first, last in pairwise(starts)]
    cells = [
        count(f"table-{union}", chain(*(g for n, g in enumerate(groups) if union >> n & 1)))
        for union in unions
    ]

    release = control_release(cells, policy)

    assert release.unprotected == 0
    assert not release.record["overlaps_not_examined"]
    for persons, width in measure_atoms(cells, [cell.shown for cell in release.cells], policy):
        assert len(persons) >= policy.min_persons or width >= policy.protection - 1e-6


def test_a_category_with_nobody_hides_no_neighbour() -> None:
    # All have the result "negative": it is told of none, and sex has nothing to do with it.
    cells = [
        count("by-sex-and-result", people(0, 30), sex="f", result="negative"),
        count("by-sex-and-result", people(30, 50), sex="m", result="negative"),
        count("by-sex-and-result", (), sex="f", result="positive"),
        count("by-sex-and-result", (), sex="m", result="positive"),
        count("by-sex", people(0, 30), sex="f"),
        count("by-sex", people(30, 50), sex="m"),
        count("by-sex", (), sex="other"),
        count("by-result", people(0, 50), result="negative"),
        count("by-result", (), result="positive"),
        count("all", people(0, 50)),
    ]

    reasons = hidden(control_release(cells, EXACT))

    one_sided, zero = Reason.ONE_SIDED, Reason.ZERO
    assert reasons == [
        one_sided, one_sided, zero, zero, None, None, zero, one_sided, zero, None,
    ]  # fmt: skip


def test_a_cell_prints_none_of_its_persons() -> None:
    assert "person-1" not in repr(count("t", people(0, 3), sex="female"))


def possible_tables(
    cells: Sequence[Cell], shown: Sequence[float | None], policy: Policy
) -> np.ndarray:
    """Return every table of two by two that a reader can think of, by trying all up to 28."""
    most = np.arange(29)
    table = np.stack(np.meshgrid(most, most, most, most, indexing="ij")).reshape(4, -1)
    for cell, value in zip(cells, shown, strict=True):
        if value is not None:
            labels = dict(cell.labels)
            own = [
                place
                for place, (r, c) in enumerate(product("01", "01"))
                if labels.get("row", r) == r and labels.get("column", c) == c
            ]
            low, high = policy.interval(round(value))
            sums = table[own].sum(axis=0)
            table = table[:, (low <= sums) & (sums <= high)]
    return table


@settings(max_examples=20)
@given(
    sizes=st.lists(st.integers(1, 18), min_size=4, max_size=4),
    policy=st.sampled_from([EXACT, ROUNDED]),
)
@example(sizes=[1, 1, 8, 9], policy=ROUNDED)
def test_who_tries_all_tables_finds_no_small_count_and_no_cell_is_hidden_in_vain(
    sizes: list[int], policy: Policy
) -> None:
    starts = np.concatenate([[0], np.cumsum(sizes)])
    inner = [people(int(first), int(last)) for first, last in pairwise(starts)]
    cells = [
        count("inner", own, row=r, column=c)
        for own, (r, c) in zip(inner, product("01", "01"), strict=True)
    ]
    cells += [
        count("by-row", inner[0] | inner[1], row="0"),
        count("by-row", inner[2] | inner[3], row="1"),
    ]
    cells += [
        count("by-column", inner[0] | inner[2], column="0"),
        count("by-column", inner[1] | inner[3], column="1"),
        count("all", chain(*inner)),
    ]

    release = control_release(cells, policy)

    # Inner cells, rows and columns: a row of few is as small a count as a cell of few.
    sums = [[0], [1], [2], [3], [0, 1], [2, 3], [0, 2], [1, 3], [0, 1, 2, 3]]
    small = [
        own for own, cell in zip(sums, cells, strict=True) if len(cell.persons) < policy.min_persons
    ]

    def is_safe(shown: Sequence[float | None]) -> bool:
        table = possible_tables(cells, shown, policy)
        return all(np.ptp(table[own].sum(axis=0)) >= policy.protection for own in small)

    shown = [cell.shown for cell in release.cells]
    assert is_safe(shown)
    for place, cell in enumerate(release.cells):
        if cell.reason == Reason.SECONDARY:
            more = [*shown]
            more[place] = policy.control(len(cell.cell.persons))
            assert not is_safe(more)
