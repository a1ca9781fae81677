"""Everyday names of common codes in the three languages, read from plain_names.toml."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

_COLUMN = {"en": 0, "zh-Hant-HK": 1, "zh-Hans": 2}


def plain_name(system: str, code: str, language: str) -> str | None:
    """Return the everyday name of a code, or None if we have none.

    >>> plain_name("http://loinc.org", "29463-7", "zh-Hant-HK")
    '體重'
    """
    names = _names().get(system, {}).get(code)
    return names[_COLUMN[language]] if names else None


@cache
def _names() -> dict[str, dict[str, list[str]]]:
    text = (files(__package__) / "plain_names.toml").read_text("utf-8")
    names: dict[str, dict[str, list[str]]] = tomllib.loads(text)
    return names
