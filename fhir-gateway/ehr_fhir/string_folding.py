"""How texts are compared (R4 §3.1.1.4.5), and how long ones stand in an index.

Strings: without case, accents, punctuation, width or runs of white space, and traditional Chinese
characters as simplified ones, by OpenCC's table (`definitions/han.json`). Kept beside PyICU 2.17,
which needs the ICU library on the machine, and whose version would then decide what an index holds.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

from ehr_fhir import definitions

__all__ = ["MAX_INDEXED_CHARACTERS", "fold_text", "normalize_string", "shorten_for_index"]

# A key of PostgreSQL's B-tree has room for about 2,700 bytes: two texts of this many characters.
MAX_INDEXED_CHARACTERS = 300
# Dropped, so that O'Brien is OBrien; other punctuation is a space, so that Wai-Man is Wai Man.
_APOSTROPHES = frozenset("'’‘ʼ`´＇")


def normalize_string(text: str) -> str:
    """Fold a string for comparison, as it stands in the index.

    >>> normalize_string("  Müller-Lüdenscheidt,   ＣＨＡＮ  O'Brien ")
    'muller ludenscheidt chan obrien'
    >>> normalize_string("Đặng Łukasz Ærø Þór")
    'dang lukasz aero thor'
    >>> normalize_string("陳大文") == normalize_string("陈大文")
    True
    """
    words = " ".join(fold_text(text).split())
    # What is nothing but punctuation is compared as it is.
    return shorten_for_index(words or " ".join(text.split()))


def fold_text(text: str) -> str:
    """Fold letters, and make punctuation a space.

    >>> fold_text("Wai-Man")
    'wai man'
    """
    plain = text if text.isascii() else unicodedata.normalize("NFKD", text)
    return plain.casefold().translate(_FOLDED)


def shorten_for_index(text: str, longest: int = MAX_INDEXED_CHARACTERS) -> str:
    """Return a text as it stands in an index: a long one as its beginning and its digest.

    Equal texts stay equal and others different; a beginning is found up to two thirds of `longest`.

    >>> shorten_for_index("short")
    'short'
    >>> len(shorten_for_index("x" * 5000))
    265
    """
    if len(text) <= longest:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    # No text that is compared with it has this mark: it is not a character.
    return f"{text[: longest * 2 // 3]}\ufdd0{digest}"


class _Folding(dict[int, str | None]):
    """Character -> its folded form, computed and kept when it first occurs."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        category = unicodedata.category(character)
        after: str | None = _letter_of(character)
        if unicodedata.combining(character) or character in _APOSTROPHES:
            after = None
        elif category[0] in "PZ":
            after = " "
        self[code] = after
        return after


# Letters of their own in some language, which others write with letters of the alphabet. NFKD takes
# none of them apart, nor those that bear a stroke (ø, ł, đ) or a hook.
_WRITTEN_AS = {
    "æ": "ae", "œ": "oe", "þ": "th", "ð": "d", "ı": "i", "ĸ": "k", "ŋ": "ng", "ə": "e", "ß": "ss",
}  # fmt: skip
_BASE_LETTER = re.compile(r"LATIN SMALL LETTER ([A-Z]) WITH .+")


def _letter_of(character: str) -> str:
    """Return the letters of the alphabet that a Latin letter is written as."""
    if character in _WRITTEN_AS:
        return _WRITTEN_AS[character]
    base = _BASE_LETTER.fullmatch(unicodedata.name(character, ""))
    return base[1].lower() if base else character


def _folding() -> _Folding:
    han = definitions.load_definition("han.json")
    return _Folding(zip(map(ord, han["from"]), han["to"], strict=True))


_FOLDED = _folding()
