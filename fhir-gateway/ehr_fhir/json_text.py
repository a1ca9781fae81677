"""Strict JSON in, compact bytes out, every number as it was spelt: 1.50 is not 1.5 (R4 §2.24.0.1).

A document may be signed, so 0.0000001 does not become 1E-7 either.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any, Self

import orjson

from ehr_fhir.errors import EhrError, Invalid, TooCostly

__all__ = ["MAX_LINE_BYTES", "check_depth", "parse", "parse_array", "pretty", "serialize"]

# The largest line of a file to be loaded. A request's body is limited where it is read.
MAX_LINE_BYTES = 16 * 1024 * 1024
# Chosen: deeper than a FHIR resource has reason to be, and within what recursion can read.
_MAX_DEPTH = 50
# Of a number with a point or an exponent: characters, and powers of ten.
_MAX_NUMBER_CHARACTERS = 1000
_MAX_EXPONENT = 300
# Below this power of ten Python writes a number with an exponent.
_LEAST_PLAIN_EXPONENT = -6
_NESTING = frozenset({dict, list})
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
# Whole pairs are one character by now.
_HALF_PAIR = re.compile(r"[\ud800-\udfff]")


def parse(body: bytes, largest: int | None = None) -> dict[str, Any]:
    """Parse one JSON object; refuse NaN, repeated keys, excessive depth and size."""
    content = _load(body, largest)
    if not isinstance(content, dict):
        raise Invalid("The content must be one JSON object.", issue_code="structure")
    return content


def parse_array(body: bytes, largest: int | None = None) -> list[Any]:
    """Parse one JSON array, as strictly as `parse` does an object."""
    content = _load(body, largest)
    if not isinstance(content, list):
        raise Invalid("The content must be one JSON array.", issue_code="structure")
    return content


def check_depth(content: Any) -> None:  # Any: JSON of every shape
    """Refuse parsed JSON that is nested deeper than a text may be."""
    if isinstance(content, dict | list) and _depth(content) > _MAX_DEPTH:
        raise _too_deep()


def serialize(content: Any) -> bytes:  # Any: JSON of every shape
    """Serialize parsed JSON without white space.

    >>> serialize(parse(b'{"value": 1.50}'))
    b'{"value":1.50}'
    """
    try:
        return orjson.dumps(content, default=_digits)
    except TypeError:
        text = "The content holds half of a surrogate pair or an integer beyond 64 bits."
        raise Invalid(text, issue_code="structure") from None


def pretty(body: bytes) -> bytes:
    """Set out JSON of our own over many lines, its numbers digit for digit.

    >>> print(pretty(b'{"value":1.50}').decode())
    {
      "value": 1.50
    }
    """
    content = json.loads(body, parse_float=_decimal)
    return orjson.dumps(content, default=_digits, option=orjson.OPT_INDENT_2)


def _load(body: bytes, most: int | None) -> Any:
    if most is not None and len(body) > most:
        raise TooCostly(f"The content is larger than {most // 1024 // 1024} MiB.")
    try:
        content = json.loads(
            body.decode("utf-8-sig"),
            parse_float=_decimal,
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique,
        )
    except EhrError:
        raise
    except UnicodeDecodeError:
        raise Invalid("The content is not UTF-8.", issue_code="structure") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Invalid(f"The content is not JSON: {where}.", issue_code="structure") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        raise _too_long() from None
    # So few openings cannot nest deeper; counting spares most texts the walk.
    if body.count(b"{") + body.count(b"[") > _MAX_DEPTH:
        check_depth(content)
    # Few texts write a character by its number, so few are looked through.
    if b"\\u00" in body and (place := _find(_CONTROL, content)):
        text = f"{place} holds a control character, which FHIR's strings may not."
        raise Invalid(text, expression=place, issue_code="value")
    if (b"\\ud" in body or b"\\uD" in body) and (place := _find(_HALF_PAIR, content)):
        text = f"{place} holds half of a surrogate pair, which is no character."
        raise Invalid(text, expression=place, issue_code="value")
    return content


def _find(characters: re.Pattern[str], node: Any, place: str = "") -> str | None:
    """Return the place of a text, or of an object by its key, that has one of some characters."""
    if isinstance(node, str):
        return place if characters.search(node) else None
    if isinstance(node, dict):
        start = place or "$this"
        kind = node.get("resourceType")
        if not place and isinstance(kind, str) and not characters.search(kind):
            start = kind
        if any(characters.search(key) for key in node):
            return start
        inner = ((value, f"{start}.{key}") for key, value in node.items())
    elif isinstance(node, list):
        inner = ((value, f"{place}[{index}]") for index, value in enumerate(node))
    else:
        return None
    return next((found for value, at in inner if (found := _find(characters, value, at))), None)


def _digits(value: object) -> orjson.Fragment:
    if isinstance(value, Decimal):
        return orjson.Fragment(getattr(value, "spelling", str(value)).encode())
    raise TypeError


def _decimal(text: str) -> Decimal:
    # A text of a few characters may stand for a number of a thousand million digits, and whoever
    # then calculates with it never ends.
    try:
        found = Decimal(text)
    except InvalidOperation:
        raise _too_long() from None
    if len(text) > _MAX_NUMBER_CHARACTERS or not -_MAX_EXPONENT < found.adjusted() < _MAX_EXPONENT:
        raise _too_long()
    # Python spells these in another way.
    if found.adjusted() < _LEAST_PLAIN_EXPONENT or "e" in text or "E" in text:
        return _SpeltDecimal(text)
    return found


class _SpeltDecimal(Decimal):
    """A number that is written as it was read."""

    spelling: str

    def __new__(cls, text: str) -> Self:
        number = super().__new__(cls, text)
        number.spelling = text
        return number


def _too_long() -> Invalid:
    return Invalid("A number has too many digits.", issue_code="structure")


def _refuse_constant(name: str) -> None:
    raise Invalid(f"{name} is not a JSON number.", issue_code="structure")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Invalid("An object names one key twice.", issue_code="structure")
    return found


def _depth(content: dict[str, Any] | list[Any]) -> int:
    level: list[Any] = [content]
    depth = 0
    while level:
        depth += 1
        below: list[Any] = []
        for node in level:
            below += node.values() if type(node) is dict else node
        level = [node for node in below if type(node) in _NESTING]
    return depth


def _too_deep() -> TooCostly:
    return TooCostly(f"The content is nested more than {_MAX_DEPTH} levels deep.")
