"""New ids: UUIDs of version 7 (RFC 9562 §5.7), which begin with the time.

What is made together stands together in every index, so a write touches few pages of each. An id
tells when the resource was made, as its first version does anyway, and nothing of what else was.
"""

from __future__ import annotations

import os
import time
import uuid

__all__ = ["new_id", "uuid7"]

_TAIL = 2**62 - 1


def new_id() -> str:
    """Return a new logical id."""
    return str(uuid7())


def uuid7() -> uuid.UUID:
    """Return a new UUID: 48 bits of milliseconds since 1970, 74 random bits.

    >>> uuid7().version
    7
    """
    head = (time.time_ns() // 1_000_000) << 16 | 0x7000
    chance = int.from_bytes(os.urandom(10), "big")
    return uuid.UUID(int=(head | chance >> 68) << 64 | 1 << 63 | chance & _TAIL)
