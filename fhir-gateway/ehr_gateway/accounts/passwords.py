"""Password policy (NIST SP 800-63B §3.1.1): a minimum length, and a list of common passwords.

No composition rules and no expiry: both make people choose worse passwords.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from importlib import resources

MIN_LENGTH = 12
# Longer ones are no safer and take longer to hash.
MAX_LENGTH = 256


def find_password_fault(password: str, login: str) -> str:
    """Return why a password is refused, as the key of a text of the pages; empty if it is accepted.

    >>> find_password_fault("password1234", "a"), find_password_fault("short", "a")
    ('password_common', 'password_short')
    >>> find_password_fault("a fine long phrase", "b")
    ''
    """
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        return "password_short"
    plain = _fold_case(password)
    words = [*_load_words("context-words"), _fold_case(login)]
    if plain in _load_words("common-passwords") or len(set(plain)) < 5:
        return "password_common"
    # A word that an attacker tries first here (the service, the log-in name) adds no strength: what
    # remains without it has to be long enough.
    if any(
        len(word) > 3 and word in plain and len(plain.replace(word, "")) < MIN_LENGTH
        for word in words
    ):
        return "password_common"
    return ""


def _fold_case(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


@cache
def _load_words(name: str) -> frozenset[str]:
    text = resources.files("ehr_gateway").joinpath(f"rules/{name}.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))
