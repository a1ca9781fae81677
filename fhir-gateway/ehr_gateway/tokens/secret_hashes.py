"""Passwords, PINs and client secrets: Argon2id, and the same time whether or not there is one."""

from __future__ import annotations

import argon2

# OWASP's least for Argon2id: 19 MiB, two passes, one lane; about 25 ms on a small server.
_HASHER = argon2.PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
# Verified in place of a missing secret, so that an unknown name takes as long as a wrong password.
_NOBODY = _HASHER.hash("nobody has this secret")


def hash_secret(secret: str) -> str:
    """Return the salted hash to store."""
    return _HASHER.hash(secret)


def verify_secret(stored: str | None, secret: str) -> bool:
    """Say whether the given secret is the stored one; nothing stored takes as long and is False."""
    try:
        _HASHER.verify(stored or _NOBODY, secret)
    except argon2.exceptions.VerificationError:
        return False
    return stored is not None
