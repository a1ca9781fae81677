"""The screen before Great Expectations lets no row pass in which it would find a fault."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_etl.data_quality.expectations import (
    find_faulty_rows,
    list_holding_expectations,
    load_suite,
)
from ehr_etl.data_quality.row_screen import are_plainly_met
from ehr_etl.gold.library import list_view_names

NAMES = ("0" * 32, "a" * 32, "A" * 32, f"{'b' * 32}\n", "b" * 31, "", None)
TEXTS = ("male", "unknown", "Male", "2026", "2026-03-04", "2026-13-xx", "2026-03-04T", "", None)
YEARS = (1889, 1890, 1956, 2100, 2101, None)


def expect(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {
        "name": kind,
        "type": f"expect_column_values_{kind}",
        "kwargs": kwargs,
        "holds_back": True,
    }


EXPECTATIONS = [
    expect("to_not_be_null", column="name"),
    expect("to_be_unique", column="name"),
    expect("to_match_regex", column="name", regex="^[0-9a-f]{32}$"),
    expect("to_match_regex", column="text", regex=r"^\d{4}(?:-\d{2}(?:-\d{2}(?:T.+)?)?)?$"),
    expect("to_be_in_set", column="text", value_set=["male", "unknown"]),
    expect("to_be_between", column="year", min_value=1890, max_value=2100),
    expect("to_not_be_null", column="number"),
    expect("to_be_between", column="number", min_value=1, max_value=2),
]


@settings(max_examples=60)
@given(
    names=st.lists(st.sampled_from(NAMES), min_size=3, max_size=3),
    texts=st.lists(st.sampled_from(TEXTS), min_size=3, max_size=3),
    years=st.lists(st.sampled_from(YEARS), min_size=3, max_size=3),
    numbers=st.lists(st.sampled_from([1.0, 2.5, float("nan"), None]), min_size=3, max_size=3),
    expectation=st.sampled_from(EXPECTATIONS),
)
def test_what_passes_the_screen_has_no_fault(
    names: list[Any], texts: list[Any], years: list[Any], numbers: list[Any], expectation: Any
) -> None:
    rows = pa.table(
        {
            "name": pa.array(names, pa.string()),
            "text": pa.array(texts, pa.string()),
            "year": pa.array(years, pa.int32()),
            "number": pa.array(numbers, pa.float64()),
        }
    )
    faults = find_faulty_rows("screened", rows.to_pandas(), {"expectations": [expectation]})

    # The screen knows whole numbers alone: others are left to Great Expectations.
    if expectation["kwargs"]["column"] == "number":
        assert not (are_plainly_met(rows, [expectation]) and faults)
    else:
        assert are_plainly_met(rows, [expectation]) == (not faults)


def test_what_the_screen_does_not_know_is_left_to_great_expectations() -> None:
    rows = pa.table({"name": ["a"], "list": [["a"]]})
    unknown = [
        expect("to_be_of_type", column="name", type_="str"),
        expect("to_be_unique", column="list"),
        expect("to_match_regex", column="gone", regex="a"),
        expect("to_match_regex", column="name", regex="a", row_condition="x"),
        expect("to_be_between", column="name", min_value=1),
    ]

    for expectation in unknown:
        assert not are_plainly_met(rows, [expectation]), expectation


@pytest.mark.parametrize("view", list_view_names())
def test_the_screen_knows_every_expectation_that_holds_back(view: str) -> None:
    good: dict[str, Any] = {
        "id": "a" * 32, "patient_id": "b" * 32, "class": "IMP", "code": "1", "start": "2026-03-04",
        "gender": "male", "birth_year": 1956, "deceased": False,
    }  # fmt: skip
    expectations = list_holding_expectations(load_suite(view))

    assert expectations
    assert are_plainly_met(pa.table({name: [value] for name, value in good.items()}), expectations)
