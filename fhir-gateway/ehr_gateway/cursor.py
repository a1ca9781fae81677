"""Page cursors: opaque, signed, and good for the one query they were given for."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

import orjson

from ehr_fhir.errors import Invalid

__all__ = ["open_cursor", "seal_cursor"]

_MARK = 16
# The sort key of the last record of a page.
Position = Sequence[str | int]


def seal_cursor(key: bytes, query: Sequence[object], position: Position) -> str:
    """Return the cursor after a position in the answer to a query.

    >>> open_cursor(b"k", ["Patient"], seal_cursor(b"k", ["Patient"], ["p1"]))
    ['p1']
    """
    content = orjson.dumps(position)
    return base64.urlsafe_b64encode(_mark(key, query, content) + content).decode().rstrip("=")


def open_cursor(key: bytes, query: Sequence[object], cursor: str) -> Position:
    """Return the position a cursor stands for; refuse one that was not made for this query."""
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except ValueError:
        raw = b""
    mark, content = raw[:_MARK], raw[_MARK:]
    if not hmac.compare_digest(mark, _mark(key, query, content)):
        raise Invalid("This page link is not one of this server's. Start the search again.")
    position: Position = orjson.loads(content)
    return position


def _mark(key: bytes, query: Sequence[object], content: bytes) -> bytes:
    message = orjson.dumps([query, content.decode(errors="replace")])
    return hmac.new(key, message, hashlib.sha256).digest()[:_MARK]
