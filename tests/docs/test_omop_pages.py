"""The pages on OMOP are what their lists say, and what a list names is there."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT
from tests.docs.omop_pages import (
    CONFORMANCE,
    MAPPING,
    Requirement,
    conformance_text,
    load_requirements,
    mapping_text,
)

REQUIREMENTS = load_requirements()


def test_the_committed_pages_are_made_from_the_lists() -> None:
    assert CONFORMANCE.read_text("utf-8") == conformance_text(), "run `make omop-pages`"
    assert MAPPING.read_text("utf-8") == mapping_text(), "run `make omop-pages`"


def test_all_56_requirements_are_answered_once() -> None:
    numbers = [one.number for one in REQUIREMENTS]

    assert numbers == sorted(set(numbers))
    assert len(numbers) == 56


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda one: one.number)
def test_what_is_met_names_a_test_or_a_page_that_is_there(requirement: Requirement) -> None:
    assert requirement.status in ("met", "not met", "not applicable")
    if requirement.status == "met":
        assert requirement.tests or requirement.page
    else:
        assert requirement.note
    if requirement.page:
        assert (ROOT / requirement.page).is_file()
    for test in requirement.tests:
        file, _, name = test.partition("::")
        text = (ROOT / file).read_text("utf-8")
        assert not name or re.search(rf"^def {name}\(", text, re.M), test
