"""Generated tests draw the same examples for everybody."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def draw_examples() -> list[tuple[int, str]]:
    drawn: list[tuple[int, str]] = []

    @settings(settings.get_profile("same"), max_examples=200)
    @given(st.integers(), st.text())
    def test(number: int, text: str) -> None:
        drawn.append((number, text))

    test()
    return drawn


def test_what_is_imported_besides_changes_no_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "imported_besides"
    (tmp_path / f"{name}.py").write_text(
        "NUMBERS = (918273645, 5647382910, 11223344)\nWORDS = ('besides', 'elsewhere')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = draw_examples()

    importlib.import_module(name)

    assert len(before) == 200
    assert draw_examples() == before
