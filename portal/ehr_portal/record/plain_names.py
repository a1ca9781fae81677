"""Everyday names of common codes in the three languages: hl7_codes.toml, plain_names.toml."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

from ehr_fhir.jurisdiction import JURISDICTION

# The columns of plain_names.toml are the languages in the jurisdiction's order.
_COLUMN_BY_LANGUAGE = {
    language.tag: column for column, language in enumerate(JURISDICTION.languages)
}
# No code system is in two of them.
_FILES = ("hl7_codes.toml", "plain_names.toml")


def plain_name(system: str, code: str, language: str) -> str | None:
    """Return the everyday name of a code, or None if we have none.

    >>> plain_name("http://loinc.org", "29463-7", "zh-Hant-HK")
    '體重'
    """
    names = _load_names().get(system, {}).get(code)
    return names[_COLUMN_BY_LANGUAGE[language]] if names else None


@cache
def _load_names() -> dict[str, dict[str, list[str]]]:
    names: dict[str, dict[str, list[str]]] = {}
    for file in _FILES:
        names |= tomllib.loads((files(__package__) / file).read_text("utf-8"))
    # A system that begins with a slash is one of ours, below the jurisdiction's base address.
    return {
        f"{JURISDICTION.base}{system}" if system.startswith("/") else system: codes
        for system, codes in names.items()
    }
