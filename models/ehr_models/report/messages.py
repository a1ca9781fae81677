"""The words of the report in one language."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ehr_fhir.errors import Invalid
from ehr_fhir.jurisdiction import JURISDICTION

# The order of the columns of messages.toml and tripod.toml.
LANGUAGES = tuple(language.tag for language in JURISDICTION.languages)


@dataclass(frozen=True)
class Words:
    """Messages by key, in the language of `tag`."""

    tag: str
    messages: Mapping[str, str]

    def __call__(self, key: str, **values: object) -> str:
        """Return a message with its places filled."""
        return self.messages[key].format(**values)

    def find(self, key: str, otherwise: str) -> str:
        """Return a message, or the other text where there is none of that key."""
        return self.messages.get(key, otherwise)


@cache
def read_words(language: str) -> Words:
    """Return the words in a language of the jurisdiction, given by its tag (BCP 47)."""
    number = find_language(language)
    table = tomllib.loads(files(__package__).joinpath("messages.toml").read_text("utf-8"))
    return Words(language, {key: texts[number] for key, texts in table.items()})


def find_language(tag: str) -> int:
    """Return the place of a language in the tables of words; Invalid if there is none."""
    if tag not in LANGUAGES:
        raise Invalid(f"There are reports in {', '.join(LANGUAGES)} only.")
    return LANGUAGES.index(tag)
