"""Regular expressions of strangers: linear in the text, counted, and refused where RE2 has none."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ehr_fhir import fhirpath
from ehr_fhir.errors import Invalid, TooCostly

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def values(expression: str, text: str = "") -> list[Any]:
    resource = {"resourceType": "Basic", "id": text}
    return fhirpath.compile(expression).evaluate(resource, now=NOW)


@pytest.mark.parametrize(
    "pattern",
    [
        "^(a+)+$",
        "^(a|a)*$",
        "^(a|aa)+$",
        "^([a-z]+)*$",
        "^(.*a){20}$",
        "(x+x+)+y",
        "^(a?){60}a{60}!",
    ],
)
def test_a_catastrophic_backtracking_pattern_runs_in_linear_time(pattern: str) -> None:
    # Each takes a backtracking engine longer than the timeout of a test.
    assert values(f"id.matches('{pattern}')", "a" * 5000 + "?") == [False]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [("(a?){900}b", "a" * 900_000), ("(([ab]*a[ab]{30}c)|){20}z", "ab" * 400_000)],
)
def test_a_large_pattern_on_a_long_text_is_too_costly(pattern: str, text: str) -> None:
    with pytest.raises(TooCostly):
        values(f"id.matches('{pattern}')", text)


def test_a_replacement_that_rescans_the_rest_for_each_match_is_too_costly() -> None:
    with pytest.raises(TooCostly):
        values("id.replaceMatches('a(.*b)?', '')", "a" * 900_000)


@pytest.mark.parametrize("pattern", ["(", "(?=a)", "(?<!a)b", "(a)\\\\1", "(.{1,1000}){50}"])
def test_a_pattern_that_needs_backtracking_or_too_much_memory_is_refused(pattern: str) -> None:
    with pytest.raises(Invalid, match="not one that this engine reads"):
        values(f"'a'.matches('{pattern}')")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("'a陳é'.replaceMatches('(陳)(é)', '$2-$1')", "aé-陳"),
        ("'ab'.replaceMatches('(?P<first>a)', '${first}${first}')", "aab"),
        ("'ab'.replaceMatches('a', '[$0]')", "[a]b"),
        ("'ab'.replaceMatches('(x)?b', '<$1>')", "a<>"),
        ("'ab'.replaceMatches('b', '\\\\n')", "a\\n"),
    ],
)
def test_substitutions_have_groups_in_java_syntax(expression: str, expected: str) -> None:
    assert values(expression) == [expected]


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(Invalid, match="no Unicode"):
        values("id.matches('a')", "\ud800")
