"""Which passwords are good enough (NIST SP 800-63B §3.1.1): long, and not among the commonest.

No rule about kinds of characters and no change by date: both make people choose worse ones.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from importlib import resources

LEAST = 12
# Longer texts are no safer and cost more to hash.
MOST = 256


def fault_of(password: str, login: str) -> str:
    """Return why a password may not be chosen, as the key of a text; empty when it may.

    >>> fault_of("password1234", "a"), fault_of("short", "a"), fault_of("a fine long phrase", "b")
    ('password_common', 'password_short', '')
    """
    if not LEAST <= len(password) <= MOST:
        return "password_short"
    plain = _plain(password)
    words = [*_words("context-words"), _plain(login)]
    if plain in _words("common-passwords") or len(set(plain)) < 5:
        return "password_common"
    # A word that anybody tries here first adds nothing to what stands beside it.
    if any(len(one) > 3 and one in plain and len(plain.replace(one, "")) < LEAST for one in words):
        return "password_common"
    return ""


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


@cache
def _words(name: str) -> frozenset[str]:
    text = resources.files("ehr_gateway").joinpath(f"rules/{name}.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))
