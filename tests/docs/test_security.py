"""The walk through OWASP ASVS keeps step with its page, the tests and the files it names."""

from __future__ import annotations

import ast
from functools import cache

import pytest

from tests.lib import asvs

ITEMS = asvs.items()


def test_every_requirement_of_the_two_levels_is_there_once() -> None:
    required = asvs.required()

    assert len(required) == len(set(required)) == 253
    assert [item.id for item in ITEMS] == required
    assert {item.chapter for item in ITEMS} == {f"V{number}" for number in range(1, 18)}


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.id)
def test_an_item_says_how_it_stands_and_what_shows_it(item: asvs.Item) -> None:
    assert item.chapter == f"V{item.id.split('.')[0]}"
    assert item.what
    assert item.state in asvs.STATES
    # What is met is shown; what is not says why.
    assert item.shown if item.state == "met" else item.why
    for shown in item.shown:
        path, _, test = shown.partition("::")
        assert (asvs.ROOT / path).is_file(), shown
        assert not test or test in _tests(path), shown


def test_the_page_has_the_tables_of_the_file() -> None:
    # After a change of asvs.toml: python -m tests.lib.asvs
    assert asvs.PAGE.read_text("utf-8") == asvs.page()


@cache
def _tests(path: str) -> frozenset[str]:
    tree = ast.parse((asvs.ROOT / path).read_text("utf-8"))
    named = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, named))
