"""Texts of the codes that R4 itself defines, in the three languages, read from code_texts.toml."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

from ehr_portal.i18n import LANGUAGES
from ehr_portal.record.display import LATIN_TAG, Text

_COLUMN_BY_LANGUAGE = {language.tag: column for column, language in enumerate(LANGUAGES)}
# The table of codes that mean the same in every element.
_ANY_ELEMENT = "*"


def code_text(element: str, code: str, language: str) -> Text:
    """Return what a code of an element says; the code itself where it has no text.

    >>> code_text("AllergyIntolerance.criticality", "high", "en").text
    'High risk'
    """
    texts = _load_texts()
    for table in (element, _ANY_ELEMENT):
        columns = texts.get(table, {}).get(code)
        if columns:
            return Text(columns[_COLUMN_BY_LANGUAGE[language]], language)
    return Text(code, LATIN_TAG)


def has_code_text(element: str, code: str) -> bool:
    """Return whether a code of an element has texts of its own."""
    texts = _load_texts()
    return any(code in texts.get(table, {}) for table in (element, _ANY_ELEMENT))


@cache
def _load_texts() -> dict[str, dict[str, list[str]]]:
    text = (files(__package__) / "code_texts.toml").read_text("utf-8")
    texts: dict[str, dict[str, list[str]]] = tomllib.loads(text)
    return texts
