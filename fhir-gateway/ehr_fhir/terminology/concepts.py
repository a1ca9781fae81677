"""A concept of a code system, and how its names are chosen by language and found by words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from ehr_fhir.string_folding import fold_text

__all__ = [
    "Concept",
    "accepted_languages",
    "has_words",
    "property_values",
    "search_words",
    "value_text",
    "words_of",
]

# Scripts that are written without spaces.
_IDEOGRAPHS = "\u3005\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORDS = re.compile(rf"[{_IDEOGRAPHS}]+|[^\W_{_IDEOGRAPHS}]+")
_IDEOGRAPH = re.compile(f"[{_IDEOGRAPHS}]")
# Longer ones are no words of a language: two that begin alike may be taken for each other.
_MAX_WORD = 32
# A run of ideographs is found from each of its characters on, for so many characters.
_MAX_RUN = 8
_MAX_LANGUAGES = 16
# Words of one filter; no name has more that matter.
_MAX_WORDS = 10
# Values of HL7's properties for concepts (R4 §4.8.12, concept-properties).
_INACTIVE_STATUS = frozenset({"inactive", "retired"})
_ABSTRACT = ("notSelectable", "abstract")


@dataclass(frozen=True)
class Concept:
    """One concept; `detail` is its CodeSystem.concept without those nested in it."""

    system: str
    code: str
    detail: Mapping[str, Any]

    @property
    def display(self) -> str | None:
        """The name in the language of the code system."""
        return self.detail.get("display")

    @property
    def definition(self) -> str | None:
        """What it means."""
        return self.detail.get("definition")

    @property
    def designations(self) -> Sequence[Mapping[str, Any]]:
        """Its other names, the preferred ones first."""
        found: Sequence[Mapping[str, Any]] = self.detail.get("designation", ())
        return found

    @property
    def properties(self) -> Sequence[Mapping[str, Any]]:
        """Its properties, as CodeSystem.concept.property has them."""
        found: Sequence[Mapping[str, Any]] = self.detail.get("property", ())
        return found

    @cached_property
    def is_abstract(self) -> bool:
        """Whether it is there to group others and no record should have it."""
        return any("true" in property_values(self, name) for name in _ABSTRACT)

    @cached_property
    def is_inactive(self) -> bool:
        """Whether it is no longer used."""
        return "true" in property_values(self, "inactive") or not _INACTIVE_STATUS.isdisjoint(
            property_values(self, "status")
        )

    def display_in(self, languages: Sequence[str], own_language: str | None = None) -> str | None:
        """Return the name in the first of some languages that it has a name in.

        >>> word = {"display": "dog", "designation": [{"language": "zh-Hant", "value": "狗"}]}
        >>> Concept("urn:x", "1", word).display_in(["zh", "en"])
        '狗'
        >>> Concept("urn:x", "1", word).display_in(["fr"])
        'dog'
        """
        for language in languages:
            if own_language and self.display and _is_language(own_language, language):
                return self.display
            for designation in self.designations:
                if _is_language(designation.get("language", ""), language):
                    return str(designation["value"])
        return self.display

    def names(self) -> Iterator[str]:
        """Yield every name."""
        if self.display:
            yield self.display
        for designation in self.designations:
            yield str(designation.get("value", ""))


def property_values(concept: Concept, name: str) -> list[str]:
    """Return the values of a property as texts: the code of a Coding, `true` of a boolean.

    >>> parts = [{"code": "weight", "valueInteger": 7}, {"code": "old", "valueBoolean": True}]
    >>> concept = Concept("urn:x", "1", {"property": parts})
    >>> property_values(concept, "weight"), property_values(concept, "old")
    (['7'], ['true'])
    """
    return [value_text(one) for one in concept.properties if one.get("code") == name]


def value_text(concept_property: Mapping[str, Any]) -> str:
    """Return the value of a property as a text."""
    value = next((found for key, found in concept_property.items() if key[:5] == "value"), "")
    if isinstance(value, Mapping):
        return str(value.get("code", ""))
    return str(value).lower() if isinstance(value, bool) else str(value)


def accepted_languages(header: str) -> tuple[str, ...]:
    """Return the languages of an Accept-Language header or a displayLanguage, the preferred first.

    >>> accepted_languages("en;q=0.5, zh-HK, *;q=0.1")
    ('zh-HK', 'en')
    """
    ranked = []
    for part in header.split(",")[:_MAX_LANGUAGES]:
        language, _, weight = part.partition(";")
        _, _, number = weight.partition("=")
        try:
            rank = float(number) if number.strip() else 1.0
        except ValueError:
            rank = 0.0
        if language.strip() not in ("", "*") and rank > 0:
            ranked.append((-rank, language.strip()))
    return tuple(language for _, language in sorted(ranked, key=lambda one: one[0]))


def search_words(text: str) -> tuple[str, ...]:
    """Return the words that a filter asks for; each must begin a word of a concept.

    >>> search_words("Diabetes typ"), search_words("高血")
    (('diabetes', 'typ'), ('高血',))
    """
    words = dict.fromkeys(word[:_MAX_WORD] for word in _WORDS.findall(fold_text(text)))
    return tuple(words)[:_MAX_WORDS]


@lru_cache(8192)
def _words_of_text(text: str) -> tuple[str, ...]:
    found: list[str] = []
    for word in _WORDS.findall(fold_text(text)):
        if _IDEOGRAPH.match(word):
            found += (word[at : at + _MAX_RUN] for at in range(len(word)))
        else:
            found.append(word[:_MAX_WORD])
    return tuple(found)


def words_of(concept: Concept) -> frozenset[str]:
    """Return the words by which a concept is found: of its names and its code.

    >>> sorted(words_of(Concept("urn:x", "X-1", {"display": "高血壓"})))
    ['1', 'x', '压', '血压', '高血压']
    """
    texts = (*concept.names(), concept.code)
    return frozenset(word for text in texts for word in _words_of_text(text))


def has_words(concept: Concept, wanted: Iterable[str]) -> bool:
    """Say whether every wanted word begins a word of a concept."""
    words = words_of(concept)
    return all(any(word.startswith(begin) for word in words) for begin in wanted)


def _is_language(language: str, wanted: str) -> bool:
    """Say whether a language is another or more or less specific than it (RFC 4647 §3.4)."""
    one, other = language.lower(), wanted.lower()
    return bool(one) and (
        one == other or one.startswith(f"{other}-") or other.startswith(f"{one}-")
    )
