"""Disclosure control on vectors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ehr_fhir.errors import Invalid
from ehr_privacy.disclosure import POLICIES, control_table


def table(*counts: int) -> list[dict[str, Any]]:
    return [{"group": f"g{n}", "n": count} for n, count in enumerate(counts)]


@pytest.mark.parametrize(
    ("policy", "count", "published"),
    [
        ("opensafely-7-5", 0, None),
        ("opensafely-7-5", 6, None),
        ("opensafely-7-5", 7, None),
        ("opensafely-7-5", 8, 10),
        ("opensafely-7-5", 12, 10),
        ("opensafely-7-5", 13, 15),
        ("opensafely-7-5", 100, 100),
        ("midpoint-6", 0, 0),
        ("midpoint-6", 1, 3),
        ("midpoint-6", 6, 3),
        ("midpoint-6", 7, 9),
        ("midpoint-6", 12, 9),
        ("midpoint-6", 13, 15),
        ("midpoint-6", 18, 15),
        ("acro-10", 0, None),
        ("acro-10", 9, None),
        ("acro-10", 10, 10),
        ("acro-10", 11, 11),
    ],
)
def test_a_count_is_published_as_the_policy_says(
    policy: str, count: int, published: int | None
) -> None:
    assert POLICIES[policy].control(count) == published


def test_totals_are_sums_of_what_is_published() -> None:
    controlled = control_table("opensafely-7-5", table(3, 13, 22), ["n"])

    assert [row["n"] for row in controlled.rows] == [None, 15, 20]
    assert controlled.totals == {"n": 35}


def test_a_single_suppressed_exact_cell_takes_the_next_smallest_with_it() -> None:
    controlled = control_table("acro-10", table(40, 3, 12, 12), ["n"])

    assert [row["n"] for row in controlled.rows] == [40, None, None, 12]
    assert controlled.totals == {"n": 52}


def test_two_suppressed_exact_cells_need_no_third() -> None:
    controlled = control_table("acro-10", table(40, 3, 4), ["n"])

    assert [row["n"] for row in controlled.rows] == [40, None, None]


def test_the_record_counts_every_control() -> None:
    controlled = control_table("acro-10", table(40, 3, 12), ["n"])
    rounded = control_table("opensafely-7-5", table(3, 13, 20), ["n"])

    assert controlled.record == {
        "policy": "acro-10",
        "version": "1",
        "threshold": 9,
        "method": "exact",
        "base": 1,
        "cells": 3,
        "suppressed": 2,
        "secondary": 1,
        "rounded": 0,
        "sha256": None,
    }
    assert (rounded.control.suppressed, rounded.control.rounded) == (1, 1)


def test_the_record_is_json_and_carries_the_hash_of_the_file() -> None:
    record = control_table("midpoint-6", table(1), ["n"]).control.released_as("ab" * 32)

    assert json.loads(json.dumps(record.__dict__))["sha256"] == "ab" * 32


def test_strata_stay_as_they_are_and_the_order_too() -> None:
    controlled = control_table("midpoint-6", table(7, 1), ["n"])

    assert controlled.rows == ({"group": "g0", "n": 9}, {"group": "g1", "n": 3})


def test_an_empty_table_is_controlled_too() -> None:
    assert control_table("acro-10", [], ["n"]).rows == ()


@pytest.mark.parametrize("value", [None, -1, 2.5, "3", True])
def test_what_is_not_a_count_is_refused_without_naming_it(value: object) -> None:
    with pytest.raises(Invalid) as refused:
        control_table("acro-10", [{"n": value}], ["n"])

    assert str(refused.value) == "Column n holds something that is not a count."


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(Invalid, match="opensafely-7-5"):
        control_table("none", [], [])
