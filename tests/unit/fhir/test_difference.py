"""The difference of two resources: a valid FHIRPath Patch that makes the one of the other."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ehr_fhir.patch.difference import build_difference
from ehr_fhir.patch.fhirpath_patch import MAX_OPERATIONS, apply_fhirpath_patch, parse_fhirpath_patch
from tests.lib.examples import examples

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def apply(before: dict[str, Any], operations: list[dict[str, Any]]) -> dict[str, Any]:
    """Apply operations in patches of the size that is taken."""
    for begin in range(0, len(operations), MAX_OPERATIONS):
        some = operations[begin : begin + MAX_OPERATIONS]
        patch = parse_fhirpath_patch({"resourceType": "Parameters", "parameter": some})
        before = apply_fhirpath_patch(before, patch, NOW)
    return before


def without(resource: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in resource.items() if key not in names}


def test_the_patch_makes_each_official_example_of_the_one_before(shared_data: Path) -> None:
    by_type = defaultdict(list)
    for example in examples(shared_data):
        by_type[example.content["resourceType"]].append(example.content)
    compared = 0
    for resources in by_type.values():
        for before, after in pairwise([*resources[:5], resources[0]]):
            made = apply(before, build_difference(before, after))
            assert without(made, "id", "meta") == without(after, "id", "meta"), before["id"]
            compared += 1
    assert compared > 200


def names(*given: str) -> dict[str, Any]:
    return {"resourceType": "Patient", "name": [{"given": list(given)}]}


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        (names("a", "b"), names("a", "b", "c"), ["add"]),
        (names("a", "c"), names("a", "b", "c"), ["insert"]),
        (names("a", "b", "c"), names("a", "c"), ["delete"]),
        (names("a", "b"), names("a", "x"), ["replace"]),
        (names("a"), names("a"), []),
        (names("a"), {"resourceType": "Patient"}, ["delete"]),
        ({"resourceType": "Patient"}, names("a"), ["add"]),
    ],
)
def test_of_a_list_only_what_is_another_is_named(
    before: dict[str, Any], after: dict[str, Any], kinds: list[str]
) -> None:
    operations = build_difference(before, after)

    assert [one["part"][0]["valueCode"] for one in operations] == kinds
    assert apply(before, operations) == after


def test_a_primitives_extension_and_a_choice_of_another_type_are_told() -> None:
    absent = {"extension": [{"url": "urn:reason", "valueCode": "unknown"}]}
    before = {"resourceType": "Observation", "status": "final", "valueString": "high"}
    after = {"resourceType": "Observation", "_status": absent, "valueBoolean": True}

    assert apply(before, build_difference(before, after)) == after
    assert apply(after, build_difference(after, before)) == before


def test_meta_and_id_are_left_out() -> None:
    before = {"resourceType": "Patient", "id": "a", "meta": {"versionId": "1"}}
    after = {"resourceType": "Patient", "id": "b", "meta": {"versionId": "2"}}

    assert build_difference(before, after) == []
    (told,) = build_difference(before, after, with_meta=True)
    assert told["part"][1] == {"name": "path", "valueString": "Patient.meta.versionId"}
