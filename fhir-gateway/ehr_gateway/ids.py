"""New ids: UUIDs of version 7 (RFC 9562 §5.7), which begin with the time.

Resources created together have neighbouring ids, so a write touches few pages of each index. An id
tells when the resource was created, as its first version does anyway, and nothing about others.
Python has `uuid.uuid7` from 3.14 on.
"""

from __future__ import annotations

import os
import time
import uuid

__all__ = ["new_id", "uuid7"]

_LOW_62_BITS = 2**62 - 1


def new_id() -> str:
    """Return a new logical id."""
    return str(uuid7())


def uuid7() -> uuid.UUID:
    """Return a new UUID: 48 bits of milliseconds since 1970, 74 random bits.

    >>> uuid7().version
    7
    """
    time_and_version = (time.time_ns() // 1_000_000) << 16 | 0x7000
    random_bits = int.from_bytes(os.urandom(10), "big")
    high = time_and_version | random_bits >> 68
    return uuid.UUID(int=high << 64 | 1 << 63 | random_bits & _LOW_62_BITS)
