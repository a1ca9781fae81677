"""Pages of NDJSON, as the gateway's feeds send them: one JSON value in each line."""

from __future__ import annotations

__all__ = ["split_lines"]


def split_lines(page: bytes) -> list[bytes]:
    """Return the lines of a page that are not blank.

    >>> split_lines(b'{"a": 1}\\n\\n{"a": 2}\\n')
    [b'{"a": 1}', b'{"a": 2}']
    """
    return [line for line in page.split(b"\n") if line.strip()]
