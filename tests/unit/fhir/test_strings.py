"""How texts are folded for comparison, and how long ones stand in an index."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_fhir.string_folding import MAX_INDEXED_CHARACTERS, normalize_string, shorten_for_index


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("陳大文", "陈大文"),
        ("衞生署", "卫生署"),
        ("裏", "里"),
        ("ＣＨＡＮ　Ｔａｉ", "Chan Tai"),
        ("Müller", "MULLER"),
        ("Wai-Man", "wai  man"),
        ("O'Brien", "OBrien"),
        ("Straße", "STRASSE"),
        ("１２３，Nathan Road", "123 nathan road"),
    ],
)
def test_two_ways_to_write_a_name_are_one(one: str, other: str) -> None:
    assert normalize_string(one) == normalize_string(other)


@pytest.mark.parametrize(
    ("one", "other"), [("陳", "程"), ("Chan", "Chang"), ("-", "!"), ("a b", "ab")]
)
def test_different_names_stay_different(one: str, other: str) -> None:
    assert normalize_string(one) != normalize_string(other)


@given(st.text())
def test_folding_twice_changes_nothing_more(text: str) -> None:
    once = normalize_string(text)

    assert len(once) <= MAX_INDEXED_CHARACTERS
    assert normalize_string(once) == once or not once.isascii()


def test_texts_up_to_the_limit_stand_as_they_are() -> None:
    assert shorten_for_index("x" * 300) == "x" * 300
    assert len(shorten_for_index("x" * 301)) == 265


def test_long_texts_that_differ_at_the_end_stay_different_and_begin_alike() -> None:
    one, other = "x" * 400 + "a", "x" * 400 + "b"

    assert shorten_for_index(one) != shorten_for_index(other)
    assert shorten_for_index(one)[:200] == shorten_for_index(other)[:200] == "x" * 200


@given(st.text(min_size=100))
def test_two_texts_fit_into_a_key_of_a_b_tree(text: str) -> None:
    assert 2 * len(shorten_for_index(text).encode("utf-8", "surrogatepass")) < 2700
