"""The page of the gold tables names every view with every column."""

from __future__ import annotations

import re

import pytest

from ehr_etl.gold.library import list_view_names, load_view
from ehr_etl.sql_on_fhir import compile_view
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "reference" / "gold-views.md").read_text("utf-8")


@pytest.mark.parametrize("name", list_view_names())
def test_a_view_has_a_section_with_its_columns_in_order(name: str) -> None:
    section = re.search(rf"^## `{name}`$(.*?)(?=^## |\Z)", PAGE, re.M | re.S)

    assert section is not None
    documented = re.findall(r"^\| `(\w+)` \|", section[1], re.M)
    assert documented == compile_view(load_view(name)).column_names


def test_no_section_is_of_a_view_that_is_gone() -> None:
    assert set(re.findall(r"^## `(\w+)`$", PAGE, re.M)) == set(list_view_names())
