"""One-time codes, derived from the server's key (HMAC) when needed and stored nowhere.

So a copy of the database contains no code, not even the outbox. Codes of invitations are random:
people hand them over and they live for days, so their hashes are stored.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from ehr_fhir.typed_codes import normalize_typed_code

__all__ = ["compute_code", "generate_invitation_code", "hash_invitation_code", "verify_code"]

_DIGITS = 8
# Without letters and digits that are easily confused.
_ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
_INVITATION_LENGTH = 12


def compute_code(secret: str, request: str) -> str:
    """Return the code of a request: eight digits."""
    digest = hmac.digest(secret.encode(), f"access-code:{request}".encode(), hashlib.sha256)
    return f"{int.from_bytes(digest[:16], 'big') % 10**_DIGITS:0{_DIGITS}d}"


def verify_code(secret: str, request: str, code: str) -> bool:
    """Say whether a typed code is that of a request, ignoring spaces and hyphens."""
    digits = normalize_typed_code(code)
    return hmac.compare_digest(compute_code(secret, request).encode(), digits.encode())


def generate_invitation_code() -> str:
    """Return a new random code of an invitation."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_INVITATION_LENGTH))


def hash_invitation_code(code: str) -> str:
    """Return the hash under which an invitation is stored. Its code has 59 random bits.

    >>> hash_invitation_code("ab cd-2") == hash_invitation_code("ABCD2")
    True
    """
    return hashlib.sha256(f"invitation:{normalize_typed_code(code)}".encode()).hexdigest()
