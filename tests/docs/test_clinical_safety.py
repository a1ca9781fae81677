"""The hazard log: each control has its test, each rating is the matrix's."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOG = ROOT / "docs" / "explanation" / "clinical-safety.md"
# DCB 0129: by likelihood, for minor, significant, considerable, major, catastrophic.
MATRIX = {
    "very high": (3, 4, 4, 5, 5),
    "high": (2, 3, 3, 4, 5),
    "medium": (2, 2, 3, 3, 4),
    "low": (1, 2, 2, 3, 4),
    "very low": (1, 1, 2, 2, 3),
}
SEVERITIES = ("minor", "significant", "considerable", "major", "catastrophic")


@dataclass(frozen=True)
class Hazard:
    """One entry of the log."""

    number: int
    name: str
    text: str

    def part(self, name: str) -> str:
        """Return what one line of the entry says; empty where it has none."""
        found = re.search(rf"\*\*{name}\*\*: (.*?)(?=\n- \*\*|\Z|\n\n)", self.text, re.S)
        return found[1].strip() if found else ""

    @property
    def tests(self) -> list[str]:
        """Return the names of the tests that show its control."""
        return re.findall(r"`(tests/[^`]+)`", self.part("Shown by"))

    @property
    def ratings(self) -> list[tuple[str, str, int]]:
        """Return severity, likelihood and rating, before and after."""
        found = re.findall(r"\*\*(?:Before|After)\*\*: ([\w ]+), ([\w ]+), (\d)", self.text)
        return [(severity, likelihood, int(rating)) for severity, likelihood, rating in found]


def hazards() -> list[Hazard]:
    """Return the entries of the log."""
    entries = re.split(r"^### ", LOG.read_text("utf-8"), flags=re.M)[1:]
    found = [re.match(r"H(\d+) (.+)\n", entry) for entry in entries]
    return [
        Hazard(int(match[1]), match[2], entry)
        for match, entry in zip(found, entries, strict=True)
        if match
    ]


@pytest.mark.parametrize("hazard", hazards(), ids=lambda hazard: f"H{hazard.number}")
def test_a_hazard_has_a_cause_an_effect_a_control_and_a_test_that_shows_it(hazard: Hazard) -> None:
    for part in ("Cause", "Effect", "Control"):
        assert hazard.part(part), part
    assert hazard.tests or hazard.part("Open")

    for name in hazard.tests:
        file, _, test = name.partition("::")
        assert test in defined_tests(file), name


@pytest.mark.parametrize("hazard", hazards(), ids=lambda hazard: f"H{hazard.number}")
def test_a_rating_is_what_the_matrix_gives_and_no_control_makes_it_worse(hazard: Hazard) -> None:
    before, after = hazard.ratings

    for severity, likelihood, rating in (before, after):
        assert MATRIX[likelihood][SEVERITIES.index(severity)] == rating
    assert after[2] <= before[2]
    # 5 is unacceptable and 4 must be reduced, unless the log says what is still to be done.
    assert after[2] <= 3 or hazard.part("Open")


def test_the_matrix_of_the_log_is_that_of_the_standard() -> None:
    rows = re.findall(r"^\| ([\w ]+) \| (\d) \| (\d) \| (\d) \| (\d) \| (\d) \|$",
                      LOG.read_text("utf-8"), re.M)  # fmt: skip

    assert {row[0]: tuple(map(int, row[1:])) for row in rows} == MATRIX


def test_the_hazards_are_numbered_without_a_gap() -> None:
    assert [hazard.number for hazard in hazards()] == list(range(1, len(hazards()) + 1))


@cache
def defined_tests(file: str) -> frozenset[str]:
    """Return the names of the tests of a file."""
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )
