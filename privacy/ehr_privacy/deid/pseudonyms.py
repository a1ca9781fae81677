"""Pseudonyms and date shifts: functions of a secret key, the same wherever they are computed."""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache

__all__ = [
    "SHIFT_WEEKS",
    "count_shift_weeks",
    "derive_date_key",
    "episode_shift_days",
    "pseudonym",
    "shift_days",
]

# A year of weeks: as many shifts as there are, nobody can tell a season's place by them. Chosen.
SHIFT_WEEKS = 52


# Chosen: a batch repeats references.
@lru_cache(200_000)
def pseudonym(key: bytes, reference: str) -> str:
    """Return the pseudonym of `Type/id` under a key: HMAC-SHA256, the first 32 hex digits.

    >>> pseudonym(b"k" * 32, "Patient/a") == pseudonym(b"k" * 32, "Patient/a")
    True
    >>> pseudonym(b"k" * 32, "Patient/a") == pseudonym(b"l" * 32, "Patient/a")
    False
    """
    return hmac.digest(key, reference.encode(), "sha256").hex()[:32]


# Chosen: a batch names few patients many times.
@lru_cache(200_000)
def shift_days(key: bytes, patient: str) -> int:
    """Return by how many days a patient's dates move: 1 to 52 whole weeks, into the past.

    Whole weeks keep the day of the week; into the past, so that no date of the future is made. It
    is worked out from the pseudonym, so that who has the key can undo it in rows of the copy.
    """
    return -7 * count_shift_weeks(derive_date_key(key), pseudonym(key, f"Patient/{patient}"))


@lru_cache(8)
def derive_date_key(key: bytes) -> str:
    """Return the key of date shifts that belongs to a key of pseudonyms: 64 hex digits."""
    return hmac.digest(key, b"dateshift", "sha256").hex()


def count_shift_weeks(date_key: str, name: str) -> int:
    """Return the weeks, 1 to 52, that a key of 64 digits gives a name.

    By SHA-256 of key and name, which the engines of SQL have; the digest itself is never shown.
    """
    digest = hashlib.sha256(f"{date_key}{name}".encode()).hexdigest()
    return int(digest[:8], 16) % SHIFT_WEEKS + 1


def episode_shift_days(key: bytes, patient: str, episode: str) -> int:
    """Return by how many days the dates of one episode of a patient move, unlike any other's."""
    return _shift(key, f"dateshift:Patient/{patient}:{episode}")


def _shift(key: bytes, text: str) -> int:
    digest = hmac.digest(key, text.encode(), "sha256")
    return -7 * (int.from_bytes(digest[:8], "big") % SHIFT_WEEKS + 1)
