"""How strings are compared: without case, accents or runs of white space (R4 §3.1.1.4.5)."""

from __future__ import annotations

import unicodedata

__all__ = ["normal"]


def normal(text: str) -> str:
    """Fold a string for comparison.

    >>> normal("  Müller   Straße ")
    'muller strasse'
    >>> normal("陳大文")
    '陳大文'
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text)
        text = "".join(letter for letter in text if not unicodedata.combining(letter))
    return " ".join(text.casefold().split())
