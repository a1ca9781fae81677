"""The words of a resource for `_text` and `_content`: its narrative, and all else that is prose.

Every database is given the same words at the same places, so that all give the same answers. Texts
are folded as names are. Chinese has no spaces: each of its characters makes a word with the next
one, and the last of a run stands alone; so a run is found by any part of it, from two characters on
as the words it makes, one alone as the beginning of a word.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from html.parser import HTMLParser
from typing import Any, NamedTuple

from ehr_fhir import definitions
from ehr_fhir.string_folding import fold_text

__all__ = ["PHRASE_BREAK", "FullText", "extract_full_text", "is_ideograph", "tokenize"]

# Stands between two texts, so that no phrase reaches from one into the next. It is no letter, so
# nobody can ask for it.
PHRASE_BREAK = "¶"
# What PostgreSQL can hold: 16,383 places in a text, 255 of one word, 1 MiB.
_MAX_TOKENS = 8000
_MAX_REPETITIONS = 120
_MAX_CHARACTERS = 80_000
# Longer ones are no words of a language: two that begin alike may be taken for each other.
_MAX_TOKEN_CHARACTERS = 32
# Texts that stand in many resources, such as the names of codes, are short.
_MAX_CACHED_CHARACTERS = 100

_IDEOGRAPHS = (
    "\u3005\u3007\u3040-\u30ff\u3100-\u312f\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_RUNS = re.compile(rf"([{_IDEOGRAPHS}]+)|((?:(?![{_IDEOGRAPHS}])[^\W_])+)")
_IDEOGRAPH = re.compile(f"[{_IDEOGRAPHS}]")
# Strings by their datatype, that name things instead of describing them.
_NAMES = frozenset({"id", "linkId", "reference", "unit", "url", "version"})
_INLINE = frozenset(
    "a abbr acronym b big cite code dfn em i img q samp small span strong sub sup tt var".split()
)


class FullText(NamedTuple):
    """The tokens of a resource, joined by spaces: of the narrative, and of all other prose."""

    narrative: str
    content: str


def extract_full_text(resource: Mapping[str, Any]) -> FullText:
    """Extract the tokens by which full-text search finds a validated resource.

    >>> extract_full_text({"resourceType": "Condition", "code": {"text": "Acute 肺炎"}})
    FullText(narrative='', content='acute 肺炎 炎')
    """
    found: dict[str, None] = {}
    rest = {key: value for key, value in resource.items() if key != "text"}
    _gather(resource["resourceType"], rest, found)
    narrative = resource.get("text", {}).get("div", "")
    return FullText(_joined(_blocks(narrative)), _joined(found))


def tokenize(text: str) -> tuple[str, ...]:
    """Split a text into folded tokens.

    >>> tokenize("Follow-up of 高血壓")
    ('follow', 'up', 'of', '高血', '血压', '压')
    """
    return _remembered(text) if len(text) <= _MAX_CACHED_CHARACTERS else _tokens(text)


def is_ideograph(character: str) -> bool:
    """Say whether a character is of a script that is written without spaces.

    >>> is_ideograph("血"), is_ideograph("b")
    (True, False)
    """
    return _IDEOGRAPH.match(character) is not None


def _tokens(text: str) -> tuple[str, ...]:
    found: list[str] = []
    for run, word in _RUNS.findall(fold_text(text)):
        if word:
            found.append(word[:_MAX_TOKEN_CHARACTERS])
        else:
            found += (run[at : at + 2] for at in range(len(run)))
    return tuple(found)


_remembered = lru_cache(8192)(_tokens)


def _joined(texts: Iterable[str]) -> str:
    found: list[str] = []
    for text in texts:
        if words := tokenize(text):
            found += (PHRASE_BREAK, *words) if found else words
        if len(found) > _MAX_TOKENS:
            break
    if len(found) > _MAX_REPETITIONS:
        found = list(_bounded(found))
    return " ".join(found)


def _bounded(found: list[str]) -> Iterator[str]:
    """Truncate to what every database can hold; a word repeated too often leaves a gap."""
    times: Counter[str] = Counter()
    characters = 0
    for word in found[:_MAX_TOKENS]:
        times[word] += 1
        characters += len(word)
        if characters > _MAX_CHARACTERS:
            return
        yield word if times[word] <= _MAX_REPETITIONS else PHRASE_BREAK


# Any: the JSON of a resource, checked before.
def _gather(owner: str, node: Any, found: dict[str, None]) -> None:
    if owner == "Resource":
        owner = node.get("resourceType", "")
    leads = _leads(owner)
    for key, value in node.items():
        kind = leads.get(key)
        if kind is None:
            continue
        for item in value if type(value) is list else (value,):
            if item is None:
                continue
            if kind == "string":
                found[item] = None
            elif kind == "xhtml":
                found.update(dict.fromkeys(_blocks(item)))
            else:
                _gather(kind, item, found)


@cache
def _leads(owner: str) -> Mapping[str, str]:
    """Return JSON key -> `string`, `xhtml`, or the type below which prose may be."""
    found = {}
    for key, element in definitions.json_elements(owner).items():
        if element.type in definitions.elements():
            found[key] = element.type
            continue
        # What extensions of a primitive say.
        found[f"_{key}"] = "Element"
        if element.type == "xhtml":
            found[key] = element.type
        elif element.type in ("markdown", "string") and key not in _NAMES:
            found[key] = "string"
    if owner == "Identifier":
        del found["value"]
    return found


def _blocks(narrative: str) -> list[str]:
    if not narrative:
        return []
    reader = _Reader()
    reader.feed(narrative)
    reader.close()
    return reader.blocks()


class _Reader(HTMLParser):
    """Reads the text of a narrative, block by block."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[list[str]] = [[]]

    def blocks(self) -> list[str]:
        return ["".join(part) for part in self._parts]

    def handle_data(self, data: str) -> None:
        self._parts[-1].append(data)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in _INLINE:
            self._parts.append([])

    def handle_endtag(self, tag: str) -> None:
        if tag not in _INLINE:
            self._parts.append([])
