"""Live counts: one person more does not show, and the ledger gives no question twice."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path

import pytest

from ehr_analytics.cohorts import AttritionStep, parse_cohort
from ehr_analytics.disclosure.private_statistics import add_noise
from ehr_analytics.live_counts import LIMITS, add_noise_to_attrition, control_attrition
from ehr_analytics.project import get_project
from ehr_analytics.register import Register
from ehr_privacy.disclosure import POLICIES, Policy
from tests.lib.research import DRAFT, NOW, open_project, register

DRAWS = 20_000
COHORT = parse_cohort({
    "name": "seen",
    "events": {"visits": {"table": "encounter_flat", "date": "start"}},
    "index": {"events": "visits"},
})  # fmt: skip
ATTRITION = (
    AttritionStep("in the data", 900),
    AttritionStep("population", 900),
    AttritionStep("index event", 700),
)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_one_person_more_does_not_show_even_at_the_edge_of_a_rounding(policy: Policy) -> None:
    edge = next(n for n in range(300, 320) if policy.control(n) != policy.control(n + 1))

    shown = [
        Counter(policy.control(max(0, count)) for count in add_noise([people] * DRAWS, 0.1))
        for people in (edge, edge + 1)
    ]

    # How often whoever makes the best guess is right: of what is shown, the likelier of the two.
    right = sum(max(one[value] for one in shown) for value in {*shown[0], *shown[1]})
    # Differential privacy bounds it by 52.5 %; the rest is the chance of this many draws.
    assert right / (2 * DRAWS) < 0.56


def test_the_people_left_descend_and_are_about_the_true_ones() -> None:
    for _ in range(20):
        left = add_noise_to_attrition(ATTRITION, LIMITS.epsilon)

        assert left == sorted(left, reverse=True)
        # 20 scales: once in 100 million draws.
        assert all(
            abs(noisy - step.persons) < 600 for noisy, step in zip(left, ATTRITION, strict=True)
        )


def test_no_two_requests_take_the_same_question(tmp_path: Path) -> None:
    book = register(tmp_path)
    project = open_project(book)
    limits = replace(LIMITS, in_window=5)

    def ask(version: int) -> bool:
        asked = replace(COHORT, index=replace(COHORT.index, washout_days=version))
        return bool(control_attrition(book, project, "lau", asked, ATTRITION, limits))

    with ThreadPoolExecutor(8) as threads:
        answered = list(threads.map(ask, range(24)))

    assert sum(answered) == 5


@pytest.mark.slow
def test_processes_share_no_question(tmp_path: Path) -> None:
    # The ledger is in the register's SQLite file, whichever database the gateway has.
    open_project(register(tmp_path))

    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as processes:
        answered = sum(processes.map(ask_eight_times, [tmp_path] * 3, range(3)))

    assert answered == 5


def ask_eight_times(folder: Path, process: int) -> int:
    """Ask eight questions of its own; return how many were answered."""
    book = register(folder)
    project = get_project(book, DRAFT.id)
    limits = replace(LIMITS, in_window=5)
    questions = [
        replace(COHORT, index=replace(COHORT.index, washout_days=10 * process + number))
        for number in range(8)
    ]
    return sum(
        bool(control_attrition(book, project, "lau", asked, ATTRITION, limits))
        for asked in questions
    )


def test_a_day_later_more_questions_come_until_all_are_spent(tmp_path: Path) -> None:
    book = register(tmp_path)
    project = open_project(book)
    limits = replace(LIMITS, in_window=2, in_all=3)

    def ask(day: int, version: int) -> bool:
        later = Register(tmp_path, clock=lambda: NOW + timedelta(days=day, seconds=1))
        asked = replace(COHORT, index=replace(COHORT.index, washout_days=version))
        return bool(control_attrition(later, project, "lau", asked, ATTRITION, limits))

    assert [ask(0, 1), ask(0, 2), ask(0, 3)] == [True, True, False]
    # What was answered is answered still, for a day.
    assert ask(0, 1)
    assert [ask(1, 1), ask(1, 5), ask(9, 6)] == [True, False, False]
