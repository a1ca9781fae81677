"""Pseudonyms and date shifts: functions of a secret key, the same wherever they are computed."""

from __future__ import annotations

import hmac

_WEEKS = 26


def pseudonym(key: bytes, reference: str) -> str:
    """Return the pseudonym of `Type/id` under a key: HMAC-SHA256, the first 32 hex digits.

    >>> pseudonym(b"k" * 32, "Patient/a") == pseudonym(b"k" * 32, "Patient/a")
    True
    >>> pseudonym(b"k" * 32, "Patient/a") == pseudonym(b"l" * 32, "Patient/a")
    False
    """
    return hmac.digest(key, reference.encode(), "sha256").hex()[:32]


def shift_days(key: bytes, patient: str) -> int:
    """Return by how many days a patient's dates move: whole weeks, 1 to 26 either way.

    Whole weeks keep the day of the week; zero is excluded, so no date stays where it was.
    """
    digest = hmac.digest(key, f"dateshift:Patient/{patient}".encode(), "sha256")
    weeks = int.from_bytes(digest[:8], "big") % (2 * _WEEKS) - _WEEKS
    return 7 * (weeks if weeks < 0 else weeks + 1)
