"""The leaf of a row: a salted hash, so that no leaf tells what the row says.

With the row's content and its salt gone, its leaf says nothing any more and still holds its place:
a row can be erased and the log stays whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import orjson

__all__ = ["SALT_BYTES", "canonical_row", "commitment", "leaf_of_commitment", "row_leaf"]

SALT_BYTES = 16

Value = str | int | None


def canonical_row(values: Sequence[Value]) -> bytes:
    """Return the canonical form of a row: a JSON array of its values, in the order of the columns.

    >>> canonical_row(("a", 1, None, "陳"))
    b'["a",1,null,"\\xe9\\x99\\xb3"]'
    """
    return orjson.dumps(values)


def commitment(salt: bytes, row: bytes) -> bytes:
    """Return the commitment of a row: SHA-256 of the salt, of fixed length, and the row."""
    return sha256(salt + row).digest()


def leaf_of_commitment(data: bytes) -> bytes:
    """Return the leaf of a commitment (RFC 6962 §2.1)."""
    return sha256(b"\x00" + data).digest()


def row_leaf(salt: bytes, values: Sequence[Value]) -> bytes:
    """Return the leaf of a row: `leaf_of_commitment` its `commitment`."""
    return sha256(b"\x00" + sha256(salt + orjson.dumps(values)).digest()).digest()
