"""The privacy budget on both databases, and what OpenDP's answers cost."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import IntegrityError

from ehr_analytics.disclosure.budget import BudgetLedger, Charge
from ehr_analytics.disclosure.budget_grants import (
    Grant,
    grant_budget,
    list_grants,
    record_grants,
)
from ehr_analytics.disclosure.private_statistics import PrivateTable
from ehr_analytics.lineage import RegisterSteps
from ehr_analytics.register import Register
from ehr_fhir.errors import Conflict, Forbidden, Invalid, NotFound


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with ExitStack() as stack:
        if request.param == "sqlite":
            url, options = f"sqlite:///{tmp_path / 'budget.db'}", {"timeout": 60}
        else:
            url, options = stack.enter_context(request.getfixturevalue("postgresql").database()), {}
            url = url.replace("postgresql://", "postgresql+psycopg://")
        made = create_engine(url, connect_args=options, pool_size=20)
        yield made
        made.dispose()


def charge(epsilon: float, project: str = "falls") -> Charge:
    return Charge("patients", project, "researcher.lau", "count", epsilon)


def test_a_budget_is_spent_and_then_no_more(engine: Engine) -> None:
    ledger = BudgetLedger(engine)
    ledger.grant("patients", "", 10)
    ledger.grant("patients", "falls", 1)

    ledger.spend(charge(0.7))
    with pytest.raises(Conflict, match=r"costs 0.4, and 0.3 of 1 is left"):
        ledger.spend(charge(0.4))
    ledger.spend(charge(0.3))

    assert ledger.read_remaining_epsilon("patients", "falls") == 0
    assert [spent.epsilon for spent in ledger.list_charges("patients")] == [0.7, 0.3]


def test_the_budget_of_all_projects_holds_for_each(engine: Engine) -> None:
    ledger = BudgetLedger(engine)
    ledger.grant("patients", "", 1)
    for project in ("falls", "other"):
        ledger.grant("patients", project, 1)

    ledger.spend(charge(0.8))
    with pytest.raises(Conflict, match="of the data set"):
        ledger.spend(charge(0.3, "other"))

    # What was refused took nothing of the project's own.
    ledger.grant("patients", "", 5)
    assert ledger.read_remaining_epsilon("patients", "other") == 1


def test_without_a_budget_nothing_is_answered(engine: Engine) -> None:
    ledger = BudgetLedger(engine)
    ledger.grant("patients", "", 1)

    with pytest.raises(NotFound):
        ledger.spend(charge(0.1))
    for epsilon in (0, -1, float("nan"), float("inf")):
        with pytest.raises(Invalid):
            ledger.spend(charge(epsilon))
    with pytest.raises(Conflict):
        ledger.grant("patients", "falls", 1)
        ledger.spend(charge(0.5))
        ledger.grant("patients", "falls", 0.4)


def test_requests_at_the_same_time_cannot_overspend(engine: Engine) -> None:
    ledger = BudgetLedger(engine)
    ledger.grant("patients", "", 100)
    ledger.grant("patients", "falls", 1)

    def spend(_: int) -> bool:
        try:
            ledger.spend(charge(0.1))
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(spend, range(60)))

    assert sum(outcomes) == len(ledger.list_charges("patients")) == 10
    assert ledger.read_remaining_epsilon("patients", "falls") == 0


# Each tries to spend a budget of 10 charges alone.
_SPEND = """
import sys
from sqlalchemy import create_engine
from ehr_analytics.disclosure.budget import BudgetLedger, Charge
from ehr_fhir.errors import Conflict
options = {"timeout": 60} if sys.argv[1].startswith("sqlite") else {}
ledger = BudgetLedger(create_engine(sys.argv[1], connect_args=options))
print("ready", flush=True)
sys.stdin.readline()
for number in range(10):
    try:
        ledger.spend(Charge("patients", "falls", "researcher.lau", "count", 0.1))
    except Conflict:
        pass
