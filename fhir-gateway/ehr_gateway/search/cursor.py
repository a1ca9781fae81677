"""Page cursors, encrypted and bound to the query they were issued for.

A position holds sort values of a page's last record, perhaps a name, and URLs end up in logs: so it
is encrypted, not only signed. The cipher is deterministic (AES-SIV): equal positions give equal
cursors, because a response must not vary with anything but what the requester can see.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from ehr_fhir.errors import Invalid

__all__ = ["Position", "open_cursor", "seal_cursor"]

# The sort values of the last record of a page, and its id.
Position = Sequence[str | int | float | Sequence[str] | None]


def seal_cursor(key: bytes, query: Sequence[object], position: Position) -> str:
    """Return the cursor of the page after a position in the results of a query.

    >>> open_cursor(b"k", ["Patient"], seal_cursor(b"k", ["Patient"], ["p1"]))
    ['p1']
    """
    sealed = _cipher(key).encrypt(orjson.dumps(position), [orjson.dumps(query)])
    return base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def open_cursor(key: bytes, query: Sequence[object], cursor: str) -> Position:
    """Return the position that a cursor holds; refuse one that was not issued for this query."""
    try:
        sealed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        content = _cipher(key).decrypt(sealed, [orjson.dumps(query)])
    except (InvalidTag, ValueError):
        raise Invalid(
            "This page link is not one of this server's. Start the search again."
        ) from None
    position: Position = orjson.loads(content)
    return position


def _cipher(key: bytes) -> AESSIV:
    return AESSIV(hashlib.sha512(b"cursor" + key).digest())
