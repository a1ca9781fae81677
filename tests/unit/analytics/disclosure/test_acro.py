"""The same tables and models through `acro` and through ours: each disagreement has its reason."""

from __future__ import annotations

import csv
import io
import json
import random
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import pytest

from ehr_analytics.disclosure.cells import Cell
from ehr_analytics.disclosure.control import ControlledCell, control_release
from ehr_analytics.disclosure.primary import Reason
from ehr_privacy.disclosure import POLICIES
from tests.conftest import ROOT

PYTHON = ROOT / ".venv-acro" / "bin" / "python"
EXACT = POLICIES["acro-10"]
SIZES = (8, 11, 12, 13, 15, 19, 20, 21, 40)
CHECKS = {
    "MinimumThresholdCheck": Reason.THRESHOLD,
    "PresenceOfZeroCheck": Reason.ZERO,
    "NKCheck": Reason.DOMINANCE,
    "PPercentCheck": Reason.P_PERCENT,
}
# Reasons of ours for what acro lets leave. docs/reference/disclosure.md explains each.
STRICTER = {Reason.SECONDARY, Reason.ONE_SIDED, Reason.DEGREES_OF_FREEDOM}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="acro is not installed: make acro"),
]


@cache
def make_people(seed: int) -> Sequence[Mapping[str, Any]]:
    """Return people with few in some regions, and visits of which few have most."""
    chance = random.Random(seed)
    return [
        {
            "person": f"person-{number}",
            "sex": chance.choice("fm"),
            "region": chance.choices("abcd", (60, 26, 10, 4))[0],
            "visits": round(chance.lognormvariate(0, 2.2), 3),
            "age": round(chance.gauss(50, 10), 1),
        }
        for number in range(200)
    ]


@cache
def ask_acro(seed: int) -> Mapping[str, Any]:
    """Return what acro says of the people's tables and of models of the first ones."""
    people = make_people(seed)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(people[0]))
    writer.writeheader()
    writer.writerows(people)
    ran = subprocess.run(
        [str(PYTHON), "-m", "tests.lib.acro_tables", *map(str, SIZES)],
        cwd=ROOT, input=text.getvalue(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    answer: Mapping[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return answer


def make_cell(people: Sequence[Mapping[str, Any]], statistic: str, row: str, column: str) -> Cell:
    """Return the same number of ours, with whom it is about."""
    own = [each for each in people if row in ("", each["sex"]) and column in ("", each["region"])]
    labels = tuple((name, value) for name, value in (("sex", row), ("region", column)) if value)
    table = "-".join(["by", *(name for name, _ in labels)])
    persons = frozenset(each["person"] for each in own)
    if statistic == "frequency":
        return Cell(table, labels, statistic, len(own), "persons", persons)
    amounts = {each["person"]: each["visits"] for each in own}
    total = sum(amounts.values())
    value = None if not own else total if statistic == "sum" else total / len(own)
    return Cell(table, labels, statistic, value, "visits", persons, amounts)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("statistic", ["frequency", "mean", "sum"])
def test_a_table_leaves_as_by_acro_or_is_hidden_for_a_reason_that_acro_does_not_know(
    statistic: str, seed: int
) -> None:
    theirs = [cell for cell in ask_acro(seed)["cells"] if cell["statistic"] == statistic]
    cells = [
        make_cell(make_people(seed), statistic, cell["row"], cell["column"]) for cell in theirs
    ]

    ours = control_release(cells, EXACT).cells

    assert len(theirs) == 15
    assert any(cell["checks"] for cell in theirs)
    for controlled, cell in zip(ours, theirs, strict=True):
        assert_agrees(controlled, cell)


def assert_agrees(ours: ControlledCell, theirs: Mapping[str, Any]) -> None:
    if theirs["checks"]:
        # Ours names the first reason; nobody behind a cell is a reason of its own.
        reasons = {CHECKS[check] for check in theirs["checks"]}
        reasons |= {Reason.ZERO} if not ours.cell.persons else set()
        assert ours.reason in reasons
    elif ours.reason is not None:
        assert ours.reason in STRICTER
    else:
        assert ours.shown == pytest.approx(theirs["value"], rel=0.005)


def test_a_model_of_few_leaves_later_than_by_acro_and_never_earlier() -> None:
    people, theirs = make_people(0), ask_acro(0)["models"]

    ours = {}
    for size in SIZES:
        ones = {each["person"]: 1.0 for each in people[:size]}
        cell = Cell("model", (), "coefficient", 0.1, "visits", frozenset(ones), ones)
        ours[size] = control_release([cell], EXACT).cells[0].reason is None

    acro = {size: theirs[str(size)] == "pass" for size in SIZES}
    # Persons less two coefficients, at least 10; ours takes ten persons off, however many terms.
    assert acro == {size: size >= 12 for size in SIZES}
    assert ours == {size: size >= 20 for size in SIZES}
