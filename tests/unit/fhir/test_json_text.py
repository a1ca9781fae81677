"""Strict JSON that keeps digits."""

from __future__ import annotations

import copy
import pickle

import pytest

from ehr_fhir.errors import EhrError, Invalid, TooCostly
from ehr_fhir.json_text import MAX_LINE_BYTES, parse, pretty, serialize


@pytest.mark.parametrize(
    "digits", ["1.50", "0.10", "100", "-0.0", "1E+2", "123456789.123456789123"]
)
def test_the_digits_of_a_number_are_kept(digits: str) -> None:
    assert serialize(parse(b'{"a":' + digits.encode() + b"}")) == b'{"a":' + digits.encode() + b"}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "line 1, column 1"),
        (b'{"a": 1', "line 1, column 8"),
        (b"[]", "one JSON object"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"a": {"b": 1, "b": 1}}', "twice"),
        (b"\xff", "UTF-8"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too many digits"),
        (b'{"a": 1e999999999}', "too many digits"),
        (b'{"a": -1e-999999999}', "too many digits"),
        (b'{"a": 0e999999999}', "too many digits"),
        (b'{"a": 1.0e99999999999999999999}', "too many digits"),
        (b'{"a": 0.' + b"1" * 1000 + b"}", "too many digits"),
    ],
)
def test_what_is_not_strict_json_is_refused(text: bytes, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        parse(text)


@pytest.mark.parametrize(
    "content", [rb'{"a": [{"b": "x\ud800"}]}', rb'{"a": "\uDC00\uD800"}', rb'{"\ud800": 1}']
)
def test_half_a_surrogate_pair_is_refused_when_it_is_read(content: bytes) -> None:
    with pytest.raises(Invalid, match="surrogate"):
        parse(content)


def test_a_whole_surrogate_pair_is_one_character() -> None:
    assert parse(rb'{"a": "\ud840\udc0b"}') == {"a": "\U0002000b"}


@pytest.mark.parametrize("depth", [60, 5000])
def test_what_is_too_deep_is_refused(depth: int) -> None:
    with pytest.raises(TooCostly, match="levels deep"):
        parse(b'{"a":' * depth + b"1" + b"}" * depth)


def test_what_is_too_large_is_refused() -> None:
    with pytest.raises(TooCostly, match="16 MiB"):
        parse(b'{"a":"' + b"x" * MAX_LINE_BYTES + b'"}', MAX_LINE_BYTES)


def test_an_error_shows_nothing_of_the_content() -> None:
    with pytest.raises(EhrError) as caught:
        parse(b'{"name": "Chan Tai Man" "x"}')

    assert "Chan" not in str(caught.value)


@pytest.mark.parametrize(
    "number",
    [
        "1.50",
        "1.50e+2",
        "1e3",
        "1E-7",
        "0.0000001",
        "0.00000010",
        "-0.0",
        "100000000000000000000.0",
    ],
)
def test_a_number_is_written_as_it_was_read(number: str) -> None:
    text = f'{{"value":{number}}}'.encode()

    assert serialize(parse(text)) == text
    assert pretty(text) == f'{{\n  "value": {number}\n}}'.encode()
    assert serialize(copy.deepcopy(parse(text))) == text
    assert pickle.loads(pickle.dumps(parse(text))) == parse(text)
