"""One-time codes: worked out from the server's key when they are needed, stored nowhere.

A copy of the database, the outbox included, holds no code. Invitations are handed over by people
and live for days; of those a hash is kept.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

__all__ = ["compute_code", "generate_invitation_code", "hash_invitation_code", "verify_code"]

_DIGITS = 8
# No letter that is taken for another, by eye or by ear.
_ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
_INVITATION_LENGTH = 12


def compute_code(secret: str, request: str) -> str:
    """Return the eight digits that approve one request."""
    digest = hmac.digest(secret.encode(), f"access-code:{request}".encode(), hashlib.sha256)
    return f"{int.from_bytes(digest[:16], 'big') % 10**_DIGITS:0{_DIGITS}d}"


def verify_code(secret: str, request: str, code: str) -> bool:
    """Say whether this is the code of a request; spaces between the digits are passed over."""
    digits = "".join(letter for letter in code if not letter.isspace() and letter != "-")
    return hmac.compare_digest(compute_code(secret, request).encode(), digits.encode())


def generate_invitation_code() -> str:
    """Return a new code that a patient hands to a carer."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_INVITATION_LENGTH))


def hash_invitation_code(code: str) -> str:
    """Return what is kept of an invitation: 59 random bits stand behind it.

    >>> hashed("ab cd-2") == hashed("ABCD2")
    True
    """
    normalised = "".join(letter for letter in code.upper() if letter.isalnum())
    return hashlib.sha256(f"invitation:{normalised}".encode()).hexdigest()