"""


def test_processes_at_the_same_time_cannot_overspend(engine: Engine) -> None:
    ledger = BudgetLedger(engine)
    ledger.grant("patients", "", 100)
    ledger.grant("patients", "falls", 1)
    url = engine.url.render_as_string(hide_password=False)

    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _SPEND, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    for process in processes:
        process.communicate(b"go\n")

    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(ledger.list_charges("patients")) == 10
    assert ledger.list_budgets("patients")[1] == ("falls", 1.0, 1.0)


def test_the_database_itself_refuses_an_overspent_budget(engine: Engine) -> None:
    ledger = BudgetLedger(engine)
    ledger.grant("patients", "falls", 1)

    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(text("UPDATE privacy_budget SET spent = total + 1"))


def grant(ledger: BudgetLedger, who: str, epsilon: float = 2, *names: str) -> Grant:
    return grant_budget(
        ledger, "patients", "falls", epsilon, who, names=names, members=("researcher.lau",)
    )


def test_a_budget_is_granted_by_two_people(engine: Engine) -> None:
    ledger = BudgetLedger(engine)

    grant(ledger, "ng")
    assert ledger.list_budgets("patients") == []
    for who, *names in (("ng",), ("ng.auditor", "ng")):
        with pytest.raises(Conflict, match="Another person"):
            grant(ledger, who, 2, *names)
    # Another figure is a proposal of its own, which takes the place of the first.
    assert grant(ledger, "tse", 3).confirmed_by == ""
    confirmed = grant(ledger, "ng", 3)

    assert (confirmed.proposed_by, confirmed.confirmed_by) == ("tse", "ng")
    assert ledger.list_budgets("patients") == [("falls", 3.0, 0.0)]
    assert list_grants(ledger, "patients") == [confirmed]


def test_grants_are_in_the_log_of_research_also_after_a_kill(
    engine: Engine, tmp_path: Path
) -> None:
    ledger, register = BudgetLedger(engine), Register(tmp_path)
    grant(ledger, "ng")
    record_grants(register, ledger, "patients")
    # Killed before it was recorded; the next call does so, and nothing twice.
    grant(ledger, "tse")
    for _ in range(2):
        record_grants(register, ledger, "patients")

    steps = RegisterSteps(register).read_new()
    assert [(step["who"], step["action"]) for step in steps] == [
        ("ng", "propose-budget"),
        ("tse", "grant-budget"),
    ]
    assert steps[1]["facts"]["budget"] == vars(list_grants(ledger, "patients")[0])


def test_no_budget_is_granted_by_the_project_or_for_nothing(engine: Engine) -> None:
    ledger = BudgetLedger(engine)

    with pytest.raises(Forbidden):
        grant(ledger, "lau.steward", 2, "researcher.lau")
    for epsilon in (0, -1, float("nan")):
        with pytest.raises(Invalid):
            grant(ledger, "ng", epsilon)
    for project in ("", "falls"):
        ledger.grant("patients", project, 5)
    ledger.spend(charge(3))
    grant(ledger, "ng", 2)
    with pytest.raises(Conflict, match="spent"):
        grant(ledger, "tse", 2)
    assert ledger.list_budgets("patients") == [("", 5.0, 3.0), ("falls", 5.0, 3.0)]


def test_one_proposal_is_confirmed_once(engine: Engine) -> None:
    # Who comes after the confirmation proposes anew, and somebody else may confirm that.
    ledger = BudgetLedger(engine)
    grant(ledger, "ng")

    def confirm(number: int) -> bool:
        try:
            return bool(grant(ledger, f"steward.{number}").confirmed_by)
        except Conflict:
            return False

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(confirm, range(8)))

    confirmed = [one for one in list_grants(ledger, "patients") if one.confirmed_by]
    assert confirmed
    assert all(one.proposed_by != one.confirmed_by for one in confirmed)
    assert sum(one.proposed_by == "ng" for one in confirmed) == 1


@pytest.fixture
def table(tmp_path: Path) -> PrivateTable:
    ledger = BudgetLedger(create_engine(f"sqlite:///{tmp_path / 'budget.db'}"))
    for project in ("", "falls"):
        ledger.grant("patients", project, 1000)
    return PrivateTable(ledger, "patients", "falls", "researcher.lau")


def test_answers_are_near_the_truth_and_paid_for(table: PrivateTable) -> None:
    ages = [float(20 + number % 60) for number in range(3000)]

    assert table.count(ages, 1.0) == pytest.approx(3000, abs=40)
    assert table.mean(ages, (0, 110), 1.0) == pytest.approx(statistics.mean(ages), abs=2)
    candidates = [float(age) for age in range(0, 111)]
    assert table.quantile(ages, 0.5, candidates, 1.0) == pytest.approx(49.5, abs=3)
    histogram = table.histogram(["f"] * 2000 + ["m"] * 900 + ["x"] * 100, ["f", "m"], 1.0)
    assert histogram == {"f": pytest.approx(2000, abs=40), "m": pytest.approx(900, abs=40)}
    assert table.ledger.read_remaining_epsilon("patients", "falls") == 996


def test_noise_is_as_large_as_epsilon_asks(table: PrivateTable) -> None:
    # The mean distance of geometric noise of scale 2 is just below 2.
    answers = [table.count(range(1000), 0.5) for _ in range(400)]

    assert statistics.mean(abs(answer - 1000) for answer in answers) == pytest.approx(2, abs=0.6)


def test_an_overspent_query_draws_no_noise(
    table: PrivateTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "ehr_analytics.disclosure.private_statistics._opendp", lambda: pytest.fail("it answered")
    )

    with pytest.raises(Conflict):
        table.count(range(10), 1001)


def test_what_is_public_is_asked_for_in_order(table: PrivateTable) -> None:
    with pytest.raises(Invalid):
        table.mean([1.0], (5, 5), 1.0)
    with pytest.raises(Invalid):
        table.quantile([1.0], 0.5, [2.0, 1.0], 1.0)
    with pytest.raises(Invalid):
        table.histogram(["f"], ["f", "f"], 1.0)

    assert table.ledger.read_remaining_epsilon("patients", "falls") == 1000
