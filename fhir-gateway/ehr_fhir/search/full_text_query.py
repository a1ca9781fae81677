"""The query language of `_text` and `_content`: words, "phrases", OR, NOT or -, prefixes as card*.

R4 leaves the language to the server (§3.1.1.4.10). Words side by side must all occur; OR separates
such conjunctions. A query is tokenized as records are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ehr_fhir.errors import Invalid
from ehr_fhir.index.full_text import is_ideograph, tokenize

__all__ = ["MAX_WORDS", "Conjunction", "Phrase", "parse_full_text_query"]

# Of one parameter: each is looked up, and its places compared.
MAX_WORDS = 64
# Of a beginning in letters: a shorter one begins too many words.
_MIN_PREFIX_LETTERS = 3
_TERM = re.compile(r'(-?)(?:"([^"]*)(?:"|$)|([^\s"]+))')


@dataclass(frozen=True)
class Phrase:
    """Consecutive words; `is_prefix` lets the last one be the beginning of a longer word."""

    words: tuple[str, ...]
    is_prefix: bool = False


@dataclass(frozen=True)
class Conjunction:
    """The required phrases must all occur in a text, and none of the excluded."""

    required: tuple[Phrase, ...]
    excluded: tuple[Phrase, ...] = ()

    @property
    def size(self) -> int:
        """Return how many words are looked up."""
        return sum(len(phrase.words) for phrase in (*self.required, *self.excluded))


def parse_full_text_query(text: str) -> tuple[Conjunction, ...]:
    """Parse a query into conjunctions, one of which must hold.

    >>> parse_full_text_query("asthma -child")
    (Conjunction(required=(Phrase(words=('asthma',), is_prefix=False),), \
excluded=(Phrase(words=('child',), is_prefix=False),)),)
    """
    if text.count('"') % 2:
        raise Invalid('a quotation mark is open; a comma in a phrase is written "\\,".')
    groups: list[Conjunction] = []
    wanted: list[Phrase] = []
    unwanted: list[Phrase] = []
    negated = False
    for minus, quoted, word in _TERM.findall(text.rstrip()):
        if word in ("AND", "NOT", "OR") and not minus:
            if negated or (word == "OR" and not wanted):
                raise Invalid(f"a word is missing before `{word}`.")
            if word == "OR":
                groups.append(_group(wanted, unwanted))
                wanted, unwanted = [], []
            negated = word == "NOT"
            continue
        # Nothing is left of what is punctuation alone.
        if phrase := _phrase(word or quoted, quoted=not word):
            (unwanted if minus or negated else wanted).append(phrase)
            negated = False
    if negated:
        raise Invalid("a word is missing after `NOT`.")
    groups.append(_group(wanted, unwanted))
    return tuple(groups)


def _group(wanted: list[Phrase], unwanted: list[Phrase]) -> Conjunction:
    if not wanted:
        raise Invalid("there must be a word to search for, not only words to leave out.")
    return Conjunction(tuple(wanted), tuple(unwanted))


def _phrase(text: str, *, quoted: bool) -> Phrase | None:
    if not quoted and ("(" in text or ")" in text):
        raise Invalid("parentheses are not served; in a text, put it in quotation marks.")
    words = tokenize(text)
    if not words:
        return None
    last = words[-1]
    if is_ideograph(last[-1]):
        # More of the run may follow in the record, so that its last character does not stand alone.
        run = len(words) > 1 and len(words[-2]) == 2 and is_ideograph(words[-2][0])
        return Phrase(words[:-1]) if run else Phrase(words, is_prefix=True)
    if quoted or not text.endswith("*"):
        return Phrase(words)
    if len(last) < _MIN_PREFIX_LETTERS:
        raise Invalid(f"before `*` stand at least {_MIN_PREFIX_LETTERS} letters.")
    return Phrase(words, is_prefix=True)
