"""Ratios and confidence limits tell no more of a count than the count that is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from ehr_analytics.analyses.associations import two_by_two
from ehr_analytics.analyses.frame import CohortFrame
from ehr_analytics.analyses.survival import cox, incidence, kaplan_meier
from ehr_analytics.disclosure.cells import Cell, PersonSet
from ehr_analytics.disclosure.control import control_release
from ehr_analytics.disclosure.two_by_two import COUNT_NAMES
from ehr_privacy.disclosure import POLICIES, Policy
from tests.lib.cohort_tables import frame_of

EXACT, ROUNDED = POLICIES["acro-10"], POLICIES["opensafely-7-5"]
YES_NO = ("yes", "no")


def exposures(sizes: Sequence[int]) -> CohortFrame:
    """Return people of a two-by-two table of these counts, in the order of `COUNT_NAMES`."""
    pairs = (("yes", "yes"), ("yes", "no"), ("no", "yes"), ("no", "no"))
    rows = [pair for pair, size in zip(pairs, sizes, strict=True) for _ in range(size)]
    data = {"exposed": [row[0] for row in rows], "ill": [row[1] for row in rows]}
    return frame_of(data, {"exposed": YES_NO, "ill": YES_NO})


@pytest.mark.parametrize("policy", [ROUNDED, POLICIES["midpoint-6"]], ids=lambda own: own.name)
def test_ratios_fit_every_table_that_is_rounded_to_the_published_counts(policy: Policy) -> None:
    # An attacker tries all tables of these counts: each must give the published figures.
    shown = (10, 45, 15, 80) if policy is ROUNDED else (9, 45, 15, 81)
    first, last = zip(*(policy.interval(number) for number in shown), strict=True)
    seen = set()
    for sizes in product(*zip(first, last, strict=True)):
        cells = two_by_two(exposures(sizes), "pairs", "exposed", "ill")
        release = control_release(cells, policy)
        assert [cell.shown for cell in release.cells[:4]] == list(shown)
        seen.add(tuple(cell.shown for cell in release.cells[4:]))

    assert len(seen) == 1
    assert None not in seen.pop()


@pytest.mark.parametrize("hidden", COUNT_NAMES)
def test_a_ratio_goes_with_each_count_that_is_hidden_for_others(hidden: str) -> None:
    # The count is known from outside the table: a sum that leaves it out.
    cells = two_by_two(exposures((40, 60, 50, 70)), "pairs", "exposed", "ill")
    place = COUNT_NAMES.index(hidden)
    rest = [cell.persons for cell in cells[:4] if cell is not cells[place]]
    few = list(cells[place].persons)[:3]
    assert isinstance(cells[0].persons, PersonSet)
    index = cells[0].persons.index
    others = index.pick([*few, *(person for own in rest for person in own)])
    cells.append(Cell("others", (), "frequency", len(others), "persons", others))

    release = control_release(cells, EXACT)

    counts = [cell.shown for cell in release.cells[:4]]
    ratios = [cell.shown for cell in release.cells[4:-1]]
    assert (None in counts) == (ratios == [None] * 6)


@pytest.mark.parametrize("policy", [ROUNDED, POLICIES["midpoint-6"]], ids=lambda own: own.name)
def test_limits_of_rates_and_curves_fit_all_counts_of_a_rounding(policy: Policy) -> None:
    low, high = policy.interval(policy.control(20) or 0)
    fewest, most = policy.interval(policy.control(120) or 0)
    curves, rates = set(), set()
    for events, people in product(range(low, high + 1), range(fewest, most + 1)):
        days = [10.0] * events + [400.0] * (people - events)
        fell = ["yes"] * events + ["no"] * (people - events)
        frame = frame_of({"fall": fell, "fall_days": days}, {"fall": YES_NO})
        curve = [cell for cell in kaplan_meier(frame, "curve", "fall", [30])][1:4]
        curves.add(tuple(cell.shown for cell in control_release(curve, policy).cells))
        # The width of an interval of a rate tells the events, whatever the person-time is.
        rate = [cell for cell in incidence(frame, "rates", "fall") if "rate" in cell.labels[-1][1]]
        value, lowest, highest = (cell.shown for cell in control_release(rate, policy).cells)
        assert value and lowest and highest
        rates.add((lowest / value, highest / value))

    assert len(curves) == 1 and None not in curves.pop()
    # One event more is 0.02 of the upper one.
    for widths in zip(*rates, strict=True):
        assert max(widths) - min(widths) < 0.015


def test_the_error_of_a_hazard_ratio_is_that_of_the_rounded_events() -> None:
    # Drawn: two groups of equal hazards. 1 / d1 + 1 / d2 is the error's square to a few percent.
    chance = np.random.default_rng(2)
    times = chance.exponential(100, 300)
    end = np.sort(times)[52]
    data = {
        "fall": ["yes" if time < end else "no" for time in times],
        "fall_days": np.minimum(times, end).tolist(),
        "group": ["a", "b"] * 150,
    }
    labels = {"fall": YES_NO, "group": ("a", "b")}
    cells = cox(frame_of(data, labels), "cox", "fall", ["group"])
    events = len(cells[1].persons)

    release = control_release(cells, ROUNDED)

    ratio, low, high, p = (cell.shown for cell in release.cells[2:])
    lower, upper = cells[3].value, cells[4].value
    assert lower and upper
    exact = np.log(upper / lower)
    assert ratio and low and high and p and (events, release.cells[1].shown) == (52, 50)
    widened = exact * np.sqrt(52 / 50)
    assert np.log(high / low) == pytest.approx(widened, abs=8e-3)
    assert np.log(high / low) != pytest.approx(exact, abs=8e-3)
    # Too few events to show tell as little by a model.
    few = control_release(cells, replace(ROUNDED, suppress_up_to=events + 2))
    assert [cell.shown for cell in few.cells[1:]] == [None] * 5
