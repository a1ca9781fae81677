"""Each test that the table of Inferno's expectations names is there."""

from __future__ import annotations

import re

from tests.conftest import ROOT

PAGE = ROOT / "docs/reference/inferno.md"


def test_the_table_names_tests_that_are_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE.read_text("utf-8"))

    assert len(named) > 30
    for path, name in named:
        assert f"def {name}(" in (ROOT / path).read_text("utf-8"), (path, name)


def test_no_row_is_without_an_answer() -> None:
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]

    for row in rows:
        assert len(row.strip("|").split(" | ")) == 2, row
