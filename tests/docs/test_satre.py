"""SATRE's table: every requirement once, a state of four, and tests that exist."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "satre.md"
# How many requirements each capability of the specification has.
REQUIREMENTS = {
    **{"1.1": 3, "1.2": 12, "1.3": 5, "1.4": 7, "1.5": 6, "1.6": 9},
    **{"2.1": 18, "2.2": 16, "2.3": 4, "2.4": 5, "2.5": 18},
    **{"3.1": 13, "3.2": 6, "3.3": 8, "3.4": 1, "3.5": 3, "3.6": 2, "3.7": 1, "3.8": 2},
    **{"4.1": 2, "4.2": 2, "4.3": 3, "4.4": 4, "4.5": 1, "4.6": 1, "4.7": 1, "4.8": 4, "4.9": 3},
}
_ROW = re.compile(
    r"^\| ([1-4]\.\d+\.\d+) \| (M\*?|R|O) \| (.+?) \| (.+?) \| (.*?) \| (.*?) \|$", re.M
)


def read_rows() -> list[tuple[str, ...]]:
    return _ROW.findall(PAGE.read_text("utf-8"))


def test_every_requirement_stands_once_in_order() -> None:
    expected = [
        f"{capability}.{number}"
        for capability, count in REQUIREMENTS.items()
        for number in range(1, count + 1)
    ]

    assert [row[0] for row in read_rows()] == expected


@pytest.mark.parametrize("row", read_rows(), ids=lambda row: row[0])
def test_what_is_met_names_a_test_and_each_test_exists(row: tuple[str, ...]) -> None:
    _, _, _, state, _, tests = row

    named = re.findall("`([^`]+)`", tests)
    assert state in {"met", "partly", "by the operator", "no"}
    assert named or state != "met"
    assert all((ROOT / "tests" / name).is_file() for name in named)


def test_the_sentence_counts_the_table() -> None:
    states = Counter(row[3] for row in read_rows())

    text = PAGE.read_text("utf-8")
    numbers = re.search(
        r"of (\d+), (\d+) are met by the software, (\d+) partly, (\d+) are the operator's, (\d+)",
        text,
    )
    assert numbers is not None
    counted = [states.total(), *(states[s] for s in ("met", "partly", "by the operator", "no"))]
    assert [int(number) for number in numbers.groups()] == counted
