"""Codes of diagnoses in a table's cells, rolled up: to category, chapter, Charlson condition.

ICD-9-CM is read as tables give it: with or without the point, and without leading zeros (`8.45` is
008.45). A code may be cut short: `250` is in no Charlson condition that needs its fourth digit, so
what is found there is a lower bound.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ehr_models.scores.charlson import find_conditions

_POINTED = re.compile(r"([EV]?)(\d{1,3})\.(\d{1,2})")
_PLAIN = re.compile(r"([EV]?)(\d{1,5})")
# The digits of a category of ICD-9-CM after its letter.
_WIDTHS = {"": 3, "E": 3, "V": 2}
_ICD10 = re.compile(r"([A-Z]\d[0-9A-Z])\.?([0-9A-Z]{0,4})")


@dataclass(frozen=True)
class Code:
    """A code in two parts: its category (three characters, with E four), and what follows."""

    category: str
    rest: str

    def __str__(self) -> str:
        return self.category + self.rest


def read_icd9(text: str) -> Code | None:
    """Return a code of ICD-9-CM, None if the text is none.

    >>> [str(read_icd9(text)) for text in ("8", "250.83", "25083", "V4581", "E909", "45V")]
    ['008', '25083', '25083', 'V4581', 'E909', 'None']
    """
    text = text.strip().upper()
    if match := _POINTED.fullmatch(text):
        letter, digits, rest = match.groups()
    elif match := _PLAIN.fullmatch(text):
        letter, digits = match.groups()
        digits, rest = digits[: _WIDTHS[letter]], digits[_WIDTHS[letter] :]
    else:
        return None
    width = _WIDTHS[letter]
    if len(digits) > width or len(rest) > 2:
        return None
    return Code(letter + digits.zfill(width), rest)


def read_icd10(text: str) -> Code | None:
    """Return a code of ICD-10 or one of its national forms, None if the text is none.

    >>> [str(read_icd10(text)) for text in ("e11.9", "I50", "11E")]
    ['E119', 'I50', 'None']
    """
    match = _ICD10.fullmatch(text.strip().upper())
    return None if match is None else Code(match[1], match[2])


CODE_READERS: Mapping[str, Callable[[str], Code | None]] = {
    "icd-9-cm": read_icd9,
    "icd-10": read_icd10,
}
GROUPS_BY_SYSTEM: Mapping[str, tuple[str, ...]] = {
    "icd-9-cm": ("category", "chapter", "charlson"),
    "icd-10": ("category", "chapter", "charlson"),
}


def find_groups(system: str, kind: str, code: Code) -> tuple[str, ...]:
    """Return the groups of a kind in which a code is.

    >>> find_groups("icd-9-cm", "chapter", Code("428", "0"))
    ('circulatory',)
    >>> find_groups("icd-9-cm", "charlson", Code("404", "03"))
    ('heart_failure', 'renal_moderate_severe')
    """
    if kind == "category":
        return (code.category.lower(),)
    if kind == "chapter":
        chapters = _read_chapters()[system].items()
        return tuple(name for name, (first, last) in chapters if first <= code.category <= last)
    if system == "icd-10":
        return tuple(sorted(find_conditions([str(code)]).conditions))
    return tuple(
        name
        for name, prefixes in _read_charlson().items()
        if any(_has_prefix(str(code), prefix) for prefix in prefixes)
    )


def _has_prefix(code: str, prefix: str) -> bool:
    first, _, last = prefix.partition("-")
    return first <= code[: len(first)] <= (last or first)


@cache
def _read_chapters() -> Mapping[str, Mapping[str, tuple[str, str]]]:
    return _read_toml("icd_chapters.toml")


@cache
def _read_charlson() -> Mapping[str, tuple[str, ...]]:
    return _read_toml("charlson_icd9.toml")


def _read_toml(name: str) -> Mapping[str, Any]:  # Any: lists of texts, or tables of pairs
    return tomllib.loads(files(__package__).joinpath(name).read_text("utf-8"))
