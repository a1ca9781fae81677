"""Everyday names of codes, of words and of units in the three languages, read from names/*.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from ehr_fhir.jurisdiction import JURISDICTION

# The columns of the tables are the languages in the jurisdiction's order.
_COLUMN_BY_LANGUAGE = {
    language.tag: column for column, language in enumerate(JURISDICTION.languages)
}
# Tables of names/*.toml that are no code system.
TEXT_TABLE, _UNIT = "text", "unit"


def plain_name(system: str, code: str, language: str) -> str | None:
    """Return the everyday name of a code, or None if we have none.

    >>> plain_name("http://loinc.org", "29463-7", "zh-Hant-HK")
    '體重'
    """
    return _find(system, code, language)


def text_name(text: str, language: str) -> str | None:
    """Return the name of a concept that a record has in English words alone, None without one.

    >>> text_name("Penicillin", "zh-Hans"), text_name("penicillin", "en")
    ('青霉素', None)
    """
    return _find(TEXT_TABLE, text.strip().casefold(), language)


def unit_name(unit: str, language: str) -> str | None:
    """Return the name of a unit that is a word, such as ring; None for any other.

    >>> unit_name("ring", "zh-Hant-HK"), unit_name("mmol/L", "zh-Hant-HK")
    ('個環', None)
    """
    return _find(_UNIT, unit.strip().casefold(), language)


def _find(table: str, key: str, language: str) -> str | None:
    names = load_names().get(table, {}).get(key)
    # An empty name leaves the text as it was written.
    return (names[_COLUMN_BY_LANGUAGE[language]] or None) if names else None


@cache
def load_names() -> Mapping[str, Mapping[str, list[str]]]:
    """Return every table by its code system; a code stands in one of the files alone."""
    tables: dict[str, dict[str, list[str]]] = {}
    for file in sorted((files(__package__) / "names").iterdir(), key=lambda file: file.name):
        for name, rows in tomllib.loads(file.read_text("utf-8")).items():
            # A system that begins with a slash is one of ours, below the jurisdiction's base.
            table = tables.setdefault(f"{JURISDICTION.base}{name}" if name[0] == "/" else name, {})
            for key, names in rows.items():
                table[key.casefold() if name in (TEXT_TABLE, _UNIT) else key] = names
    return tables
