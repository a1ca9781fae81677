"""Codes as people type them: spaces and hyphens between groups, full-width digits and letters."""

from __future__ import annotations

import unicodedata

__all__ = ["normalize_typed_code"]


def normalize_typed_code(typed: str) -> str:
    """Return the letters and digits of a code in capitals.

    A Chinese keyboard may type them at full width (compatibility forms, Unicode NFKC).

    >>> normalize_typed_code(" １２３４-5678 "), normalize_typed_code("ａｂ cd")
    ('12345678', 'ABCD')
    """
    plain = unicodedata.normalize("NFKC", typed).upper()
    return "".join(character for character in plain if character.isalnum())
