"""What `_text` and `_content` ask for: words, "phrases", OR, NOT or -, beginnings as in card*.

R4 leaves the language to the server (§3.1.1.4.10). Words that stand side by side must all be there;
OR parts such groups. What is asked is cut into words as records are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ehr_fhir.errors import Invalid
from ehr_fhir.index.full_text import is_ideograph, tokens

__all__ = ["MOST_WORDS", "Group", "Phrase", "parse_words"]

# Of one parameter: each is looked up, and its places compared.
MOST_WORDS = 64
# Of a beginning in letters: a shorter one begins too many words.
_SHORTEST = 3
_TERM = re.compile(r'\s*(-?)(?:"([^"]*)(?:"|$)|([^\s"]+))')


@dataclass(frozen=True)
class Phrase:
    """Words that stand one after another; `open` if the last is only the beginning of one."""

    words: tuple[str, ...]
    open: bool = False


@dataclass(frozen=True)
class Group:
    """All of these must be there, and none of those."""

    wanted: tuple[Phrase, ...]
    unwanted: tuple[Phrase, ...] = ()

    @property
    def size(self) -> int:
        """Return how many words are looked up."""
        return sum(len(one.words) for one in (*self.wanted, *self.unwanted))


def parse_words(text: str) -> tuple[Group, ...]:
    """Understand a text as groups, one of which must hold.

    >>> parse_words("asthma -child")
    (Group(wanted=(Phrase(words=('asthma',), open=False),), \
unwanted=(Phrase(words=('child',), open=False),)),)
    """
    if text.count('"') % 2:
        raise Invalid('a quotation mark is open; a comma in a phrase is written "\\,".')
    groups: list[Group] = []
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


def _group(wanted: list[Phrase], unwanted: list[Phrase]) -> Group:
    if not wanted:
        raise Invalid("there must be a word to search for, not only words to leave out.")
    return Group(tuple(wanted), tuple(unwanted))


def _phrase(text: str, *, quoted: bool) -> Phrase | None:
    if not quoted and ("(" in text or ")" in text):
        raise Invalid("parentheses are not served; in a text, put it in quotation marks.")
    words = tokens(text)
    if not words:
        return None
    last = words[-1]
    if is_ideograph(last[-1]):
        # More of the run may follow in the record, so that its last character does not stand alone.
        run = len(words) > 1 and len(words[-2]) == 2 and is_ideograph(words[-2][0])
        return Phrase(words[:-1]) if run else Phrase(words, open=True)
    if quoted or not text.endswith("*"):
        return Phrase(words)
    if len(last) < _SHORTEST:
        raise Invalid(f"before `*` stand at least {_SHORTEST} letters.")
    return Phrase(words, open=True)
