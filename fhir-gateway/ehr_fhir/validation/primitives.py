"""The lexical forms of the primitive datatypes (R4 §2.24.0.1): what a JSON value may look like.

A value is described by what is wrong with it, never by itself. Control characters are refused
where JSON is parsed (`ehr_fhir.json_text`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

__all__ = ["MAX_STRING_CHARACTERS", "PrimitiveFault", "find_primitive_fault"]

# R4, string: "SHALL NOT exceed 1MB (1024*1024 characters)"; markdown is a string.
MAX_STRING_CHARACTERS = 1024 * 1024

_SURROGATE = re.compile("[\ud800-\udfff]")
_WHITE_SPACE = re.compile(r"\s+")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_YEAR = r"(?!0000)[0-9]{4}"
_MONTH = r"(?:0[1-9]|1[0-2])"
_DAY = r"(?:0[1-9]|[12][0-9]|3[01])"
# A second of 60 is a leap second.
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?"
_ZONE = r"(?:Z|[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00))"
_INSTANT = f"{_YEAR}-{_MONTH}-{_DAY}T{_TIME}{_ZONE}"
_DATE = f"{_YEAR}(?:-{_MONTH}(?:-{_DAY})?)?"
_PATTERNS = {
    # Spaces inside a code are single ones, none at its ends.
    "code": r"[^\s]+(?:\s[^\s]+)*",
    "date": _DATE,
    "dateTime": f"{_INSTANT}|{_DATE}",
    "id": r"[A-Za-z0-9\-.]{1,64}",
    "instant": _INSTANT,
    "time": _TIME,
    "uri": r"\S+",
    "url": r"\S+",
    "canonical": r"\S+",
    "oid": r"urn:oid:[0-2](?:\.(?:0|[1-9][0-9]*))+",
    "uuid": r"urn:uuid:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
}
_FORMS = {kind: re.compile(pattern) for kind, pattern in _PATTERNS.items()}
_RANGES = {
    "integer": (-(2**31), 2**31 - 1),
    "unsignedInt": (0, 2**31 - 1),
    "positiveInt": (1, 2**31 - 1),
}
_DAY_KINDS = frozenset({"date", "dateTime", "instant"})


class PrimitiveFault(NamedTuple):
    """What is wrong with a value, to be read after its path, and the issue's code."""

    text: str
    code: str


_NO_STRING = PrimitiveFault("must be a string", "structure")
_EMPTY = PrimitiveFault("must not be empty", "structure")


# Any: a JSON value of whatever kind.
def find_primitive_fault(kind: str, value: Any) -> PrimitiveFault | None:
    """Return what is wrong with the value of a primitive datatype, None where it is sound.

    >>> find_primitive_fault("date", "2026-02-30").text
    'does not have the form of a date'
    >>> find_primitive_fault("base64Binary", "Zm9vYmE=") is None
    True
    """
    if (check := _CHECKS.get(kind)) is not None:
        return check(value)
    if kind in _RANGES:
        return _find_integer_fault(kind, value)
    if not isinstance(value, str):
        return _NO_STRING
    if not value.strip():
        # White space alone "could be trimmed to nothing" (R4, string): it is no value.
        return _EMPTY
    if _SURROGATE.search(value):
        return PrimitiveFault("holds half of a surrogate pair", "value")
    if kind in ("string", "markdown"):
        if len(value) > MAX_STRING_CHARACTERS:
            return PrimitiveFault("is longer than a million characters (1 MiB)", "too-long")
        return None
    form = _FORMS.get(kind)
    if form is not None and not form.fullmatch(value):
        return _wrong_form(kind)
    if kind in _DAY_KINDS and not _is_calendar_day(value):
        return _wrong_form(kind)
    return None


def _find_boolean_fault(value: Any) -> PrimitiveFault | None:
    if isinstance(value, bool):
        return None
    return PrimitiveFault("must be true or false", "structure")


def _find_decimal_fault(value: Any) -> PrimitiveFault | None:
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return None
    return PrimitiveFault("must be a number", "structure")


def _find_integer_fault(kind: str, value: Any) -> PrimitiveFault | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return PrimitiveFault("must be an integer", "structure")
    least, most = _RANGES[kind]
    if not least <= value <= most:
        return PrimitiveFault(f"must be an integer from {least} to {most}", "value")
    return None


def _find_base64_fault(value: Any) -> PrimitiveFault | None:
    if not isinstance(value, str):
        return _NO_STRING
    # White space may stand between the groups of four.
    text = _WHITE_SPACE.sub("", value)
    if not text:
        return _EMPTY
    is_whole = len(text) % 4 == 0 and _BASE64.fullmatch(text) is not None
    return None if is_whole else _wrong_form("base64Binary")


def _wrong_form(kind: str) -> PrimitiveFault:
    return PrimitiveFault(f"does not have the form of a {kind}", "value")


def _is_calendar_day(value: str) -> bool:
    if len(value) < len("2026-01-01"):
        return True
    try:
        date.fromisoformat(value[:10])
    except ValueError:
        return False
    return True


_CHECKS: Mapping[str, Callable[[Any], PrimitiveFault | None]] = {
    "base64Binary": _find_base64_fault,
    "boolean": _find_boolean_fault,
    "decimal": _find_decimal_fault,
}
