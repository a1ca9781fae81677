"""Password hashing with Argon2id (RFC 9106), for passwords, PINs and client secrets.

Verification takes the same time whether or not the account exists, so that the time does not tell.
"""

from __future__ import annotations

import argon2

# A setting of OWASP's Password Storage Cheat Sheet for Argon2id: 19 MiB, two passes, one lane.
# About 25 ms on a small server.
_HASHER = argon2.PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
# Verified against when nothing is stored: an unknown name takes as long as a wrong password.
_DUMMY_HASH = _HASHER.hash("nobody has this secret")


def hash_secret(secret: str) -> str:
    """Return the salted Argon2id hash of a secret, in PHC string format."""
    return _HASHER.hash(secret)


def verify_secret(stored: str | None, secret: str) -> bool:
    """Say whether a secret matches a stored hash; without one, take as long and return False."""
    try:
        _HASHER.verify(stored or _DUMMY_HASH, secret)
    except argon2.exceptions.VerificationError:
        return False
    return stored is not None
