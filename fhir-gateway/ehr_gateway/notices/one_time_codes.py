"""One-time codes: worked out from the server's key when they are needed, stored nowhere.

A copy of the database, the outbox included, holds no code. Invitations are handed over by people
and live for days; of those a hash is kept.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

__all__ = ["code_of", "hashed", "invitation", "right"]

_DIGITS = 8
# No letter that is taken for another, by eye or by ear.
_LETTERS = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
_LENGTH = 12


def code_of(secret: str, request: str) -> str:
    """Return the eight digits that approve one request."""
    digest = hmac.digest(secret.encode(), f"access-code:{request}".encode(), hashlib.sha256)
    return f"{int.from_bytes(digest[:16], 'big') % 10**_DIGITS:0{_DIGITS}d}"


def right(secret: str, request: str, typed: str) -> bool:
    """Say whether this is the code of a request; spaces between the digits are passed over."""
    digits = "".join(letter for letter in typed if not letter.isspace() and letter != "-")
    return hmac.compare_digest(code_of(secret, request).encode(), digits.encode())


def invitation() -> str:
    """Return a new code that a patient hands to a carer."""
    return "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))


def hashed(code: str) -> str:
    """Return what is kept of an invitation: 59 random bits stand behind it.

    >>> hashed("ab cd-2") == hashed("ABCD2")
    True
    """
    kept = "".join(letter for letter in code.upper() if letter.isalnum())
    return hashlib.sha256(f"invitation:{kept}".encode()).hexdigest()
