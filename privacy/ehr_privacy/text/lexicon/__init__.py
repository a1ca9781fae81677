"""Name and place lexicons, read once; ORIGIN.md says where each file comes from."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_privacy.romanization import romanize_character
from ehr_privacy.text.alternatives import join_alternatives
from ehr_privacy.text.folding import fold_characters

__all__ = ["Lexicon", "load_lexicon"]


@dataclass(frozen=True)
class Lexicon:
    """Words by which names and places are found, all folded.

    Chinese ones are in simplified characters.
    """

    surnames: frozenset[str]
    # Latin spellings of surnames, and by surname in characters.
    surname_spellings: frozenset[str]
    spellings_by_surname: Mapping[str, frozenset[str]]
    given_characters: frozenset[str]
    given_syllables: frozenset[str]
    english_first_names: frozenset[str]
    english_surnames: frozenset[str]
    words: Mapping[str, Any]
    areas: frozenset[str]
    areas_chinese: tuple[str, ...]

    @cached_property
    def ordinary_words(self) -> frozenset[str]:
        """Return the ordinary and clinical words that are spelt as names are."""
        return self.fold_words("ordinary")

    def fold_words(self, *path: str) -> frozenset[str]:
        """Return one of the word lists, folded."""
        return frozenset(map(fold_characters, self.list_words(*path)))

    def list_words(self, *path: str) -> list[str]:
        """Return one of the word lists as it is written."""
        found: Any = self.words
        for name in path:
            found = found[name]
        return list(found)

    def compile_chinese(self, name: str, form: str) -> re.Pattern[str]:
        """Compile a form around any word of a list of Chinese ones, which stands in place of {}."""
        return re.compile(form.format(join_alternatives(self.fold_words("chinese", name))))


@cache
def load_lexicon() -> Lexicon:
    """Read the lexicons that ship with the package."""
    surnames = {
        fold_characters(name): frozenset(_squeeze(text) for text in spelt.split())
        for name, spelt in tomllib.loads(_read("surnames.toml")).items()
    }
    given = frozenset(
        fold_characters(character)
        for line in _read_lines("given_characters.txt")
        for character in line
    )
    traditional = {character for line in _read_lines("given_characters.txt") for character in line}
    words = tomllib.loads(_read("words.toml"))
    districts = {name for name in JURISDICTION.regions}
    latin = {name for name in districts if name.isascii()} | set(words["places"]["areas"])
    chinese = {name for name in districts if not name.isascii()}
    chinese |= {name.removesuffix("區") for name in chinese if len(name) > 2}
    chinese |= set(words["places"]["areas_chinese"])
    return Lexicon(
        surnames=frozenset(surnames),
        surname_spellings=frozenset().union(*surnames.values()),
        spellings_by_surname=surnames,
        given_characters=given,
        given_syllables=frozenset().union(*map(romanize_character, traditional)),
        english_first_names=_read_names("english_first_names.txt"),
        english_surnames=_read_names("english_surnames.txt"),
        words=words,
        areas=frozenset(latin),
        areas_chinese=tuple(sorted(map(fold_characters, chinese), key=len, reverse=True)),
    )


def _squeeze(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalpha())


def _read_names(name: str) -> frozenset[str]:
    return frozenset(map(fold_characters, _read_lines(name)))


def _read_lines(name: str) -> list[str]:
    return [line for line in _read(name).splitlines() if line and not line.startswith("#")]


def _read(name: str) -> str:
    return files("ehr_privacy").joinpath("text/lexicon", name).read_text(encoding="utf-8")
