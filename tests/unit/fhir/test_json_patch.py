"""JSON Patch: the examples of RFC 6902's appendix, the digits of numbers, what errors tell."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from ehr_fhir.errors import EhrError, Invalid, TooCostly, Unprocessable
from ehr_fhir.json_text import parse, serialize
from ehr_fhir.patch.json_patch import (
    MAX_OPERATIONS,
    apply_json_patch,
    parse_json_patch,
    parse_operations,
)
from ehr_fhir.patch.patch import JSON_PATCH, parse_patch_body

FOO: dict[str, Any] = {"foo": "bar"}
WALDO = {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}}
FOUND = [
    ("A.1", FOO, {"op": "add", "path": "/baz", "value": "qux"}, {"baz": "qux", "foo": "bar"}),
    ("A.2", {"foo": ["bar", "baz"]}, {"op": "add", "path": "/foo/1", "value": "qux"},
     {"foo": ["bar", "qux", "baz"]}),
    ("A.3", {"baz": "qux", "foo": "bar"}, {"op": "remove", "path": "/baz"}, FOO),
    ("A.4", {"foo": ["bar", "qux", "baz"]}, {"op": "remove", "path": "/foo/1"},
     {"foo": ["bar", "baz"]}),
    ("A.5", {"baz": "qux", "foo": "bar"}, {"op": "replace", "path": "/baz", "value": "boo"},
     {"baz": "boo", "foo": "bar"}),
    ("A.6", WALDO, {"op": "move", "from": "/foo/waldo", "path": "/qux/thud"},
     {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}}),
    ("A.7", {"foo": ["all", "grass", "cows", "eat"]},
     {"op": "move", "from": "/foo/1", "path": "/foo/3"},
     {"foo": ["all", "cows", "eat", "grass"]}),
    ("A.8", {"baz": "qux", "foo": ["a", 2, "c"]}, {"op": "test", "path": "/foo/1", "value": 2},
     {"baz": "qux", "foo": ["a", 2, "c"]}),
    ("A.10", FOO, {"op": "add", "path": "/child", "value": {"grandchild": {}}},
     {"foo": "bar", "child": {"grandchild": {}}}),
    ("A.11", FOO, {"op": "add", "path": "/baz", "value": "qux", "xyz": 123},
     {"foo": "bar", "baz": "qux"}),
    ("A.14", {"/": 9, "~1": 10}, {"op": "test", "path": "/~01", "value": 10}, {"/": 9, "~1": 10}),
    ("A.16", {"foo": ["bar"]}, {"op": "add", "path": "/foo/-", "value": ["abc", "def"]},
     {"foo": ["bar", ["abc", "def"]]}),
    ("the whole", FOO, {"op": "add", "path": "", "value": [1]}, [1]),
    ("copy", {"a": [1]}, {"op": "copy", "from": "/a", "path": "/b"}, {"a": [1], "b": [1]}),
    ("add replaces", FOO, {"op": "add", "path": "/foo", "value": None}, {"foo": None}),
    ("move onto itself", FOO, {"op": "move", "from": "/foo", "path": "/foo"}, FOO),
    ("an empty key", {"": 1}, {"op": "replace", "path": "/", "value": 2}, {"": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "step", "expected"), FOUND, ids=[f[0] for f in FOUND])
def test_each_example_of_the_appendix_comes_out(
    name: str, given: Any, step: dict[str, Any], expected: Any
) -> None:
    before = json.dumps(given)

    assert apply_json_patch(given, parse_operations([step])) == expected
    assert json.dumps(given) == before


@pytest.mark.parametrize(
    ("given", "step"),
    [
        ({"baz": "qux"}, {"op": "test", "path": "/baz", "value": "bar"}),  # A.9
        (FOO, {"op": "add", "path": "/baz/bat", "value": "qux"}),  # A.12
        ({"/": 9, "~1": 10}, {"op": "test", "path": "/~01", "value": "10"}),  # A.15
        ({"a": [1]}, {"op": "add", "path": "/a/2", "value": 3}),
        ({"a": [1]}, {"op": "add", "path": "/a/01", "value": 3}),
        ({"a": [1]}, {"op": "remove", "path": "/a/-"}),
        ({"a": [1]}, {"op": "remove", "path": "/a/1"}),
        ({"a": 1}, {"op": "replace", "path": "/b", "value": 3}),
        ({"a": 1}, {"op": "remove", "path": ""}),
        ({"a": 1}, {"op": "test", "path": "/a", "value": True}),
        ({"a": []}, {"op": "test", "path": "/a", "value": {}}),
    ],
)
def test_what_cannot_be_carried_out_is_refused(given: Any, step: dict[str, Any]) -> None:
    with pytest.raises(Unprocessable):
        apply_json_patch(given, parse_operations([step]))


@pytest.mark.parametrize(
    "step",
    [
        3,
        {},
        {"op": "spend", "path": "/a"},
        {"op": ["add"], "path": "/a", "value": 1},
        {"op": "add", "path": "/a"},
        {"op": "add", "value": 1},
        {"op": "add", "path": "a", "value": 1},
        {"op": "add", "path": "/~2", "value": 1},
        {"op": "add", "path": 3, "value": 1},
        {"op": "move", "path": "/a"},
        {"op": "move", "from": "/a", "path": "/a/b"},
    ],
)
def test_a_malformed_operation_is_refused_before_any_is_carried_out(step: Any) -> None:
    with pytest.raises(Invalid) as caught:
        parse_operations([{"op": "test", "path": "", "value": 1}, step])

    assert "Operation 1" in str(caught.value)


def test_one_member_twice_is_refused() -> None:
    with pytest.raises(Invalid):  # A.13
        parse_json_patch(b'[{"op":"add","path":"/baz","value":"qux","op":"remove"}]')


def test_numbers_keep_their_digits_and_are_compared_by_value() -> None:
    patch = parse_json_patch(
        b'[{"op":"test","path":"/a","value":1.5},{"op":"add","path":"/b","value":2.10}]'
    )

    assert serialize(apply_json_patch(parse(b'{"a":1.50}'), patch)) == b'{"a":1.50,"b":2.10}'


def test_an_error_tells_the_place_and_no_value() -> None:
    given = {"resourceType": "Patient", "name": [{"family": "Chan"}]}

    with pytest.raises(Unprocessable) as caught:
        apply_json_patch(
            given, parse_operations([{"op": "test", "path": "/name/0/family", "value": "Wong"}])
        )
    issue = caught.value.issues[0]
    with pytest.raises(Unprocessable) as missing:
        apply_json_patch(
            given, parse_operations([{"op": "remove", "path": "/name/0/given/Ka Ming"}])
        )

    assert issue.expression == "Patient.name[0].family"
    assert "Chan" not in issue.diagnostics
    assert "Wong" not in issue.diagnostics
    assert missing.value.issues[0].expression == "Patient.name[0]"
    assert "Ka Ming" not in missing.value.issues[0].diagnostics


@pytest.mark.parametrize(
    "steps",
    [
        [{"op": "copy", "from": "", "path": "/a/-"}] * 60,
        [{"op": "copy", "from": "/text", "path": "/a/-"}] * 100,
        [{"op": "copy", "from": "/a", "path": "/a/-"}] * 100,
        [{"op": "add", "path": "/b" * n, "value": {}} for n in range(1, 60)],
        [{"op": "remove", "path": "/a"}] * (MAX_OPERATIONS + 1),
    ],
)
def test_a_patch_cannot_make_a_document_grow_without_measure(steps: list[Any]) -> None:
    with pytest.raises(TooCostly):
        apply_json_patch({"a": [], "text": "x" * 50_000}, parse_operations(steps))


@pytest.mark.parametrize("body", [b"", b"{}", b"3", b"[", b"[NaN]", b"\xff"])
def test_what_is_no_array_is_no_patch(body: bytes) -> None:
    with pytest.raises(EhrError):
        parse_json_patch(body)


@pytest.mark.parametrize(
    ("steps", "place"),
    [
        ([{"op": "add", "path": "/telecom", "value": []}], "Patient.telecom"),
        ([{"op": "replace", "path": "/name", "value": {}}], "Patient.name"),
        ([{"op": "add", "path": "/name/-", "value": {}}], "Patient.name"),
        ([{"op": "add", "path": "/name/0", "value": {"given": [None]}}], "Patient.name[0]"),
        ([{"op": "add", "path": "/telecom", "value": [{}]}], "Patient.telecom"),
    ],
)
def test_a_patch_writes_nothing_empty(steps: list[Any], place: str) -> None:
    resource = {"resourceType": "Patient", "name": [{"family": "x"}]}
    patch = parse_patch_body(json.dumps(steps).encode(), JSON_PATCH)

    with pytest.raises(Unprocessable) as caught:
        patch.apply(resource, datetime.now(UTC))

    assert caught.value.issues[0].expression == place


def test_an_array_may_be_made_empty_and_filled_or_left_empty_by_removing() -> None:
    resource = {"resourceType": "Patient", "name": [{"family": "x", "given": ["a"]}]}
    steps = [
        {"op": "add", "path": "/telecom", "value": []},
        {"op": "add", "path": "/telecom/-", "value": {"value": "1"}},
        {"op": "remove", "path": "/name/0/given/0"},
    ]
    patch = parse_patch_body(json.dumps(steps).encode(), JSON_PATCH)

    assert patch.apply(resource, datetime.now(UTC)) == {
        "resourceType": "Patient",
        "name": [{"family": "x"}],
        "telecom": [{"value": "1"}],
    }
